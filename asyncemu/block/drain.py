# SPDX-License-Identifier: GPL-2.0-or-later
"""Drained sections: nothing is in flight in a node, and nothing comes, until the section ends.

Requests come from above, so the order is from above: the parents that are no nodes (BlockBackends) are asked to be
quiet, nodes over the node are told before it, and then each node is waited for before what it uses. A parent that comes
while the section lasts is made quiet, too. Sections nest, and overlap. QEMU: bdrv_drained_begin, bdrv_drained_end,
bdrv_drain_all_begin, bdrv_drain_all_end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from asyncemu.block.order import connected, from_above, with_parents
from asyncemu.loop import any_thread

if TYPE_CHECKING:
    from asyncemu.block.backend import BlockBackend
    from asyncemu.block.node import BlockNode

__all__ = ["DrainedSection", "backends_of", "connected", "drained", "drained_all", "with_parents"]


class DrainedSection:
    """Who is quiet because of one section."""

    def __init__(self) -> None:
        self._nodes: list[BlockNode] = []
        self._backends: list[BlockBackend] = []

    @any_thread
    async def begin(self, nodes: list[BlockNode]) -> None:
        """``nodes``, those above first, and all that is over them."""
        for backend in backends_of(nodes):
            await backend.context.call(lambda backend=backend: self._quiet(backend))  # type: ignore[misc]
        # Told before anybody is waited for: a request of theirs may wait for a rate, or a server.
        for node in nodes:
            await node.context.call(lambda node=node: self._enter(node))  # type: ignore[misc]
        for backend in self._backends:
            await backend.wait_quiet()
        for node in nodes:
            await node.context.call(node.drain)

    async def adopt(self, parent: BlockNode | BlockBackend) -> None:
        """``parent`` has got an edge to a node that this section holds."""
        from asyncemu.block.node import BlockNode

        if isinstance(parent, BlockNode):
            if self not in parent.sections:
                await self._enter(parent)
                for edge in parent.parents:
                    await self.adopt(edge.parent)  # type: ignore[arg-type]
        elif parent not in self._backends:
            await self._quiet(parent)
            await parent.wait_quiet()

    async def end(self) -> None:
        """All may go on, those below first."""
        while self._nodes:
            node = self._nodes.pop()
            await node.context.call(lambda node=node: self._leave(node))  # type: ignore[misc]
        while self._backends:
            await self._backends.pop().end_quiet()

    async def _quiet(self, backend: BlockBackend) -> None:
        self._backends.append(backend)
        backend.drain_begin()

    async def _enter(self, node: BlockNode) -> None:
        self._nodes.append(node)
        node.sections.append(self)
        if len(node.sections) == 1:
            node.driver.drain_begin()

    async def _leave(self, node: BlockNode) -> None:
        node.sections.remove(self)
        if not node.sections:
            node.driver.drain_end()


def backends_of(nodes: Iterable[BlockNode]) -> list[BlockBackend]:
    """The BlockBackends over them, each once."""
    from asyncemu.block.backend import BlockBackend

    found: dict[BlockBackend, None] = {}
    for node in nodes:
        for edge in node.parents:
            if isinstance(edge.parent, BlockBackend):
                found[edge.parent] = None
    return list(found)


@asynccontextmanager
async def drained(*nodes: BlockNode) -> AsyncIterator[None]:
    """Inside, nothing is in flight in ``nodes`` and the nodes over them. From any context; nests."""
    above: dict[BlockNode, None] = {}
    for node in nodes:
        above.update(dict.fromkeys(with_parents(node)))
    async with _section([node for node in from_above(above) if node in above]):
        yield


@asynccontextmanager
async def drained_all(nodes: Iterable[BlockNode]) -> AsyncIterator[None]:
    """Inside, nothing is in flight in any of ``nodes``, which are all that there are."""
    async with _section(from_above(nodes)):
        yield


@asynccontextmanager
async def _section(nodes: list[BlockNode]) -> AsyncIterator[None]:
    section = DrainedSection()
    try:
        await section.begin(nodes)
        yield
    finally:
        await section.end()
