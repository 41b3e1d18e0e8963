# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes of a graph under I/O: another node in the place of one, filters inserted and removed, other backing files.

Each is a drained section around a change of edges that either succeeds as a whole, permissions included, or leaves all
as it was. Requests of devices wait meanwhile; none is lost, none is made twice. Home: the graph's, as BlockGraph.
QEMU: bdrv_replace_node, bdrv_append, bdrv_insert_node, bdrv_drop_filter, bdrv_set_backing_hd.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING

from asyncemu.block.child import BlockChild
from asyncemu.block.drain import DrainedSection, drained
from asyncemu.block.flags import ROLE_COW
from asyncemu.block.order import with_parents
from asyncemu.block.permissions import refresh_permissions
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.graph import BlockGraph
    from asyncemu.block.node import BlockNode


async def replace_node(graph: BlockGraph, old: BlockNode, new: BlockNode) -> None:
    """Those over ``old`` use ``new`` from now on, but for ``new`` itself and what is below it. BlockError, ConfigError."""
    async with graph.lock.writing(), drained(old, new):
        await old.context.call(lambda: _replace(old, new))


async def insert_filter(graph: BlockGraph, node: BlockNode, table: Mapping[str, object], where: str) -> BlockNode:
    """A new node between ``node`` and those over it; ``table`` describes it without the child. The new node."""
    async with graph.lock.writing():
        above = await graph.add_table_locked({**table, _child_option(table): node.name}, where)
        above.kept = True
        try:
            async with drained(node, above):
                await node.context.call(lambda: _replace(node, above))
        except BaseException:
            await graph.remove_locked(above)
            raise
        return above


async def remove_filter(graph: BlockGraph, node: BlockNode) -> None:
    """Those over the filter ``node`` use what it filters, and it is closed. BlockError: it is no filter."""
    async with graph.lock.writing():
        edge = node.filtered or node.backing
        if edge is None:
            raise BlockError(node.name, errno.EINVAL, "is no filter")
        below = edge.node
        kept, below.kept = below.kept, True
        try:
            async with drained(node):
                await node.context.call(lambda: _replace(node, below))
            await graph.remove_locked(node)
        finally:
            below.kept = kept


async def set_backing(graph: BlockGraph, node: BlockNode, backing: BlockNode | None) -> None:
    """``node`` reads what it does not have from ``backing``; what the image says is not changed."""
    async with graph.lock.writing():
        await set_backing_locked(graph, node, backing)


async def set_backing_locked(graph: BlockGraph, node: BlockNode, backing: BlockNode | None) -> None:
    """As ``set_backing``, with the graph's lock held."""
    if not node.driver.supports_backing:
        raise BlockError(node.name, errno.EINVAL, f"driver '{node.driver.name}' has no backing file")
    before = node.backing
    nodes = [node] if before is None else [node, before.node]
    async with drained(*nodes, *([backing] if backing is not None else [])):
        await node.context.call(lambda: _set_backing(node, backing))
    if before is not None:
        await graph.drop_locked(before.node)


async def _set_backing(node: BlockNode, backing: BlockNode | None) -> None:
    if backing is not None and node in _all_below(backing):
        raise BlockError(node.name, errno.ELOOP, f"can't be below itself, as backing file of {backing.name!r}")
    before = node.backing
    if before is not None:
        node.detach(before)
    after = BlockChild(node, "backing", ROLE_COW, backing) if backing is not None else None
    if after is not None:
        node.attach(after)
    changed = [node, *([before.node] if before is not None else [])]
    try:
        refresh_permissions(changed)
    except BaseException:
        if after is not None:
            node.detach(after)
        if before is not None:
            node.attach(before)
        refresh_permissions([node, *([backing] if backing is not None else [])])
        raise
    if backing is not None:
        await _adopt(backing, node)


async def _replace(old: BlockNode, new: BlockNode) -> None:
    """Turn the edges around. In the home of both, drained."""
    if old is new:
        return
    if old.context is not new.context:
        raise BlockError(new.name, errno.EBUSY, f"lives in {new.context.name}, {old.name} in {old.context.name}")
    below = _all_below(new)
    edges = [edge for edge in old.parents if edge.parent not in below]
    above = with_parents(old)
    if any(node in below for node in above if node is not old and any(edge.parent is node for edge in edges)):
        raise BlockError(new.name, errno.ELOOP, f"is over {old.name!r} by way of what would be over it")
    _turn(edges, old, new)
    try:
        refresh_permissions([old, new])
    except BaseException:
        _turn(edges, new, old)
        refresh_permissions([old, new])
        raise
    for edge in edges:
        await _adopt(new, edge.parent)  # type: ignore[arg-type]
        if new.size != old.size:
            edge.parent.child_resized(edge)
    mark_debugged(new)


def _turn(edges: list[BlockChild], old: BlockNode, new: BlockNode) -> None:
    for edge in edges:
        old.parents.remove(edge)
        new.parents.append(edge)
        edge.node = new


async def _adopt(node: BlockNode, parent: object) -> None:
    """Drained sections that hold ``node`` hold its new parent, too."""
    section: DrainedSection
    for section in list(node.sections):
        await section.adopt(parent)  # type: ignore[arg-type]


def mark_debugged(node: BlockNode) -> None:
    """A blkdebug may have come or gone at ``node``: tell those over it."""
    for each in reversed(with_parents(node)):
        each.debugged = each.driver.defines("debug_event") or any(edge.node.debugged for edge in each.children)


def _all_below(node: BlockNode) -> set[object]:
    found: set[object] = {node}
    waiting = [node]
    while waiting:
        for edge in waiting.pop().children:
            if edge.node not in found:
                found.add(edge.node)
                waiting.append(edge.node)
    return found


def _child_option(table: Mapping[str, object]) -> str:
    """The option of the filter's child: QEMU's filters call it ``file``."""
    from asyncemu.block.driver import BlockDriver
    from asyncemu.block.flags import ROLE_FILTERED
    from asyncemu.plugins import find

    driver = find("blockdev", str(table.get("driver", "")), "driver", str(table.get("plugin", "")))
    assert issubclass(driver, BlockDriver)
    return next((slot.name for slot in driver.children if slot.role & ROLE_FILTERED), "file")
