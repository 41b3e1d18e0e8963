# SPDX-License-Identifier: GPL-2.0-or-later
"""``key=value,key.sub=value`` as --object and --blockdev take it: nested tables from dotted keys. QEMU: keyval_parse.

    key-vals = [key-val *("," key-val) [","]]       the first may be a value alone, of the implied key
    key-val  = key "=" value                        a comma in the value is written twice
    key      = name *("." (name / index))           an index is decimal; a table of indices is a list

Unlike QemuOpts no key is without a value, and keys are checked.
"""

from __future__ import annotations

import re
from typing import Any, Final

from asyncemu.block.naming.qemu_opts import value_at
from asyncemu.errors import ConfigError

#: Characters of one part of a key, its dots left out. QEMU: 127.
_MAX_PART: Final = 127

_NAME: Final = r"[A-Za-z](?:[A-Za-z0-9_-])*|__[A-Za-z0-9.-]+_[A-Za-z][A-Za-z0-9_-]*"
_INDEX: Final = r"[0-9]+"


def parse_keyval(text: str, implied_key: str = "") -> dict[str, Any]:
    """Nested tables and lists of texts; of two equal keys the last counts. Raises ConfigError in QEMU's words."""
    root: dict[str, Any] = {}
    position, implied = 0, implied_key
    while position < len(text):
        equals, comma = text.find("=", position), text.find(",", position)
        end = comma if comma >= 0 else len(text)
        if implied and position < end and not 0 <= equals < end:
            _put(root, implied, text[position:end])
        else:
            key = text[position : equals if 0 <= equals < end else end]
            parts = _parts(key)
            if not 0 <= equals < end:
                raise ConfigError(key, f"Expected '=' after parameter '{key}'")
            value, end = value_at(text, equals + 1)
            _put(root, ".".join(parts), value)
        position, implied = end + 1, ""
    return {key: _with_lists(key, value) for key, value in root.items()}


def _parts(key: str) -> list[str]:
    parts = key.split(".")
    for index, part in enumerate(parts):
        if not re.fullmatch(_NAME if not index else f"{_NAME}|{_INDEX}", part):
            raise ConfigError(key, f"Invalid parameter '{key}'")
        if len(part) > _MAX_PART:
            raise ConfigError(key, f"Parameter{' fragment' if len(parts) > 1 else ''} '{part}' is too long")
    return parts


def _put(root: dict[str, Any], key: str, value: str) -> None:
    *path, last = key.split(".")
    table, seen = root, ""
    for part in path:
        seen = f"{seen}.{part}" if seen else part
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise _inconsistent(seen)
        table = inner
    if isinstance(table.get(last), dict):
        raise _inconsistent(key)
    table[last] = value


def _with_lists(key: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {part: _with_lists(f"{key}.{part}", each) for part, each in value.items()}
    indices = {int(part[:20]): part for part in inner if re.fullmatch(_INDEX, part)}
    if not indices:
        return inner
    if len(indices) < len(inner):
        raise _inconsistent(key)
    missing = next((index for index in range(len(inner)) if index not in indices), None)
    if missing is not None:
        raise ConfigError(f"{key}.{missing}", f"Parameter '{key}.{missing}' missing")
    return [inner[indices[index]] for index in range(len(inner))]


def _inconsistent(key: str) -> ConfigError:
    return ConfigError(key, f"Parameters '{key}.*' used inconsistently")
