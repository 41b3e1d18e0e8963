# SPDX-License-Identifier: GPL-2.0-or-later
"""Names that users give to objects. QEMU: id_wellformed."""

from __future__ import annotations

import re

from asyncemu.monitor.errors import QmpError
from asyncemu.plugin_options import IDENTITY


def check_identifier(text: str) -> str:
    """``text``, if an object may be called that; QmpError."""
    if not re.fullmatch(IDENTITY, text):
        raise QmpError("Parameter 'id' expects an identifier")
    return text
