# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockNode: a driver with a name, bounds, capabilities and a count of what is in flight."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

from asyncemu.block import bounce
from asyncemu.block.drain import BlockUser
from asyncemu.block.driver import BlockDriver
from asyncemu.block.overlap import OverlapOrder
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext, any_thread, home
from asyncemu.memory.buffers import Buffers


class BlockNode:
    """What devices and other drivers use. All methods run in the home context and raise BlockError.

    Byte-granular: a request that does not fit the driver's alignment goes through a bounce buffer (bounce.py).
    Overlapping writes that are in flight together end in an order that nobody promises; other bytes are never harmed.
    A cancelled request has left the buffers alone when its CancelledError arrives, and counts as in flight until then.
    """

    def __init__(self, driver: BlockDriver[Any], size: int) -> None:
        self.driver = driver
        self.name = driver.node_name
        self.context = driver.context
        #: Bytes.
        self.size = size
        self.read_only: bool = driver.read_only or not driver.defines("pwritev")
        self.in_flight = 0
        self._idle: asyncio.Future[None] | None = None
        self._closed = False
        self._any_alignment = driver.request_alignment == 1 and driver.memory_alignment == 1
        self._can_write_zeroes = driver.defines("write_zeroes")
        self._order = OverlapOrder()
        #: Nodes below that this one uses, and nodes over it; see BlockGraph.
        self.children: list[BlockNode] = []
        self.parents: list[BlockNode] = []
        #: Who else sends requests.
        self.users: list[BlockUser] = []

    # ---- requests

    @home
    async def preadv(self, offset: int, buffers: Buffers) -> None:
        """Fill ``buffers`` from byte ``offset`` on."""
        length = buffers.nbytes
        self._begin("read", offset, length)
        try:
            if self._any_alignment or bounce.fits(self.driver, offset, length, buffers):
                await self.driver.preadv(offset, buffers)
            else:
                await bounce.read(self.driver, offset, buffers)
        except OSError as error:
            raise self._failed("read", offset, length, error) from error
        finally:
            self._end()

    @home
    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        """Write ``buffers`` at byte ``offset``; the data survives a crash only after ``flush``."""
        length = buffers.nbytes
        self._begin_write("write", offset, length)
        try:
            if self._any_alignment:
                await self.driver.pwritev(offset, buffers)
            else:
                await self._write_aligned(offset, length, buffers)
        except OSError as error:
            raise self._failed("write", offset, length, error) from error
        finally:
            self._end()

    @home
    async def flush(self) -> None:
        """All completed writes survive a crash of the host when this returns."""
        self._begin("flush", 0, 0)
        try:
            await self.driver.flush()
        except OSError as error:
            raise BlockError(self.name, error.errno or errno.EIO, "flush") from error
        finally:
            self._end()

    @home
    async def discard(self, offset: int, length: int) -> None:
        """The bytes are not needed any more; they may read as anything until written."""
        self._begin_write("discard", offset, length)
        try:
            start, end = bounce.inner_blocks(self.driver, offset, length)
            if start < end:
                async with self._order.turn(start, end, exclusive=False):
                    await self.driver.discard(start, end - start)
        except OSError as error:
            raise self._failed("discard", offset, length, error) from error
        finally:
            self._end()

    @home
    async def write_zeroes(self, offset: int, length: int, *, may_unmap: bool = False) -> None:
        """Make the bytes read as zero; ``may_unmap`` allows giving their storage back."""
        self._begin_write("write zeroes", offset, length)
        try:
            start, end = bounce.inner_blocks(self.driver, offset, length)
            if start < end and self._can_write_zeroes and await self._zero_blocks(start, end, may_unmap):
                await self._write_zero_bytes(offset, start)
                await self._write_zero_bytes(end, offset + length)
            else:
                await self._write_zero_bytes(offset, offset + length)
        except OSError as error:
            raise self._failed("write zeroes", offset, length, error) from error
        finally:
            self._end()

    # ---- users and home

    @home
    def add_user(self, user: BlockUser) -> None:
        """``user`` will send requests: drained sections ask it to be quiet. EBUSY when it lives in another context."""
        if user.context is not self.context:
            raise BlockError(self.name, errno.EBUSY, f"lives in {self.context.name}, {user.id} in {user.context.name}")
        self.users.append(user)

    @home
    def remove_user(self, user: BlockUser) -> None:
        """``user`` sends no more. Nothing, when it never did."""
        if user in self.users:
            self.users.remove(user)

    @home
    async def detach_context(self) -> None:
        """The driver gives back what belongs to this context. Drained."""
        await self.driver.detach_context()

    @any_thread
    async def attach_context(self, context: AioContext) -> None:
        """``context``, which is the caller's, is the home from now on."""
        self.driver.context = self.context = context
        await self.driver.attach_context()

    # ---- life cycle

    @home
    async def drain(self) -> None:
        """Wait until nothing is in flight."""
        while self.in_flight:
            if self._idle is None:
                self._idle = self.context.loop.create_future()
            # Shielded: the future is shared by all who drain, and one of them may be cancelled.
            await asyncio.shield(self._idle)

    @home
    async def close(self) -> None:
        """Drain, flush what can be written, and close the driver; later requests fail. A second close does nothing."""
        if self._closed:
            return
        try:
            await self.drain()
            if not self.read_only:
                await self.flush()
        finally:
            self._closed = True
            await self.driver.close()

    # ---- private

    async def _write_aligned(self, offset: int, length: int, buffers: Buffers) -> None:
        start, end = bounce.outer_blocks(self.driver, offset, length)
        modifies = (start, end) != (offset, offset + length)
        async with self._order.turn(start, end, exclusive=modifies):
            if bounce.fits(self.driver, offset, length, buffers):
                await self.driver.pwritev(offset, buffers)
            else:
                await bounce.write(self.driver, offset, buffers)

    async def _zero_blocks(self, start: int, end: int, may_unmap: bool) -> bool:
        """Ask the driver; False when it can't do that here."""
        async with self._order.turn(start, end, exclusive=False):
            try:
                await self.driver.write_zeroes(start, end - start, may_unmap=may_unmap)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                return False
        return True

    async def _write_zero_bytes(self, start: int, end: int) -> None:
        while start < end:
            zeroes = bounce.zeroes(self.driver, start, end)
            if self._any_alignment:
                await self.driver.pwritev(start, Buffers([zeroes]))
            else:
                await self._write_aligned(start, len(zeroes), Buffers([zeroes]))
            start += len(zeroes)

    def _begin(self, what: str, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self.size:
            raise BlockError(self.name, errno.EINVAL, f"{what} of {length} bytes at {offset}, size {self.size}")
        if self._closed:
            raise BlockError(self.name, errno.ESHUTDOWN, what)
        self.in_flight += 1

    def _begin_write(self, what: str, offset: int, length: int) -> None:
        if self.read_only:
            raise BlockError(self.name, errno.EROFS, f"{what} of {length} bytes at {offset}")
        if length < 0:
            raise BlockError(self.name, errno.EINVAL, f"{what} of {length} bytes at {offset}")
        self._begin(what, offset, length)

    def _end(self) -> None:
        self.in_flight -= 1
        if not self.in_flight and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    def _failed(self, what: str, offset: int, length: int, error: OSError) -> BlockError:
        return BlockError(self.name, error.errno or errno.EIO, f"{what} of {length} bytes at {offset}")

    def __repr__(self) -> str:
        return f"<BlockNode {self.name} ({self.driver.name})>"
