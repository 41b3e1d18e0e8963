# SPDX-License-Identifier: GPL-2.0-or-later
"""Block nodes inside of block nodes: ``file = { driver = "file", ... }`` or ``file = "node-name"``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from asyncemu.errors import ConfigError, ConfigErrors
from asyncemu.machine.references import references
from asyncemu.plugin_options import Configured, configure
from asyncemu.spelling import nearest

#: Tables within each other: more than any chain of images that makes sense.
MAX_DEPTH: Final = 32


def nested_blockdevs(
    node: Configured,
    where: str,
    directory: Path,
    names: dict[str, str],
    throttle_groups: Sequence[str] | None,
    depth: int = 0,
) -> Iterator[ConfigError]:
    """What is wrong below ``node``, whose table is at ``where``, and with the names that it has and uses.

    ``names`` maps the node-names defined so far to their TOML paths; it grows. A child is opened before its parent, and
    a node may refer to those defined above it only. ``throttle_groups``: all that there are; None: not known.
    """
    for path, _, kind, name in references(node.options, where):
        if kind == "throttle-group" and throttle_groups is not None and name not in throttle_groups:
            yield ConfigError(path, f"no throttle-group is named {name!r}", nearest(name, throttle_groups))
    for slot in getattr(node.plugin, "children", ()):
        value = getattr(node.options, slot.name)
        path = f"{where}.{slot.name.replace('_', '-')}"
        if not value and slot.optional:
            continue
        if isinstance(value, dict):
            yield from _nested(value, path, directory, names, throttle_groups, depth)
        elif value not in names:
            remedy = nearest(value, list(names)) or "define it above this one"
            yield ConfigError(path, f"no block node above is named {value!r}", remedy)
    if not node.identity:
        return
    owner = names.setdefault(node.identity, where)
    if owner != where:
        yield ConfigError(f"{where}.node-name", f"{node.identity!r} is the name of {owner} already", "choose another")


def _nested(
    table: dict[str, Any],
    path: str,
    directory: Path,
    names: dict[str, str],
    throttle_groups: Sequence[str] | None,
    depth: int,
) -> Iterator[ConfigError]:
    if depth >= MAX_DEPTH:
        yield ConfigError(path, f"is nested more than {MAX_DEPTH} tables deep", "define nodes one after the other")
        return
    try:
        inner = configure("blockdev", table, path, directory, all_errors=True)
    except ConfigErrors as several:
        yield from several.errors
    except ConfigError as error:
        yield error
    else:
        yield from nested_blockdevs(inner, path, directory, names, throttle_groups, depth + 1)
