# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers of bytes on the command lines of QEMU's tools: ``4096``, ``0x1000``, ``64k``, ``1.5G``.

QEMU: qemu_strtosz. Unlike the options of vm.toml (asyncemu/size.py) there are no ``iB`` and no spaces, fractions are
rounded, and hexadecimal is taken.
"""

from __future__ import annotations

import re
from typing import Final

from asyncemu.cli.tools.failure import ToolError

#: What a 64-bit file offset can express.
INT64_MAX: Final = (1 << 63) - 1

_UNITS: Final = "BKMGTPE"
#: Digits are bounded: no work for absurd input. Compiled when it is needed: many a tool only shows sizes.
_SPELLING: Final = (
    r"[ \t\n\v\f\r]*\+?(?:0[xX](?P<hexadecimal>[0-9a-fA-F]{1,400})"
    r"|(?P<whole>[0-9]{1,400})(?:\.(?P<fraction>[0-9]{0,400}))?)(?P<unit>[BKMGTPEbkmgtpe]?)"
)


class NotASize(ValueError):
    """The text is no number of bytes."""


class SizeOutOfRange(ValueError):
    """It is more than 2^64 - 1."""


def parse_size(text: str, default_unit: str = "B") -> int:
    """Bytes, 0 to 2^64 - 1. Raises NotASize, SizeOutOfRange."""
    found = re.match(_SPELLING, text, re.ASCII)
    unit = found["unit"].upper() if found is not None else ""
    if found is not None and found["hexadecimal"] and unit and unit != "B":
        from asyncemu.cli.tools.report import warn

        # As QEMU, before it looks at what follows.
        warn(f"Using a multiplier suffix on hex numbers is deprecated: {text}")
    if found is None or found.end() < len(text):
        raise NotASize(text)
    scale: int = 1024 ** _UNITS.index(unit or default_unit)
    if found["hexadecimal"]:
        size = int(found["hexadecimal"], 16) * scale
    else:
        size = int(found["whole"]) * scale
        # QEMU makes a double of the fraction, which has no more than 17 digits, and of that 64 bits, where 1 is 0.
        fraction = int(float("0." + (found["fraction"] or "0")) * (1 << 64)) & ((1 << 64) - 1)
        if scale == 1 and fraction:
            raise NotASize(text)
        size += (fraction * scale + (1 << 63)) >> 64
    if size >= 1 << 64:
        raise SizeOutOfRange(text)
    return size


def size_argument(name: str, text: str, least: int = 0, most: int = INT64_MAX) -> int:
    """The bytes that ``text``, the ``name`` ("image size") of the command line, asks for. Raises ToolError."""
    try:
        size = parse_size(text)
    except NotASize:
        raise ToolError(
            f"Invalid {name} specified. You may use k, M, G, T, P or E suffixes for",
            "kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.",
        ) from None
    except SizeOutOfRange:
        size = -1
    if not least <= size <= most:
        raise ToolError(f"Invalid {name} specified. Must be between {least} and {most}.")
    return size
