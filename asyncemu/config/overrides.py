# SPDX-License-Identifier: GPL-2.0-or-later
"""``--set KEY=VALUE``: changing what vm.toml says.

KEY is a path with dots; in a list of tables the entry is named by its id (node-name) or its number:
``machine.memory=512MiB``, ``blockdev.disk0.read-only=true``, ``device.1.serial=abc``. VALUE is read as a TOML value
and, where it is none, as plain text.
"""

from __future__ import annotations

import tomllib
from typing import Any

from asyncemu.errors import ConfigError
from asyncemu.plugin_options import IDENTITY_KEY
from asyncemu.spelling import nearest


def apply_override(tables: dict[str, Any], override: str) -> None:
    """Change ``tables`` in place. Raises ConfigError."""
    key, separator, text = override.partition("=")
    *path, last = key.split(".")
    if not separator or not last or not all(path):
        raise ConfigError("--set", f"{override!r} is not KEY=VALUE", "write it as in machine.memory=512MiB")
    target: Any = tables
    for depth in range(len(path)):
        target = _step(target, path[: depth + 1], key)
    if isinstance(target, list):
        raise ConfigError("--set", f"{key!r} names no key of an entry", f"write it as in {path[-1]}.0.{last}={text}")
    target[last] = parse_value(text)


def parse_value(text: str) -> Any:
    """``text`` as a TOML value, or as itself."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # no TOML; int()'s own limit; nested without end
        return text
    # A line break in the text may have begun another key.
    return document["value"] if len(document) == 1 else text


def _step(target: Any, path: list[str], key: str) -> Any:
    """What the last of ``path`` means in ``target``, which the ones before it led to."""
    part = path[-1]
    if isinstance(target, dict):
        inner = target.setdefault(part, [] if len(path) == 1 and part in IDENTITY_KEY else {})
        if not isinstance(inner, dict | list):
            raise ConfigError("--set", f"{key!r}: {'.'.join(path)} is a value, not a table")
        return inner
    identity = IDENTITY_KEY.get(path[0], "id")
    for index, entry in enumerate(target):
        if isinstance(entry, dict) and part in (entry.get(identity), str(index)):
            return entry
    known = [str(entry.get(identity, index)) for index, entry in enumerate(target) if isinstance(entry, dict)]
    raise ConfigError("--set", f"{key!r}: no {'.'.join(path[:-1])} is {part!r}", nearest(part, known))
