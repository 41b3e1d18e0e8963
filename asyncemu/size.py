# SPDX-License-Identifier: GPL-2.0-or-later
"""Size: an option in bytes, written as QEMU's users and others write it.

``4096``, ``"512K"``, ``"256MiB"``, ``"1.5G"``: K, M, G, T, P and E are powers of 1024, as in QEMU, with or without
``iB``. ``"256MB"`` is refused, as half of the world means 256,000,000 by it.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

#: The largest number of bytes that a 64-bit file offset can express.
LARGEST: Final = (1 << 63) - 1

_UNITS: Final = "KMGTPE"
#: At most 30 digits: enough for LARGEST with a fraction, and no work for absurd input.
_spelling: Final = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?) ?(?:([KMGTPE])(i?B)?|B)?", re.IGNORECASE | re.ASCII)
#: The same for JSON schema, whose dialect has no flags.
_SCHEMA_PATTERN: Final = r"^[0-9]{1,30}(\.[0-9]{1,30})? ?([KMGTPEkmgtpe](i[Bb])?|[Bb])?$"


def parse_size(value: object) -> int:
    """Bytes. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _spelling.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("is not a size; write 4096, 512K or 256MiB")
    number, unit, suffix = found.groups()
    if suffix in ("B", "b"):
        raise ValueError(f"{value!r} has two meanings; write {number}{unit} or {number}{unit}iB for powers of 1024")
    size = Fraction(number)
    if unit:
        size *= 1024 ** (_UNITS.index(unit.upper()) + 1)
    if size.denominator != 1:
        raise ValueError(f"{value!r} is not a whole number of bytes; leave the fraction out")
    return int(size)


def size_text(size: int) -> str:
    """``size`` in the largest unit that divides it: ``"256MiB"``."""
    for power in range(len(_UNITS), 0, -1):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{_UNITS[power - 1]}iB"
    return str(size)


#: Bytes.
Size = Annotated[
    int,
    Field(ge=0, le=LARGEST),
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": LARGEST},
                {"type": "string", "pattern": _SCHEMA_PATTERN},
            ]
        }
    ),
]
