# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockBackend: what a device, an export or a tool holds of the block layer. QEMU: BlockBackend.

    backend = BlockBackend("disk0", context, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL & ~PERM_WRITE)
    await backend.insert(node)             permissions are checked here
    await backend.preadv(0, buffers)
    await backend.remove()

It checks bounds, holds requests while the node is drained (they wait in line, nobody fails), counts them, and knows
what a device is to do about an error. Without a node there is no medium: ENOMEDIUM.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import Protocol

from asyncemu.block.child import BlockChild
from asyncemu.block.error_policy import ErrorAction, ErrorPolicy
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ
from asyncemu.block.node import BlockNode
from asyncemu.block.permissions import refresh_permissions
from asyncemu.block.statistics import FLUSH, READ, UNMAP, WRITE, BlockStatistics
from asyncemu.block.status import block_status_above
from asyncemu.block.types import BlockStatus, Preallocation
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext, HasHome, any_thread, home
from asyncemu.memory.buffers import Buffers


class BackendUser(Protocol):
    """Who sends a BlockBackend requests and can stop doing so: a device, which leaves them in its guest's rings."""

    @any_thread
    async def quiesce(self) -> None:
        """Send no request until ``resume``; return when none is in flight. Nests. From any context."""

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
        """Take ``node`` as the medium. ConfigError: its other users don't allow what we want."""
        if node.context is not self.context:
            raise BlockError(
                node.name, errno.EBUSY, f"lives in {node.context.name}, {self.name} in {self.context.name}"
            )
        edge = BlockChild(self, "root", 0, node)
        edge.permissions, edge.shared = self.permissions, self.shared
        node.parents.append(edge)
        try:
            refresh_permissions([node])
        except BaseException:
            node.parents.remove(edge)
            refresh_permissions([node])
            raise
        self.root = edge
        for section in list(node.sections):
            await section.adopt(self)

    @home
    async def remove(self) -> None:
        """Wait for our requests, and give the node up. Nothing, when there is none."""
        await self.drain()
        if self.root is None:
            return
        node, edge = self.root.node, self.root
        self.root = None
        node.parents.remove(edge)
        refresh_permissions([node])

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
                refresh_permissions([edge.node])
                raise
        self.permissions, self.shared = permissions, shared

    # ---- requests

    @home
    async def preadv(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        """Fill ``buffers`` from byte ``offset`` on. EIO past the end."""
        length = buffers.nbytes
        began = monotonic_ns()
        node = await self._begin("read", offset, length)
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
        try:
            await node.pwritev(offset, buffers, flags)
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
        try:
            await node.write_zeroes(offset, length, flags)
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
        try:
            status, _ = await block_status_above(node, None, offset, length, want_zero)
            return status
        finally:
            self._end()

    @home
    async def truncate(
        self, size: int, *, exact: bool = False, preallocation: Preallocation = "off", zero: bool = False
    ) -> None:
        """Make the node ``size`` bytes (PERM_RESIZE)."""
        node = await self._begin("truncate", 0, 0)
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

    # ---- drained sections, as a parent

    @home
    def drain_begin(self) -> None:
        """Requests that come wait, from here on; with a ``user``, that one is asked in ``wait_quiet``. Nests."""
        self.quiesced += 1

    @home
    def drain_end(self) -> None:
        """The other end of ``drain_begin``: those that wait go on, in order."""
        self.quiesced -= 1
        if self.quiesced:
            return
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    @any_thread
    async def wait_quiet(self) -> None:
        """After ``drain_begin``: until nothing of ours is in flight and nothing comes. From any context."""
        if self.user is not None:
            await self.user.quiesce()
        await self.context.call(self.drain)

    @any_thread
    async def end_quiet(self) -> None:
        """The other end of ``drain_begin`` and ``wait_quiet``. From any context."""
        await self.context.call(self._drain_end)
        if self.user is not None:
            await self.user.resume()

    async def _drain_end(self) -> None:
        self.drain_end()

    @any_thread
    async def move(self, context: AioContext) -> None:
        """``context`` is the home from now on, as the node's. Drained."""
        self.context = context

    @home
    async def drain(self) -> None:
        """Until none of our requests is in flight; those that wait for the end of a drained section are not."""
        while self.in_flight:
            if self._idle is None:
                self._idle = self.context.loop.create_future()
            # Shielded: the future is shared by all who drain, and one of them may be cancelled.
            await asyncio.shield(self._idle)

    def child_resized(self, edge: BlockChild) -> None:
        """The node has another size."""
        if self.on_resize is not None:
            self.on_resize()

    # ---- private

    async def _begin(self, what: str, offset: int, length: int, grows: bool = False) -> BlockNode:
        while self.quiesced and self.user is None:
            waiting = self.context.loop.create_future()
            self._waiting.append(waiting)
            await waiting
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

    def _end(self) -> None:
        self.in_flight -= 1
        if not self.in_flight and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    def __repr__(self) -> str:
        return f"<BlockBackend {self.name}>"


