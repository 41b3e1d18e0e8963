# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockBackend: what a device, an export or a tool holds of the block layer. QEMU: BlockBackend.

    backend = BlockBackend("disk0", context, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL & ~PERM_WRITE)
    await backend.insert(node)             permissions are checked here
    await backend.preadv(0, buffers)
    await backend.remove()

It checks bounds, holds requests while the node is drained (they wait in line, nobody fails, and if it moves meanwhile
they go on in the new home), counts them, and knows what a device is to do about an error. Without a node there is no
medium: ENOMEDIUM.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic_ns
from typing import Protocol

from asyncemu.block.child import BlockChild
from asyncemu.block.drain import follow, settle
from asyncemu.block.error_policy import ErrorAction, ErrorPolicy
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ
from asyncemu.block.homes import at_home
from asyncemu.block.node import BlockNode
from asyncemu.block.permissions import refresh_permissions
from asyncemu.block.statistics import FLUSH, READ, UNMAP, WRITE, BlockStatistics
from asyncemu.block.status import block_status_above, is_allocated_above
from asyncemu.block.types import BlockStatus, Preallocation
from asyncemu.coroutines import start
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext, HasHome, any_thread, home
from asyncemu.memory.buffers import Buffers


class BackendUser(Protocol):
    """Who sends a BlockBackend requests and can stop doing so: a device, which leaves them in its guest's rings."""

    @any_thread
    async def quiesce(self) -> None:
        """Send no request until ``resume``; return when none is in flight. Nests. From any context.

        Is not cancelled; if it raises, ``resume`` follows all the same.
        """

    @any_thread
    async def resume(self) -> None:
        """The other end of ``quiesce``."""


