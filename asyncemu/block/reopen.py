# SPDX-License-Identifier: GPL-2.0-or-later
"""Other options for nodes that are open, of several at once: all of them, or none. QEMU: bdrv_reopen_multiple.

    gather       the nodes that are named, and below them those that inherit what changes
    drain        all of them: nothing is in flight while options change
    prepare      each driver, parents first (they write down what they cache while those below can still be written)
    permissions  as they will be: a node that becomes writable needs more of those below, and of their locks
    commit       those below first (a file is writable again before its format writes), or abort, in reverse

A child in the options of a node is another node for that edge, when it is a node-name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.drain import drained
from asyncemu.block.driver import BlockDriverOptions
from asyncemu.block.order import from_above
from asyncemu.block.permissions import refresh_permissions
from asyncemu.block.tables import inherited
from asyncemu.block.types import Reopening
from asyncemu.errors import BlockError, ConfigError
from asyncemu.plain_options import REQUIRED

if TYPE_CHECKING:
    from asyncemu.block.graph import BlockGraph
    from asyncemu.block.node import BlockNode

#: What a child inherits and a reopen can change.
_INHERITED: Final = ("read-only", "auto-read-only", "force-share", "cache", "discard")


@dataclass(slots=True)
class _Change:
    node: BlockNode
    options: BlockDriverOptions
    where: str
    before: BlockDriverOptions
    reopening: Reopening | None = None
    was_read_only: bool = False


async def reopen(
    graph: BlockGraph, changes: Mapping[BlockNode, Mapping[str, object]], *, keep: bool = False, where: str = "reopen"
) -> None:
    """Give each node the options in its table (without ``driver`` and ``node-name``). The graph's home.

    ``keep``: options that a table does not have stay as they are, instead of taking their defaults. A child that a
    table does not have stays either way. Raises ConfigError or BlockError; then all is as it was.
    """
    async with graph.lock.writing():
        gathered = _gather(graph, changes, keep, where)
        async with drained(*(change.node for change in gathered)):
            prepared: list[_Change] = []
            try:
                for change in gathered:
                    await change.node.context.call(lambda change=change: _prepare(change))  # type: ignore[misc]
                    prepared.append(change)
                await gathered[0].node.context.call(lambda: _refresh(gathered))
            except BaseException as error:
                for change in reversed(prepared):
                    await change.node.context.call(lambda change=change: _abort(change))  # type: ignore[misc]
                await gathered[0].node.context.call(lambda: _refresh(gathered))
                if isinstance(error, OSError):
                    raise BlockError(gathered[0].node.name, error.errno or 5, "reopen") from error
                raise
            for change in reversed(gathered):
                await change.node.context.call(lambda change=change: _commit(change))  # type: ignore[misc]


def _gather(
    graph: BlockGraph, changes: Mapping[BlockNode, Mapping[str, object]], keep: bool, where: str
) -> list[_Change]:
    found: dict[BlockNode, _Change] = {}
    for node in from_above(changes):
        table = changes.get(node)
        if table is None:
            if node in found:
                _gather_children(node, found)
            continue
        options = _parsed(graph, node, table, keep, where)
        found[node] = _Change(node, options, where, node.driver.options)
        _gather_children(node, found)
    return list(found.values())


def _parsed(
    graph: BlockGraph, node: BlockNode, table: Mapping[str, object], keep: bool, where: str
) -> BlockDriverOptions:
    options: BlockDriverOptions = node.driver.options
    slots = {slot.name for slot in node.driver.children}
    for key in table:
        name = key.replace("-", "_")
        edge = next((edge for edge in node.children if edge.name == name), None)
        if name in slots and (edge is None or table[key] != edge.node.name) and table[key] != getattr(options, name):
            raise ConfigError(f"{where}.{key}", f"Cannot change the option '{key}'")
    # What stays in any case: children, and what has no default.
    kept = {key: value for key, value in options.given().items() if keep or key.replace("-", "_") in slots}
    required = {
        field.key: getattr(options, name)
        for name, field in options.fields.items()
        if field.key not in table and field.default is REQUIRED
    }
    cache = table.get("cache")
    merged: dict[str, object] = {**required, **kept, **table}
    if keep and isinstance(cache, Mapping):
        merged["cache"] = {**options.cache.given(), **cache}
    parsed = type(options).parse(merged, where, graph.directory)
    return parsed


def _gather_children(node: BlockNode, found: dict[BlockNode, _Change]) -> None:
    """Those that inherit from ``node``, which is in ``found``."""
    driver, options = node.driver, found[node].options
    for edge in node.children:
        child = edge.node
        slot = next((slot for slot in driver.children if slot.name == edge.name), None)
        if child.explicit is None or child in found or slot is None:
            continue
        inherits = inherited(type(driver), slot, {}, options)
        current: BlockDriverOptions = child.driver.options
        changed: dict[str, Any] = {}
        for key in _INHERITED:
            name = key.replace("-", "_")
            if key in inherits and key not in child.explicit:
                value = inherits[key]
                if key == "cache":
                    assert isinstance(value, Mapping)
                    value = current.cache.replaced(direct=value["direct"], no_flush=value["no-flush"])
                if getattr(current, name) != value:
                    changed[name] = value
        if changed:
            found[child] = _Change(child, current.replaced(**changed), found[node].where, current)
            _gather_children(child, found)


async def _prepare(change: _Change) -> None:
    node, driver = change.node, change.node.driver
    change.was_read_only = driver.read_only
    if change.options.read_only and not node.read_only:
        await node.flush()
    change.reopening = await driver.prepare_reopen(change.options)
    driver.read_only = change.options.read_only
    node.set_options()


async def _refresh(changes: list[_Change]) -> None:
    refresh_permissions([change.node for change in changes])


async def _commit(change: _Change) -> None:
    driver = change.node.driver
    if change.reopening is not None:
        await change.reopening.commit()
    driver.options = change.options
    change.node.set_options()
    change.node.set_limits()


async def _abort(change: _Change) -> None:
    driver = change.node.driver
    if change.reopening is not None:
        await change.reopening.abort()
    driver.read_only = change.was_read_only
    driver.options = change.before
    change.node.set_options()
