# SPDX-License-Identifier: GPL-2.0-or-later
"""Dotted keys and nested tables: ``{"file.filename": "a"}`` and ``{"file": {"filename": "a"}}`` are the same.

Of a table whose keys are 0, 1, ... the nested form is a list. QEMU: qdict_flatten, qdict_crumple.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from asyncemu.errors import ConfigError
from asyncemu.spelling import MAX_SHOWN

#: Parts of a dotted key: more than tables of nodes can be nested.
MAX_PARTS: Final = 128


def flattened(table: Mapping[str, object]) -> dict[str, object]:
    """``table`` with dotted keys and no tables or lists in it but empty ones. Nested 128 deep at most."""
    return dict(_members("", table.items()))


def nested(members: Iterable[tuple[str, object]]) -> dict[str, Any]:
    """Tables in tables from dotted keys; of two members with one key the last counts. Raises ConfigError."""
    root: dict[str, Any] = {}
    for key, value in members:
        *path, last = key.split(".", MAX_PARTS)
        table = root
        for part in path:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                raise _mixed(key, part)
            table = inner
        if isinstance(table.get(last), dict):
            raise _mixed(key, last)
        # A table here is empty: it has no members to be mixed with.
        table[last] = value
    return {key: _with_lists(value) for key, value in root.items()}


def _members(prefix: str, members: Iterable[tuple[str, object]]) -> Iterator[tuple[str, object]]:
    for key, value in members:
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _members(f"{path}.", value.items())
        elif isinstance(value, (list, tuple)) and value:
            yield from _members(f"{path}.", ((str(index), each) for index, each in enumerate(value)))
        else:
            yield path, value


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _with_lists(each) for key, each in value.items()}
    if inner and all(str(index) in inner for index in range(len(inner))):
        return [inner[str(index)] for index in range(len(inner))]
    return inner


def _mixed(key: str, part: str) -> ConfigError:
    remedy = f"{part[:MAX_SHOWN]!r} has a value of its own and members; leave one of the two out"
    return ConfigError(key[:MAX_SHOWN], "Cannot mix scalar and non-scalar keys", remedy)
