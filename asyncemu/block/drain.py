# SPDX-License-Identifier: GPL-2.0-or-later
"""Drained sections: nothing is in flight in a node, and nothing comes, until the section ends.

Requests come from above, so the order is from above: whoever uses the node, or a node over it, is asked to be quiet,
and then each node is waited for before what it uses. QEMU: bdrv_drained_begin, bdrv_drained_end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from asyncemu.loop import AioContext, any_thread

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode


class BlockUser(Protocol):
    """Whoever sends requests to a node and is no node itself: a device, an export. Tells the node by ``add_user``."""

    #: Its name in messages.
    id: str
    #: Where it sends requests from: the node's home.
    context: AioContext

    @any_thread
    async def quiesce(self) -> None:
        """Send no request until ``resume``; return when none is in flight. Nests. From any context."""

    @any_thread
    async def resume(self) -> None:
        """The other end of ``quiesce``."""


def with_parents(node: BlockNode) -> list[BlockNode]:
    """``node`` and all nodes over it, those above first."""
    return _from_above(_reachable(node, lambda each: each.parents))


def connected(node: BlockNode) -> list[BlockNode]:
    """All nodes that share the way of a request with ``node``, those above first."""
    return _from_above(_reachable(node, lambda each: [*each.parents, *each.children]))


def _reachable(node: BlockNode, next_to: Callable[[BlockNode], list[BlockNode]]) -> list[BlockNode]:
    found = [node]
    for each in found:  # it grows while we walk
        found += [other for other in next_to(each) if other not in found]
    return found


def _from_above(nodes: list[BlockNode]) -> list[BlockNode]:
    """In an order in which each comes behind all of ``nodes`` that are over it. A graph has no circles."""
    ordered: list[BlockNode] = []
    while len(ordered) < len(nodes):
        ordered += [
            node
            for node in nodes
            if node not in ordered and all(parent in ordered or parent not in nodes for parent in node.parents)
        ]
    return ordered


def users_of(nodes: Iterable[BlockNode]) -> list[BlockUser]:
    """Who uses them, each once."""
    users: list[BlockUser] = []
    for node in nodes:
        users += [user for user in node.users if user not in users]
    return users


@asynccontextmanager
async def drained(node: BlockNode) -> AsyncIterator[None]:
    """Inside, nothing is in flight in ``node`` and the nodes over it. From any context; nests."""
    nodes = with_parents(node)
    async with quiet(users_of(nodes)):
        for each in nodes:
            await each.context.call(each.drain)
        yield


@asynccontextmanager
async def quiet(users: list[BlockUser]) -> AsyncIterator[None]:
    """Inside, none of them sends a request."""
    async with AsyncExitStack() as asked:
        for user in users:
            await user.quiesce()
            asked.push_async_callback(user.resume)
        yield
