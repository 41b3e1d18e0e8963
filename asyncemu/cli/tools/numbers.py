# SPDX-License-Identifier: GPL-2.0-or-later
"""Integers of command lines, as C writes them."""

from __future__ import annotations

import re
from typing import Final

#: strtol(3) with base 0, in as many digits as a user may sensibly write.
_number: Final = re.compile(r"\s*([+-]?)(?:0[xX]([0-9a-fA-F]{1,16})|(0[0-7]{0,22})|([1-9][0-9]{0,19}))", re.ASCII)


def c_number(text: str) -> int | None:
    """255, 0xff or 0377; None: it is no number, or one of more than 64 bits."""
    found = _number.fullmatch(text)
    if found is None:
        return None
    sign, hexadecimal, octal, decimal = found.groups()
    number = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    return -number if sign == "-" else number
