# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes of a graph under I/O: another node in the place of one, filters inserted and removed, other backing files.

Each is a drained section around a change of edges that either succeeds as a whole, permissions included, or leaves all
as it was. Requests of devices wait meanwhile; none is lost, none is made twice. Cancelled, it is done or not done.
Home: the graph's, as BlockGraph; the nodes may have another, and those that come get theirs.
QEMU: bdrv_replace_node, bdrv_append, bdrv_insert_node, bdrv_drop_filter, bdrv_set_backing_hd.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING

from asyncemu.block.child import BlockChild
from asyncemu.block.drain import drained, follow, settle
from asyncemu.block.flags import ROLE_COW
from asyncemu.block.homes import at_home, to_end
from asyncemu.block.move import share_home
from asyncemu.block.order import from_above, with_parents
from asyncemu.block.permissions import refresh_permissions
from asyncemu.errors import BlockError, ConfigError

if TYPE_CHECKING:
    from asyncemu.block.graph import BlockGraph
    from asyncemu.block.node import BlockNode


async def replace_node(graph: BlockGraph, old: BlockNode, new: BlockNode) -> None:
    """Those over ``old`` use ``new`` from now on, but for ``new`` itself and what is below it. BlockError, ConfigError.

    ``old`` stays, until it is removed.
    """
    async with graph.lock.writing():
        graph.check(old, new)
        await replace_node_locked(old, new)


async def replace_node_locked(old: BlockNode, new: BlockNode) -> None:
    """As ``replace_node``, with the graph's lock held."""
    if old is new:
        return
    await share_home(old, new)
    async with drained(old, new):
        await to_end(at_home(old, lambda: _replace(old, new)))


async def insert_filter(graph: BlockGraph, node: BlockNode, table: Mapping[str, object], where: str) -> BlockNode:
    """A new node between ``node`` and those over it; ``table`` describes it without the child. The new node.

    Only where it is to be its permissions count, and not beside the others while it is opened.
    """
    async with graph.lock.writing():
        graph.check(node)
        above = await graph.add_table_locked({**table, _child_option(graph, table): node.name}, where, alone=False)
        above.kept = True
        try:
            await replace_node_locked(node, above)
        except BaseException:
            await to_end(_take_back(graph, above, node))
            raise
        return above


async def _take_back(graph: BlockGraph, above: BlockNode, node: BlockNode) -> None:
    """The filter ``above`` could not be put over ``node``; or it was, and whoever wanted it has gone meanwhile."""
    if above.parents:
        async with drained(above, node):
            await at_home(above, lambda: _replace(above, node))
    await graph.remove_locked(above)


async def remove_filter(graph: BlockGraph, node: BlockNode) -> None:
    """Those over the filter ``node`` use what it filters, and it is closed. BlockError: it is no filter."""
    async with graph.lock.writing():
        graph.check(node)
        edge = node.filtered
        if edge is None:
            raise BlockError(node.name, errno.EINVAL, "is no filter")
        below = edge.node
        async with drained(node, below):
            await to_end(_remove_filter(graph, node, below))


async def _remove_filter(graph: BlockGraph, node: BlockNode, below: BlockNode) -> None:
    await at_home(node, lambda: _replace(node, below))
    # It is to outlive the filter, also when nobody was over that.
    kept, below.kept = below.kept, True
    try:
        await graph.remove_locked(node)
    finally:
        below.kept = kept or not below.parents


async def set_backing(graph: BlockGraph, node: BlockNode, backing: BlockNode | None) -> None:
    """``node`` reads what it does not have from ``backing``; what the image says is not changed."""
    async with graph.lock.writing():
        await set_backing_locked(graph, node, backing)


async def set_backing_locked(graph: BlockGraph, node: BlockNode, backing: BlockNode | None) -> None:
    """As ``set_backing``, with the graph's lock held."""
    graph.check(node, *([backing] if backing is not None else []))
    if not node.driver.supports_backing:
        raise BlockError(node.name, errno.EINVAL, f"driver '{node.driver.name}' has no backing file")
    before = node.backing
    if backing is not None:
        await share_home(node, backing)
    others = [each for each in (before.node if before is not None else None, backing) if each is not None]
    async with drained(node, *others):
        await to_end(_set_backing_drained(graph, node, backing))


async def _set_backing_drained(graph: BlockGraph, node: BlockNode, backing: BlockNode | None) -> None:
    before = node.backing
    await at_home(node, lambda: _set_backing(node, backing))
    if before is not None:
        await graph.drop_locked(before.node)


