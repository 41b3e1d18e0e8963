# SPDX-License-Identifier: GPL-2.0-or-later
"""Size: an option in bytes, written as QEMU's users and others write it.

``4096``, ``"512K"``, ``"256MiB"``, ``"1.5G"``: K, M, G, T, P and E are powers of 1024, as in QEMU, with or without
``iB``. ``"256MB"`` is refused, as half of the world means 256,000,000 by it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

from asyncemu.spelling import shown

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

#: The largest number of bytes that a 64-bit file offset can express.
LARGEST: Final = (1 << 63) - 1

_UNITS: Final = "KMGTPE"
#: At most 30 digits: enough for LARGEST with a fraction, and no work for absurd input.
_SPELLING: Final = r"([0-9]{1,30})(?:\.([0-9]{1,30}))? ?(?:([KMGTPE])(i?B)?|B)?"
#: The same for JSON schema, whose dialect has no flags.
_SCHEMA_PATTERN: Final = r"^[0-9]{1,30}(\.[0-9]{1,30})? ?([KMGTPEkmgtpe](i[Bb])?|[Bb])?$"


def parse_size(value: object) -> int:
    """Bytes. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = re.fullmatch(_SPELLING, value, re.IGNORECASE | re.ASCII) if isinstance(value, str) else None
    if found is None:
        raise ValueError("is not a size; write 4096, 512K or 256MiB")
    whole, fraction, unit, suffix = found.groups()
    if suffix in ("B", "b"):
        number = whole if fraction is None else f"{whole}.{fraction}"
        raise ValueError(f"{value!r} has two meanings; write {number}{unit} or {number}{unit}iB for powers of 1024")
    size: int = int(whole + (fraction or ""))
    if unit:
        size *= 1024 ** (_UNITS.index(unit.upper()) + 1)
    size, rest = divmod(size, 10 ** len(fraction or ""))
    if rest:
        raise ValueError(f"{value!r} is not a whole number of bytes; leave the fraction out")
    return size


def size_text(size: int) -> str:
    """``size`` in the largest unit that divides it: ``"256MiB"``."""
    for power in range(len(_UNITS), 0, -1):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{_UNITS[power - 1]}iB"
    return str(size)


def human_size(size: int) -> str:
    """``size`` as ``img info`` shows it: three significant digits and a binary unit. QEMU: size_to_str."""
    # frexp(3) on a number that is 1000/1024 of what is shown: a unit is used up to its 999.
    mantissa = size / (1000.0 / 1024.0)
    power = max((int(mantissa).bit_length() - 1) // 10, 0)
    units = ("", "K", "M", "G", "T", "P", "E")
    return f"{size / (1 << power * 10):.3g} {units[power]}{'iB' if power else 'B'}"


class SizeInBytes:
    """Says of an int that it is written as a size."""

    __slots__ = ()
    expected = "a size"

    def convert(self, value: object, directory: Path | None) -> int:
        """For PlainOptions."""
        if isinstance(value, str) and re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}", value):
            # As QEMU's command lines have it.
            value = int(value, 16)
        elif isinstance(value, float) and value.is_integer():
            value = int(value)
        size = parse_size(value)
        if not 0 <= size <= LARGEST:
            raise ValueError(f"must be at {'least 0' if size < 0 else f'most {LARGEST}'}, not {shown(value)}")
        return size

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(parse_size, core_schema.int_schema(ge=0, le=LARGEST))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": LARGEST},
                {"type": "string", "pattern": _SCHEMA_PATTERN},
            ]
        }


#: Bytes.
Size = Annotated[int, SizeInBytes()]
