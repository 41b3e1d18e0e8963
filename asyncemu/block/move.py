# SPDX-License-Identifier: GPL-2.0-or-later
"""Block nodes get another home: all that are connected, with their BlockBackends. QEMU: bdrv_try_change_aio_context.

The whole tree goes, as a request passes through it without changing threads. Inside a drained section; all of it, or
nothing:

    old home    drivers give back what belongs to the context, those above first
                the ``context`` of all is changed, at once: from here on this thread leaves them alone (homes.py)
    new home    drivers get what they need there, those below first
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from asyncemu.block.backend import BackendFollower, BlockBackend
from asyncemu.block.drain import backends_of, drained
from asyncemu.block.homes import at_home, to_end
from asyncemu.block.node import BlockNode
from asyncemu.block.order import connected
from asyncemu.errors import BlockError, HostError
from asyncemu.loop import AioContext


async def move_nodes(node: BlockNode, context: AioContext, movers: Iterable[BlockBackend] = ()) -> None:
    """Make ``context`` the home of ``node`` and all that are connected to it, from any context.

    ``movers`` are those of their BlockBackends whose owners move there, too; a ``follower`` comes along. BlockError
    when another one lives elsewhere, or when a driver can't work there (no io_uring, say): then all is as it was.
    """
    if node.context is context:
        return
    if node.graph_lock is None:
        await move_nodes_locked(node, context, movers)
        return
    async with node.graph_lock.writing():
        await move_nodes_locked(node, context, movers)


async def move_nodes_locked(node: BlockNode, context: AioContext, movers: Iterable[BlockBackend] = ()) -> None:
    """As ``move_nodes``, by who holds the graph's lock."""
    if node.context is context:
        return
    move = _Move(node, context, movers)
    await at_home(node, move.check)
    async with _suspended(move.followers or ()), drained(*move.nodes):
        await to_end(move.make())


@asynccontextmanager
async def _suspended(followers: Iterable[BackendFollower]) -> AsyncIterator[None]:
    """Before the drained section: what they have in flight would wait for its end."""
    told: list[BackendFollower] = []
    try:
        for follower in followers:
            told.append(follower)
            await to_end(_suspend(follower))
        yield
    finally:
        for follower in told:
            await to_end(_resume(follower))


async def _suspend(follower: BackendFollower) -> None:
    await follower.suspend()


async def _resume(follower: BackendFollower) -> None:
    await follower.resume()


async def share_home(node: BlockNode, other: BlockNode) -> None:
    """Bring both into one home before there is an edge between them: that of ``node`` if that can be, else the other.

    With the graph's lock held. BlockError (EBUSY): each has users who can't leave. QEMU: bdrv_attach_child_common.
    """
    if other.context is node.context:
        return
    try:
        await move_nodes_locked(other, node.context)
    except BlockError as error:
        try:
            await move_nodes_locked(node, other.context)
        except BlockError:
            raise error from None


class _Move:
    def __init__(self, node: BlockNode, context: AioContext, movers: Iterable[BlockBackend]) -> None:
        self._node = node
        self._home = node.context
        self._context = context
        self._going = set(movers)
        self.nodes: list[BlockNode] = []
        #: Who is to be suspended meanwhile; those who come later can't be.
        self.followers: tuple[BackendFollower, ...] | None = None

    async def check(self) -> None:
        """In the old home: who goes, and may they? BlockError."""
        self._home = self._node.context
        self.nodes = connected(self._node)
        staying = [
            backend
            for backend in backends_of(self.nodes)
            if backend not in self._going and backend.context is not self._context
        ]
        if self.followers is None:
            self.followers = tuple(backend.follower for backend in staying if backend.follower is not None)
        for backend in staying:
            if backend.follower not in self.followers:
                raise BlockError(
                    self._node.name,
                    errno.EBUSY,
                    f"is used by {backend.description} in {backend.context.name}, not moved",
                )

    async def make(self) -> None:
        """In a drained section of all of them, uncancelled."""
        failure = await self._home.call(self._leave)
        if failure is None:
            failure = await self._context.call(self._arrive)
            if failure is not None:
                await self._home.call(self._return)
        if isinstance(failure, (OSError, HostError)):
            number = failure.errno or errno.EIO
            raise BlockError(self._node.name, number, f"can't be moved to {self._context.name}") from failure
        if failure is not None:
            raise failure

    async def _leave(self) -> Exception | None:
        detached: list[BlockNode] = []
        try:
            for node in self.nodes:
                await node.driver.detach_context()
                detached.append(node)
            # Somebody may have come while the drivers gave up what they had.
            nodes = self.nodes
            await self.check()
            if set(nodes) != set(self.nodes):
                self.nodes = nodes
                raise BlockError(self._node.name, errno.EBUSY, "is being changed")
        except Exception as error:
            for node in reversed(detached):
                await node.driver.attach_context()
            return error
        self._detach_backends()
        self._change(self._context)
        return None

    async def _arrive(self) -> Exception | None:
        attached: list[BlockNode] = []
        try:
            for node in reversed(self.nodes):
                await node.driver.attach_context()
                attached.append(node)
        except Exception as error:
            for node in reversed(attached):
                await node.driver.detach_context()
            self._change(self._home)
            return error
        self._attach_backends()
        return None

    async def _return(self) -> None:
        self._attach_backends()
        for node in reversed(self.nodes):
            await node.driver.attach_context()

    def _detach_backends(self) -> None:
        for backend in backends_of(self.nodes):
            backend.detach_context()

    def _attach_backends(self) -> None:
        for backend in backends_of(self.nodes):
            backend.attach_context()

    def _change(self, context: AioContext) -> None:
        """Between two callbacks of the home so far."""
        for node in self.nodes:
            node.context = node.driver.context = context
        for backend in backends_of(self.nodes):
            backend.context = context