async def _set_backing(node: BlockNode, backing: BlockNode | None) -> None:
    undo = link_child(node, ROLE_COW, backing)
    try:
        refresh_permissions([node, *undo.nodes])
    except BaseException:
        undo()
        raise
    mark_debugged(node)
    await settle(follow(node, *undo.nodes))


async def append_locked(node: BlockNode, overlay: BlockNode) -> None:
    """Those over ``node`` use ``overlay``, whose backing file it becomes. With the graph's lock held.

    BlockError, ConfigError: all is as it was. QEMU: bdrv_append.
    """
    await share_home(node, overlay)
    async with drained(node, overlay):
        await to_end(at_home(node, lambda: _append(node, overlay)))


async def _append(node: BlockNode, overlay: BlockNode) -> None:
    # First the edge below: ``_replace`` leaves alone what is below the new one.
    undo = link_child(overlay, ROLE_COW, node)
    try:
        await _replace(node, overlay)
    except BaseException:
        undo()
        raise


async def take_off_locked(node: BlockNode, overlay: BlockNode) -> None:
    """The other way round: those over ``overlay`` use ``node``, which is its backing file no more."""
    async with drained(node, overlay):
        await to_end(at_home(node, lambda: _take_off(node, overlay)))


async def _take_off(node: BlockNode, overlay: BlockNode) -> None:
    # What others write now, nobody may read beside them.
    undo = link_child(overlay, ROLE_COW, None)
    try:
        await _replace(overlay, node)
    except BaseException:
        undo()
        raise


class Undo:
    """A child of a node has been put in the place of another; call it to have that back."""

    def __init__(self, node: BlockNode, before: BlockChild | None, after: BlockChild | None) -> None:
        self._node = node
        self._before = before
        self._after = after
        self._children = list(node.children)
        #: Both children, as far as there are.
        self.nodes = [edge.node for edge in (before, after) if edge is not None]

    def __call__(self) -> None:
        if self._after is not None:
            self._node.detach(self._after)
        if self._before is not None:
            self._node.attach(self._before)
        self._node.children[:] = self._children


def link_child(node: BlockNode, role: int, child: BlockNode | None) -> Undo:
    """Make ``child`` the child of ``node`` in its slot of ``role``, or none. In the home of both, drained.

    Permissions and sections are the caller's. ConfigError: it would be over itself; BlockError: it is being closed.
    """
    slot = next(slot for slot in node.driver.children if slot.role & role)
    before = next((edge for edge in node.children if edge.name == slot.name), None)
    after = None
    if child is not None:
        if node in from_above([child]):
            problem = f"Making '{child.name}' a {slot.name} child of '{node.name}' would create a cycle"
            raise ConfigError(slot.name, problem)
        if child.closing or child.closed:
            raise BlockError(child.name, errno.ESHUTDOWN, f"can't be put below {node.name}")
        after = BlockChild(node, slot.name, node.driver.child_role(slot), child)
    undo = Undo(node, before, after)
    if before is not None:
        node.detach(before)
    if after is not None:
        node.attach(after)
    return undo


async def _replace(old: BlockNode, new: BlockNode) -> None:
    """Turn the edges around. In the home of both, drained."""
    if new.closing or new.closed:
        raise BlockError(new.name, errno.ESHUTDOWN, f"can't replace {old.name}")
    # Those that are below ``new`` keep what they have: nothing is to be below itself.
    below = set(from_above([new]))
    edges = [edge for edge in old.parents if edge.parent not in below]
    before = list(old.parents), list(new.parents)
    for edge in edges:
        old.parents.remove(edge)
        new.parents.append(edge)
        edge.node = new
    try:
        refresh_permissions([old, new])
    except BaseException:
        for edge in edges:
            edge.node = old
        old.parents[:], new.parents[:] = before
        raise
    mark_debugged(new)
    if new.size != old.size:
        for edge in edges:
            edge.parent.child_resized(edge)
    await settle(follow(old, new))


def mark_debugged(node: BlockNode) -> None:
    """A blkdebug may have come or gone at ``node``: tell those over it."""
    for each in reversed(with_parents([node])):
        each.debugged = each.driver.defines("debug_event") or any(edge.node.debugged for edge in each.children)


def _child_option(graph: BlockGraph, table: Mapping[str, object]) -> str:
    """The option of the filter's child: QEMU's filters call it ``file``."""
    from asyncemu.block.driver import BlockDriver
    from asyncemu.block.flags import ROLE_FILTERED
    from asyncemu.plugins import find

    driver = find("blockdev", str(table.get("driver", "")), "driver", str(table.get("plugin", "")), graph.directory)
    assert issubclass(driver, BlockDriver)
    return next((slot.name for slot in driver.children if slot.role & ROLE_FILTERED), "file")
