# SPDX-License-Identifier: GPL-2.0-or-later
"""Items of memory and values as text, by a format: ``/xw`` and the like. Pure functions."""

from __future__ import annotations

from typing import Final

from asyncemu.monitor.hmp.expression import signed

_CHARACTERS: Final = {"\n": "\\n", "\r": "\\r", "\\": "\\\\", "'": "\\'"}


def character_text(value: int) -> str:
    """As C writes a character constant."""
    character = chr(value) if 0x20 <= value < 0x7F or value in (0x0A, 0x0D) else ""
    if not character:
        return f"'\\x{value & 0xFFFFFFFF:02x}'"
    return f"'{_CHARACTERS.get(character, character)}'"


def item_text(value: int, letter: str, size: int) -> str:
    """An unsigned ``value`` of ``size`` bytes, as wide as the widest one of that size."""
    bits = 8 * size
    match letter:
        case "x":
            return f"0x{value:0{2 * size}x}"
        case "o":
            return _octal(value).rjust((bits + 2) // 3)
        case "u":
            return str(value).rjust((bits * 10 + 32) // 33)
        case "d":
            # As QEMU has it: only what is as wide as its variable has a sign.
            return str(signed(value)).rjust((bits * 10 + 32) // 33)
    return character_text(value)


def value_text(value: int, letter: str) -> str:
    """A signed ``value`` of 64 bits, as it is."""
    unsigned = value & ((1 << 64) - 1)
    match letter:
        case "x":
            # C's %#x.
            return f"0x{unsigned:x}" if unsigned else "0"
        case "o":
            return _octal(unsigned)
        case "u":
            return str(unsigned)
        case "c":
            return character_text(unsigned & 0xFFFFFFFF)
    return str(value)


def line_text(address: int, data: bytes, letter: str, size: int) -> str:
    """One line of a dump."""
    if letter == "c":
        size = 1
    items = [int.from_bytes(data[start : start + size], "little") for start in range(0, len(data), size)]
    return f"{address:016x}: " + " ".join(item_text(item, letter, size) for item in items) + "\n"


def line_size(letter: str, size: int) -> int:
    """Bytes of memory that a line shows."""
    return 8 if size == 1 else 16


def _octal(value: int) -> str:
    """C's %#o."""
    return f"0{value:o}" if value else "0"
