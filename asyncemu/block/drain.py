# SPDX-License-Identifier: GPL-2.0-or-later
"""Drained sections: nothing is in flight in a node, and nothing comes, until the section ends.

    async with drained(node): ...

Requests come from above, so a section that names some nodes holds all that is over them, too. It begins from above:
parents that are no nodes (BlockBackends) become quiet, drivers are told (``drain_begin``), all of that before anybody
is waited for, as what one waits for may need another to let go of it; then all that is in flight is waited for. It ends
from below. Sections nest, and overlap; a driver is told of the first one and of the end of the last.

The graph may change meanwhile, by who is in the section or by others. Whoever changes edges calls ``follow`` behind
that, without an ``await`` between: each section that holds a node whose parents have changed then holds who is over it
now, and lets go of who is not. So a new parent of a drained node is drained from its first moment, and one that has
got another child is free at once. Users of BlockBackends are told by ``settle``, which waits.

QEMU: bdrv_drained_begin, bdrv_drained_end, bdrv_drain_all_begin, bdrv_drain_all_end; its quiesce counters are sections.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from asyncemu.block.homes import at_home, to_end
from asyncemu.block.order import sorted_from_above, with_parents
from asyncemu.coroutines import CoMutex
from asyncemu.loop import AioContext, any_thread

if TYPE_CHECKING:
    from asyncemu.block.backend import BackendUser, BlockBackend
    from asyncemu.block.node import BlockNode


class DrainedSection:
    """Who is quiet because of one section."""

    def __init__(self, named: Iterable[BlockNode] = ()) -> None:
        self._named = dict.fromkeys(named)
        self._over = False
        # Held. Each entry is touched at its home only; a thread that looks at the whole copies it first.
        self._nodes: dict[BlockNode, None] = {}
        self._backends: dict[BlockBackend, None] = {}
        #: Users of BlockBackends that have been asked to be quiet.
        self._asked: dict[BlockBackend, BackendUser] = {}
        self._settling = CoMutex()

    @any_thread
    async def begin(self) -> None:
        """Return when all is quiet. Raises CancelledError only; then it has ended."""
        try:
            for node in list(self._named):
                if self not in node.sections:
                    await at_home(node, lambda node=node: self._hold(node))  # type: ignore[misc]
            await self.settle()
            await self._wait()
        except BaseException:
            await to_end(self.end())
            raise

    @any_thread
    async def end(self) -> None:
        """All may go on."""
        self._over = True
        while held := self._held():
            await at_home(held[0], lambda: self._hold(held[0]))
        await self.settle()

    def name(self, node: BlockNode) -> None:
        """At its home: the section has begun, and ``node``, in which nothing is in flight, is one of its own."""
        self._named[node] = None
        self.follow(node.context)

    def follow(self, home: AioContext) -> None:
        """In ``home``: hold, of what lives there, what is over the nodes that are named; let go of the rest."""
        named = [] if self._over else [node for node in self._named if node.context is home and not node.closed]
        # A node that is being opened comes in when it is open; what it reads until then is the caller's own.
        wanted = dict.fromkeys(node for node in with_parents(named) if node.opened)
        backends = dict.fromkeys(backends_of(wanted))
        for backend in backends:
            if backend not in self._backends:
                self._backends[backend] = None
                backend.drain_begin()
        for node in wanted:
            if node not in self._nodes:
                self._enter(node)
        gone = [node for node in list(self._nodes) if node.context is home and node not in wanted]
        for node in reversed(sorted_from_above(gone)):
            self._leave(node)
        for backend in list(self._backends):
            if backend.context is home and backend not in backends:
                del self._backends[backend]
                backend.drain_end()

    @any_thread
    async def settle(self) -> None:
        """Wait until users of the BlockBackends that are held are quiet, and tell those of the others to go on."""
        # One at a time: who comes second must find them quiet, not just asked.
        async with self._settling:
            for backend in list(self._backends):
                if backend.user is not None and backend not in self._asked:
                    user = self._asked[backend] = backend.user
                    # To the end: half of its queues may be quiet, and ``resume`` is for all.
                    await to_end(quiesce(user))
            for backend, user in reversed(list(self._asked.items())):
                if backend not in self._backends:
                    del self._asked[backend]
                    await to_end(resume(user))

    def _enter(self, node: BlockNode) -> None:
        self._nodes[node] = None
        node.sections.append(self)
        if len(node.sections) == 1:
            node.driver.drain_begin()

    def _leave(self, node: BlockNode) -> None:
        del self._nodes[node]
        node.sections.remove(self)
        if not node.sections and not node.closed:
            node.driver.drain_end()

    async def _hold(self, place: BlockNode | BlockBackend) -> None:
        self.follow(place.context)

    async def _wait(self) -> None:
        # From above: what is idle with idle parents stays idle. Who has been waited for, all are looked at again: a
        # parent may have come.
        while busy := next((each for each in self._held() if each.in_flight), None):
            await at_home(busy, busy.drain)

    def _held(self) -> list[BlockNode | BlockBackend]:
        return [*self._backends, *self._nodes]


async def quiesce(user: BackendUser) -> None:
    """A coroutine of its own, for ``to_end``."""
    await user.quiesce()


async def resume(user: BackendUser) -> None:
    """A coroutine of its own, for ``to_end``."""
    await user.resume()


def backends_of(nodes: Iterable[BlockNode]) -> list[BlockBackend]:
    """The BlockBackends over them, each once. In the home of the nodes."""
    from asyncemu.block.backend import BlockBackend

    found: dict[BlockBackend, None] = {}
    for node in nodes:
        for edge in node.parents:
            if isinstance(edge.parent, BlockBackend):
                found[edge.parent] = None
    return list(found)


def follow(*nodes: BlockNode) -> list[DrainedSection]:
    """The edges over ``nodes`` have changed. In their home; the sections that are to ``settle``."""
    sections = list(dict.fromkeys(section for node in nodes for section in node.sections))
    for section in sections:
        section.follow(nodes[0].context)
    return sections


@any_thread
async def settle(sections: Iterable[DrainedSection]) -> None:
    """Behind ``follow``."""
    for section in sections:
        await section.settle()


@asynccontextmanager
async def drained(*nodes: BlockNode) -> AsyncIterator[None]:
    """Inside, nothing is in flight in ``nodes`` and the nodes over them. From any context; nests."""
    section = DrainedSection(nodes)
    await section.begin()
    try:
        yield
    finally:
        await to_end(section.end())


def drained_all(nodes: Iterable[BlockNode]) -> AbstractAsyncContextManager[None]:
    """Inside, nothing is in flight in any of ``nodes``. For all of a graph, and those that come: BlockGraph.drained."""
    return drained(*nodes)
