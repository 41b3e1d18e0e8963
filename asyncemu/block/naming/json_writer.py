# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON as QEMU writes it, to the byte: scripts compare names of images, and grep output.

QEMU keeps the members of an object in a hash table of 512 buckets and writes them in that order; the hash is that of
Samba's trivial database (TDB). The order that scripts see is had by computing it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_BUCKETS: Final = 512
_WORD: Final = 0xFFFF_FFFF
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def json_text(value: object) -> str:
    """``value`` (dict, list, str, int, float, bool, None) on one line."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{_quoted(key)}: {json_text(each)}" for key, each in in_qemus_order(value)) + "}"
        case list() | tuple():
            return "[" + ", ".join(json_text(each) for each in value) + "]"
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return f"{value:.17g}"
        case _:
            return _quoted(str(value))


def in_qemus_order(table: Mapping[str, object]) -> list[tuple[str, object]]:
    """The members of ``table`` as QEMU's hash table has them; of one bucket the last that came is the first."""
    last_first = list(table.items())[::-1]
    return sorted(last_first, key=lambda member: _bucket(member[0]))


def _bucket(key: str) -> int:
    data = key.encode("utf-8", "surrogateescape")
    seed = 0x238F13AF * len(data) + sum(byte << index * 5 % 24 for index, byte in enumerate(data))
    return (1103515243 * (seed & _WORD) + 12345 & _WORD) % _BUCKETS


def _quoted(text: str) -> str:
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    """In ASCII; a byte that is no UTF-8 (a surrogate, in our texts) is a replacement character."""
    code = ord(character)
    if character in _ESCAPES:
        return _ESCAPES[character]
    if 0x20 <= code < 0x7F:
        return character
    if 0xD800 <= code < 0xE000:
        return "\\uFFFD"
    if code > 0xFFFF:
        return f"\\u{0xD800 + (code - 0x10000 >> 10):04X}\\u{0xDC00 + (code & 0x3FF):04X}"
    return f"\\u{code:04X}"
