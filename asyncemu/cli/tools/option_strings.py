# SPDX-License-Identifier: GPL-2.0-or-later
"""``key=value,key=value`` as QEMU's -o, --image-opts and --object take it: ``,,`` is a comma in a value.

QEMU: QemuOpts. A key without ``=value`` is ``on``, ``nokey`` is ``off``; the first may be the value of an implied key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def split_options(text: str, implied_key: str = "") -> list[tuple[str, str]]:
    """The pairs in order; keys may repeat. Never fails: what is no ``key=value`` is a flag."""
    return list(_pairs(text, implied_key))


def has_help(text: str) -> bool:
    """Is ``help`` or ``?`` among the options?"""
    return any(part in ("help", "?") for part in _raw_parts(text))


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Tables in tables from dotted keys: ``file.filename`` is ``filename`` in ``file``. Of two equal keys the last counts.

    A table whose keys are 0, 1, ... is a list. ValueError: a key is both a value and a table. QEMU: qdict_crumple.
    """
    tables: dict[str, Any] = {}
    for key, value in pairs:
        *path, last = key.split(".")
        table = tables
        for name in path:
            inner = table.setdefault(name, {})
            if not isinstance(inner, dict):
                raise ValueError(f"Cannot mix scalar and non-scalar keys for '{name}'")
            table = inner
        if isinstance(table.get(last), dict):
            raise ValueError(f"Cannot mix scalar and non-scalar keys for '{last}'")
        table[last] = value
    return {key: _lists(value) for key, value in tables.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(each) for key, each in value.items()}
    if all(inner.get(str(index)) is not None for index in range(len(inner))):
        return [inner[str(index)] for index in range(len(inner))]
    return inner


def _pairs(text: str, implied_key: str) -> Iterator[tuple[str, str]]:
    at, first = 0, True
    while at < len(text):
        equals, comma = text.find("=", at), text.find(",", at)
        if equals >= 0 and (comma < 0 or equals < comma):
            key = text[at:equals]
            value, at = _value(text, equals + 1)
            yield key, value
        elif first and implied_key:
            value, at = _value(text, at)
            yield implied_key, value
        else:
            end = comma if comma >= 0 else len(text)
            key, at = text[at:end], end + 1
            yield (key[2:], "off") if key.startswith("no") else (key, "on")
        first = False


def _value(text: str, at: int) -> tuple[str, int]:
    """The value that begins at ``at``, and where the next pair begins."""
    parts = []
    while True:
        comma = text.find(",", at)
        if comma < 0:
            parts.append(text[at:])
            return "".join(parts), len(text)
        if not text.startswith(",", comma + 1):
            parts.append(text[at:comma])
            return "".join(parts), comma + 1
        parts.append(text[at : comma + 1])
        at = comma + 2


def _raw_parts(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        part, at = _value(text, at)
        yield part
