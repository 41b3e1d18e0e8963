# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON as QEMU's tools write it, to the byte: scripts compare and grep it.

QEMU keeps objects in hash tables and writes their members in that order. The hash is that of TDB, the trivial database
of Samba: the order can be had by computing it. QEMU: qobject/qdict.c, qobject/json-writer.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

#: Buckets of the hash table.
_BUCKETS: Final = 512

_WORD: Final = 0xFFFFFFFF

_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def pretty(value: object, indentation: int = 0) -> str:
    """Over several lines, four spaces a level."""
    inner = " " * (indentation + 4)
    match value:
        case Mapping():
            rows = [f'{inner}"{_escaped(key)}": {pretty(each, indentation + 4)}' for key, each in in_order(value)]
            return _block("{", rows, "}", indentation)
        case Sequence() if not isinstance(value, str):
            return _block("[", [inner + pretty(each, indentation + 4) for each in value], "]", indentation)
        case _:
            return _scalar(value)


def compact(value: object) -> str:
    """On one line."""
    match value:
        case Mapping():
            return "{" + ", ".join(f'"{_escaped(key)}": {compact(each)}' for key, each in in_order(value)) + "}"
        case Sequence() if not isinstance(value, str):
            return "[" + ", ".join(compact(each) for each in value) + "]"
        case _:
            return _scalar(value)


def in_order(table: Mapping[str, object]) -> list[tuple[str, object]]:
    """The members of ``table`` in the order of QEMU's hash table; in one bucket the last comes first."""
    return sorted(reversed(table.items()), key=lambda member: _bucket(member[0]))


def _bucket(key: str) -> int:
    """The TDB hash, modulo the table's size."""
    data = key.encode("utf-8", "surrogateescape")
    value = 0x238F13AF * len(data)
    for index, byte in enumerate(data):
        value += byte << (index * 5 % 24)
    return (1103515243 * (value & _WORD) + 12345 & _WORD) % _BUCKETS


def _block(opening: str, rows: list[str], closing: str, indentation: int) -> str:
    return opening + "\n" + ",\n".join(rows) + ("\n" if rows else "") + " " * indentation + closing


def _scalar(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return f"{value:.17g}"
        case _:
            return f'"{_escaped(str(value))}"'


def _escaped(text: str) -> str:
    """ASCII only; bytes that are no UTF-8 (surrogates, in our strings) are replacement characters."""
    parts = []
    for character in text:
        code = ord(character)
        if character in _ESCAPES:
            parts.append(_ESCAPES[character])
        elif 0x20 <= code < 0x7F:
            parts.append(character)
        elif 0xD800 <= code < 0xE000:
            parts.append("\\uFFFD")
        elif code > 0xFFFF:
            pair = code - 0x10000
            parts.append(f"\\u{0xD800 + (pair >> 10):04X}\\u{0xDC00 + (pair & 0x3FF):04X}")
        else:
            parts.append(f"\\u{code:04X}")
    return "".join(parts)
