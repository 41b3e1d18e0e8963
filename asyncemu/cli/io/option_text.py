# SPDX-License-Identifier: GPL-2.0-or-later
"""``key=value,...`` of a command line, where a key alone, which means ``key=on``, is warned of.

QEMU: qemu_opts_parse_noisily.
"""

from __future__ import annotations

import re
from typing import Final

from asyncemu.cli.tools.report import complain, warn

#: One option; ``,,`` is a comma in it.
_part: Final = re.compile(r"(?:[^,]|,,)+")


def spelled_out(text: str) -> str:
    """``text`` with a value for each key."""
    return ",".join(part if "=" in part else _with_value(part) for part in _part.findall(text))


def _with_value(key: str) -> str:
    # A key that begins so is taken for the opposite of the rest.
    full = f"{key[2:]}=off" if key.startswith("no") and len(key) > 2 else f"{key}=on"
    warn(f"short-form boolean option '{key}' deprecated")
    complain(f"Please use {full} instead")
    return full
