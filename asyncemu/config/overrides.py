# SPDX-License-Identifier: GPL-2.0-or-later
"""``--set KEY=VALUE``: changing what vm.toml says.

KEY is a path with dots; in a list of tables the entry is named by its id (node-name) or its number:
``machine.memory=512MiB``, ``blockdev.disk0.read-only=true``, ``device.1.serial=abc``. VALUE is read as a TOML value and,
where it is none, as plain text.
"""

from __future__ import annotations

import tomllib
from typing import Any

from asyncemu.errors import ConfigError
from asyncemu.plugin_options import IDENTITY_KEY


def apply_override(tables: dict[str, Any], override: str) -> None:
    """Change ``tables`` in place. Raises ConfigError."""
    key, separator, text = override.partition("=")
    if not separator or not key.strip("."):
        raise ConfigError("--set", f"{override!r} is not KEY=VALUE", "as in machine.memory=512MiB")
    *path, last = key.split(".")
    target: Any = tables
    kind = path[0] if path else ""
    for part in path:
        target = _step(target, part, kind, key)
    if isinstance(target, list):
        raise ConfigError("--set", f"{key}: names no key of an entry", f"as in {kind}.0.{last}={text}")
    target[last] = parse_value(text)


def parse_value(text: str) -> Any:
    """``text`` as a TOML value, or as itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _step(target: Any, part: str, kind: str, key: str) -> Any:
    if isinstance(target, dict):
        inner = target.setdefault(part, {})
        if not isinstance(inner, dict | list):
            raise ConfigError("--set", f"{key}: {part!r} is a value, not a table")
        return inner
    identity = IDENTITY_KEY.get(kind, "id")
    for index, entry in enumerate(target):
        if isinstance(entry, dict) and (entry.get(identity) == part or str(index) == part):
            return entry
    raise ConfigError("--set", f"{key}: no {kind} is named or numbered {part!r}")