class BlockBackend(HasHome):
    """All methods run in the home context, which is the node's, and raise BlockError."""

    def __init__(
        self, name: str, context: AioContext, permissions: int = PERM_CONSISTENT_READ, shared: int = PERM_ALL
    ) -> None:
        #: In messages; a device's id.
        self.name = name
        self.context = context
        self.permissions = permissions
        self.shared = shared
        self.root: BlockChild | None = None
        self.policy = ErrorPolicy()
        self.statistics = BlockStatistics()
        #: Called when the size has changed: a device tells its guest.
        self.on_resize: Callable[[], object] | None = None
        #: Who stops by itself while drained; without one, requests that come wait here.
        self.user: BackendUser | None = None
        #: Writes past the end make the node grow (PERM_RESIZE); otherwise they fail.
        self.allow_write_beyond_end = False
        #: Flags of each write: FUA where the user wants no write cache. QEMU: blk_set_enable_write_cache.
        self.write_flags = 0
        self.in_flight = 0
        self.quiesced = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle: asyncio.Future[None] | None = None

    @property
    def description(self) -> str:
        """In messages."""
        return f"block device '{self.name}'" if self.name else "an unnamed block device"

    # ---- the node

    @property
    def node(self) -> BlockNode:
        """BlockError (ENOMEDIUM) when there is none."""
        if self.root is None:
            raise BlockError(self.name, errno.ENOMEDIUM)
        return self.root.node

    @property
    def size(self) -> int:
        """Bytes."""
        return self.node.size

    @property
    def read_only(self) -> bool:
        """Can the node not be written?"""
        return self.node.read_only

    @home
    async def insert(self, node: BlockNode) -> None:
        """Take ``node`` as the medium. ConfigError: its other users don't allow what we want.

        BlockError (EBUSY): there is one, or it lives elsewhere; ESHUTDOWN: it is closed, or is about to be.
        """
        if self.root is not None:
            raise BlockError(self.name, errno.EBUSY, f"has {self.root.node.name} inserted")
        if node.context is not self.context:
            raise BlockError(
                node.name, errno.EBUSY, f"lives in {node.context.name}, {self.name} in {self.context.name}"
            )
        if node.closing or node.closed:
            raise BlockError(node.name, errno.ESHUTDOWN, f"can't be inserted into {self.name}")
        edge = BlockChild(self, "root", 0, node)
        edge.permissions, edge.shared = self.permissions, self.shared
        node.parents.append(edge)
        try:
            refresh_permissions([node])
        except BaseException:
            node.parents.remove(edge)
            raise
        self.root = edge
        try:
            await settle(follow(node))
        except BaseException:
            self._let_go(edge)
            raise

    @home
    async def remove(self) -> None:
        """Wait for our requests, and give the node up. Nothing, when there is none."""
        await self.drain()
        if self.root is None:
            return
        self._let_go(self.root)

    def _let_go(self, edge: BlockChild) -> None:
        node, self.root = edge.node, None
        node.parents.remove(edge)
        if not node.closed:
            refresh_permissions([node])
        if sections := follow(node):
            # Behind our back: the user who is to go on may be who removes us.
            start(self.context, settle(sections))

    @home
    def set_permissions(self, permissions: int, shared: int) -> None:
        """Want more or less. ConfigError: not to be had; all is as it was."""
        edge = self.root
        if edge is not None:
            before = edge.permissions, edge.shared
            edge.permissions, edge.shared = permissions, shared
            try:
                refresh_permissions([edge.node])
            except BaseException:
                edge.permissions, edge.shared = before
                raise
        self.permissions, self.shared = permissions, shared

    # ---- requests

    @home
    async def preadv(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        """Fill ``buffers`` from byte ``offset`` on. EIO past the end."""
        length = buffers.nbytes
        began = monotonic_ns()
        node = await self._begin("read", offset, length)
        if node is None:
            await at_home(self, partial(self.preadv, offset, buffers, flags))
            return
        try:
            await node.preadv(offset, buffers, flags)
        except BaseException:
            self.statistics.failed(READ)
            raise
        finally:
            self._end()
        self.statistics.done(READ, length, began)

    @home
    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        """Write ``buffers`` at byte ``offset``. EIO past the end."""
        length = buffers.nbytes
        began = monotonic_ns()
        node = await self._begin("write", offset, length, grows=True)
        if node is None:
            await at_home(self, partial(self.pwritev, offset, buffers, flags))
            return
        try:
            await node.pwritev(offset, buffers, flags | self.write_flags)
        except BaseException:
            self.statistics.failed(WRITE)
            raise
        finally:
            self._end()
        self.statistics.done(WRITE, length, began)

    @home
    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        """Make the bytes read as zero. Flags: MAY_UNMAP, FUA, NO_FALLBACK."""
        began = monotonic_ns()
        node = await self._begin("write zeroes", offset, length, grows=True)
        if node is None:
            await at_home(self, partial(self.write_zeroes, offset, length, flags))
            return
        try:
            await node.write_zeroes(offset, length, flags | self.write_flags)
        except BaseException:
            self.statistics.failed(WRITE)
            raise
        finally:
            self._end()
        self.statistics.done(WRITE, length, began)

    @home
    async def discard(self, offset: int, length: int) -> None:
        """The bytes are not needed any more (a hint)."""
        began = monotonic_ns()
        node = await self._begin("discard", offset, length)
        if node is None:
            await at_home(self, partial(self.discard, offset, length))
            return
        try:
            await node.discard(offset, length)
        except BaseException:
            self.statistics.failed(UNMAP)
            raise
        finally:
            self._end()
        self.statistics.done(UNMAP, length, began)

    @home
    async def flush(self) -> None:
        """All completed writes survive a crash of the host when this returns."""
        began = monotonic_ns()
        node = await self._begin("flush", 0, 0)
        if node is None:
            await at_home(self, self.flush)
            return
        try:
            await node.flush()
        except BaseException:
            self.statistics.failed(FLUSH)
            raise
        finally:
            self._end()
        self.statistics.done(FLUSH, 0, began)

    @home
    async def block_status(self, offset: int, length: int, want_zero: bool = True) -> BlockStatus:
        """What the whole chain says of the first of the bytes."""
        node = await self._begin("block status", offset, length)
        if node is None:
            return await at_home(self, partial(self.block_status, offset, length, want_zero))
        try:
            status, _ = await block_status_above(node, None, offset, length, want_zero)
            return status
        finally:
            self._end()

    @home
    async def allocation_depth(self, offset: int, length: int) -> tuple[int, int]:
        """Which layer of the chain, from 1, decides what is read of the first of the bytes, 0 for none; how far."""
        node = await self._begin("allocation depth", offset, length)
        if node is None:
            return await at_home(self, partial(self.allocation_depth, offset, length))
        try:
            return await is_allocated_above(node, None, offset, length)
        finally:
            self._end()

    @home
    async def copy_range(
        self,
        offset: int,
        target: BlockBackend,
        target_offset: int,
        length: int,
        read_flags: int = 0,
        write_flags: int = 0,
    ) -> None:
        """Have the storage copy bytes to ``target``. ENOTSUP: it can't; read and write them."""
        from asyncemu.block.copy_range import copy_range

        while True:
            if target.context is not self.context:
                raise BlockError(self.name, errno.ENOTSUP, "copy range")
            moved = await self._begin("read", offset, length) is None
            if not moved and not (target.quiesced and target.user is None):
                break
            if not moved:
                # Who drains both waits for us: we may not wait for one of them while we are in flight in the other.
                self._end()
                moved = not await target._wait_while_drained()
            if moved:
                again = partial(self.copy_range, offset, target, target_offset, length, read_flags, write_flags)
                await at_home(self, again)
                return
        try:
            await target._begin("write", target_offset, length, grows=True)
            try:
                assert self.root is not None
                assert target.root is not None
                await copy_range(self.root, offset, target.root, target_offset, length, read_flags, write_flags)
            finally:
                target._end()
        finally:
            self._end()

    @home
    async def truncate(
        self, size: int, *, exact: bool = False, preallocation: Preallocation = "off", zero: bool = False
    ) -> None:
        """Make the node ``size`` bytes (PERM_RESIZE)."""
        node = await self._begin("truncate", 0, 0)
        if node is None:
            again = partial(self.truncate, size, exact=exact, preallocation=preallocation, zero=zero)
            await at_home(self, again)
            return
        try:
            await node.truncate(size, exact=exact, preallocation=preallocation, zero=zero)
        finally:
            self._end()

    @home
    async def pread(self, offset: int, length: int) -> bytearray:
        """``length`` bytes from byte ``offset`` on."""
        data = bytearray(length)
        if length:
            await self.preadv(offset, Buffers((memoryview(data),)))
        return data

    @home
    async def pwrite(self, offset: int, data: bytes | bytearray | memoryview, flags: int = 0) -> None:
        """Write ``data`` at byte ``offset``."""
        await self.pwritev(offset, Buffers.of(data), flags)

    # ---- errors

    @home
    def error_action(self, is_read: bool, error: BlockError) -> ErrorAction:
        """What the device is to do about ``error``; QEMU: blk_get_error_action."""
        return self.policy.action(is_read, error.errno)

    # ---- drained sections, as a parent (drain.py)

    @home
    def drain_begin(self) -> None:
        """Requests that come wait, from here on; a ``user`` is asked in its own time. Nests."""
        self.quiesced += 1

    @home
    def drain_end(self) -> None:
        """The other end of ``drain_begin``: those that wait go on, in order."""
        self.quiesced -= 1
        if self.quiesced:
            return
        while self._waiting:
            waiting = self._waiting.popleft()
            loop = waiting.get_loop()
            if loop is self.context.loop:
                _wake(waiting)
            else:  # it came before we moved
                loop.call_soon_threadsafe(_wake, waiting)

    @home
    async def drain(self) -> None:
        """Until none of our requests is in flight; those that wait for the end of a drained section are not."""
        while self.in_flight:
            if self._idle is None:
                self._idle = self.context.loop.create_future()
            # Shielded: the future is shared by all who drain, and one of them may be cancelled.
            await asyncio.shield(self._idle)

    @home
    def child_resized(self, edge: BlockChild) -> None:
        """The node has another size."""
        if self.on_resize is not None:
            self.on_resize()

    # ---- private

    async def _begin(self, what: str, offset: int, length: int, grows: bool = False) -> BlockNode | None:
        """The node to send the request to; None: it waited, and its home is another one now."""
        if self.quiesced and not await self._wait_while_drained():
            return None
        root = self.root
        if root is None:
            raise BlockError(self.name, errno.ENOMEDIUM, what)
        node = root.node
        if offset < 0 or length < 0 or (offset + length > node.size and not (grows and self.allow_write_beyond_end)):
            self.statistics.refused(what)
            raise BlockError(
                self.name, errno.EIO, f"{what} of {length} bytes at {offset}, past the end of {node.size} bytes"
            )
        self.in_flight += 1
        return node

    async def _wait_while_drained(self) -> bool:
        """Is the caller at home still?"""
        here = self.context
        while self.quiesced and self.user is None:
            waiting = here.loop.create_future()
            self._waiting.append(waiting)
            await waiting
            if self.context is not here:
                return False
        return True

    def _end(self) -> None:
        self.in_flight -= 1
        if not self.in_flight and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    def __repr__(self) -> str:
        return f"<BlockBackend {self.name}>"


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
