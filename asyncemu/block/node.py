# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockNode: a driver with a name, its edges to other nodes, and the requests in flight. QEMU: BlockDriverState.

A request goes   bounds → tracked (waits for serialising ones) → padded or split (padding.py) → driver
                 zeroes.py, discarding.py, status.py, truncation.py, copy_on_read.py: the other kinds

Parents reach it through their BlockChild; devices, exports and tools have a BlockBackend, which is a parent, too.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any

from asyncemu import author_errors
from asyncemu.block import padding
from asyncemu.block.flags import (
    COPY_ON_READ,
    FUA,
    MAY_UNMAP,
    NO_WAIT,
    PERM_ALL,
    PERM_RESIZE,
    ROLE_COW,
    ROLE_DATA,
    ROLE_FILTERED,
    ROLE_METADATA,
    SERIALISING,
    WRITE_COMPRESSED,
    ZERO_WRITE,
)
from asyncemu.block.observer import SILENT
from asyncemu.block.permissions import refresh_permissions
from asyncemu.block.tracked import TO_INFINITY, TrackedRequest, TrackedRequests
from asyncemu.block.types import BlockStatus, Preallocation
from asyncemu.errors import AsyncemuError, BlockError
from asyncemu.loop import HasHome, any_thread, home
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.block.child import BlockChild
    from asyncemu.block.drain import DrainedSection
    from asyncemu.block.driver import BlockDriver, BlockDriverOptions
    from asyncemu.coroutines import CoRwlock


class BlockNode(HasHome):
    """What parents use, by way of their edges. All methods run in the home context and raise BlockError.

    Byte-granular. Overlapping writes that are in flight together end in an order that nobody promises; other bytes are
    never harmed. A cancelled request has left the buffers alone when its CancelledError arrives, and counts as in
    flight until then.
    """

    def __init__(self, driver: BlockDriver[Any]) -> None:
        self.driver = driver
        driver.node = self
        self.name = driver.node_name
        self.context = driver.context
        #: Bytes; known once it is open.
        self.size = 0
        self.limits = driver.limits
        self.in_flight = 0
        #: Parents that want each read copied up (copy_on_read.py).
        self.copy_on_read = 0
        #: Bytes that are copied up together: a cluster. 0: not known yet.
        self.copy_unit = 0
        #: Is a blkdebug here or below?
        self.debugged = False
        #: Edges to the nodes below that it uses, and those from above.
        self.children: list[BlockChild] = []
        self.parents: list[BlockChild] = []
        #: The union of what its parents may do, and what all of them leave to others.
        self.permissions = 0
        self.shared = PERM_ALL
        #: Somebody has asked for it by itself (blockdev-add); otherwise it goes with its last parent.
        self.kept = False
        #: Drained sections that it is in (drain.py).
        self.sections: list[DrainedSection] = []
        self.tracked = TrackedRequests()
        #: Counts writes; a flush remembers how far it got.
        self.write_generation = 0
        self.flushed_generation = 0
        self.flushing: asyncio.Future[None] | None = None
        self._idle: asyncio.Future[None] | None = None
        self.opened = False
        #: It is about to be closed: it takes no new parents.
        self.closing = False
        self.closed = False
        #: Keys of the table that made it, as a child of its parent; the others are inherited (reopen.py).
        self.explicit: frozenset[str] | None = None
        #: Held by who changes edges between nodes, or moves them: the graph's.
        self.graph_lock: CoRwlock | None = None
        #: Who is told of damage and the like: the graph's.
        self.observer = SILENT
        #: Bytes before the end of the write that reached furthest.
        self.highest_written = 0
        #: Bytes; a write past it is reported, once. 0: off. QEMU: bdrv_write_threshold_set.
        self.write_threshold = 0
        self.set_options(driver.options)
        self.set_limits()

    @property
    def description(self) -> str:
        """In messages."""
        return f"node '{self.name}'"

    @home
    def set_options(self, options: BlockDriverOptions) -> None:
        """Take over what ``options`` and the driver say of the node. Drained."""
        self.read_only: bool = self.driver.read_only or not self.driver.defines("pwritev")
        #: Discards and MAY_UNMAP reach the driver; otherwise they are dropped, as they are hints.
        self.discards: bool = options.discard == "unmap"
        #: Writes that turn out to be zeroes are made zero writes, and with ``unmap`` discards.
        self.detect_zeroes: str = options.detect_zeroes
        self.no_flush: bool = options.cache.no_flush
        self.force_share: bool = options.force_share

    @home
    def set_limits(self) -> None:
        """The driver's limits may have changed (a child was replaced). Drained."""
        limits = self.limits = self.driver.limits
        self.copy_unit = 0
        self._takes_any = not (
            limits.request_alignment > 1 or limits.memory_alignment > 1 or limits.max_transfer or limits.max_iov
        )

    # ---- requests

    @home
    async def preadv(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        """Fill ``buffers`` from byte ``offset`` on; zeroes past the end. Flags: COPY_ON_READ, PREFETCH."""
        length = buffers.nbytes
        end = offset + length
        if self.closed or offset < 0:
            self._refuse("read", offset, length)
        if end > self.size:
            buffers = self.zero_past_the_end(offset, buffers)
            end = offset + buffers.nbytes
            if end == offset:
                return
        if (flags & COPY_ON_READ or self.copy_on_read) and not self.read_only:
            from asyncemu.block.copy_on_read import read_and_copy

            await read_and_copy(self, offset, buffers, flags)
            return
        request = self.begin(offset, end)
        try:
            if self.tracked.serialising:
                await self.tracked.wait(request)
                if end > self.size:  # it has been cut off meanwhile
                    buffers = self.zero_past_the_end(offset, buffers)
                    end = offset + buffers.nbytes
            if self._takes_any or padding.fits(self.limits, offset, end - offset, buffers):
                await self.driver.preadv(offset, buffers)
            else:
                await padding.read(self, offset, buffers)
        except OSError as error:
            raise self.failed("read", offset, length, error) from error
        except Exception as error:
            self.blame_author("read", error)
            raise
        finally:
            self.end(request)

    @home
    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        """Write ``buffers`` at byte ``offset``; the data survives a crash only after ``flush``, or with FUA.

        Past the end it grows, when the driver can (ENOSPC otherwise).
        """
        length = buffers.nbytes
        self._check_write("write", offset, length)
        if flags & ZERO_WRITE:
            await self.write_zeroes(offset, length, flags)
            return
        if self.detect_zeroes != "off" and length and self.driver.defines("write_zeroes"):
            from asyncemu.block.zero_detection import is_zero

            if is_zero(buffers):
                may_unmap = MAY_UNMAP if self.detect_zeroes == "unmap" else 0
                await self.write_zeroes(offset, length, flags | may_unmap)
                return
        if flags & (SERIALISING | WRITE_COMPRESSED) or (
            not self._takes_any and not padding.fits(self.limits, offset, length, buffers)
        ):
            await self.write_special(offset, length, buffers, flags)
            return
        end = offset + length
        if end > self.size:
            self.check_room(offset, length)
        request = self.begin(offset, end)
        try:
            if self.tracked.serialising:
                await self.tracked.wait(request)
                self.check_room(offset, length)
            if self.debugged:
                await self.own_debug_event("pwritev")
            if flags:
                await self.driver_pwritev(offset, buffers, flags)
            else:
                await self.driver.pwritev(offset, buffers)
            if self.debugged:
                await self.own_debug_event("pwritev_done")
            self.written(end)
        except OSError as error:
            raise self.failed("write", offset, length, error) from error
        except Exception as error:
            self.blame_author("write", error)
            raise
        finally:
            self.end(request)

    @home
    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        """Make the bytes read as zero. Flags: MAY_UNMAP (the storage may be given back), FUA, NO_FALLBACK."""
        from asyncemu.block.zeroes import write_zeroes

        self._check_write("write zeroes", offset, length)
        await write_zeroes(self, offset, length, flags)

    @home
    async def discard(self, offset: int, length: int) -> None:
        """The bytes are not needed any more; they may read as anything until written. Nothing without ``discards``."""
        from asyncemu.block.discarding import discard

        self._check_write("discard", offset, length)
        await discard(self, offset, length)

    @home
    async def flush(self) -> None:
        """All completed writes survive a crash of the host when this returns."""
        from asyncemu.block.flushing import flush

        if self.closed:
            self._refuse("flush", 0, 0)
        await flush(self)

    @home
    async def block_status(self, offset: int, length: int, want_zero: bool = True) -> BlockStatus:
        """What this node (not its backing file) says of the first of ``length`` bytes; length 0 only at the end."""
        from asyncemu.block.status import block_status

        if self.closed or offset < 0 or length < 0:
            self._refuse("block status", offset, length)
        return await block_status(self, offset, length, want_zero)

    @home
    async def truncate(
        self, size: int, *, exact: bool = False, preallocation: Preallocation = "off", zero: bool = False
    ) -> None:
        """Make it ``size`` bytes, at least that when not ``exact``. ConfigError: the driver can't do it that way."""
        from asyncemu.block.truncation import truncate

        self._check_write("truncate", 0, 0)
        await truncate(self, size, exact=exact, preallocation=preallocation, zero=zero)

    @home
    async def pread(self, offset: int, length: int) -> bytearray:
        """``length`` bytes from byte ``offset`` on."""
        data = bytearray(length)
        if length:
            await self.preadv(offset, Buffers((memoryview(data),)))
        return data

    @home
    async def pwrite_sync(self, offset: int, data: bytes) -> None:
        """Write ``data`` and flush."""
        await self.pwritev(offset, Buffers.of(data))
        await self.flush()

    @home
    async def debug_event(self, event: str) -> None:
        """Pass ``event`` to the blkdebug here or below; nothing when there is none."""
        node: BlockNode | None = self
        while node is not None and node.debugged:
            if node.driver.defines("debug_event"):
                await node.driver.debug_event(event)
                return
            node = node.primary_child.node if node.primary_child is not None else None

    @home
    async def own_debug_event(self, event: str) -> None:
        """Tell the driver of ``event`` when it is blkdebug itself; those below have events of their own."""
        if self.driver.defines("debug_event"):
            await self.driver.debug_event(event)

    # ---- for the modules of the path (zeroes.py and so on)

    @home
    def begin(self, start: int, end: int, serialising: bool = False) -> TrackedRequest:
        """A request is in flight from here on; ``end`` it."""
        self.in_flight += 1
        return self.tracked.begin(start, end, serialising)

    @home
    def end(self, request: TrackedRequest) -> None:
        """The other end of ``begin``."""
        self.tracked.end(request)
        self.in_flight -= 1
        if not self.in_flight and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    @home
    def zero_past_the_end(self, offset: int, buffers: Buffers) -> Buffers:
        """What of ``buffers``, which are read from ``offset`` on, is within the node; the rest is zeroed."""
        inside, outside = buffers.split(max(self.size - offset, 0))
        outside.fill_zero()
        return inside

    @home
    def check_room(self, offset: int, length: int) -> None:
        """BlockError: the bytes reach past the end, and it can't grow (ENOSPC), or no parent may make it (EPERM)."""
        if offset + length > self.size and not self.may_grow:
            number = errno.EPERM if self.driver.growable else errno.ENOSPC
            raise BlockError(self.name, number, f"write of {length} bytes at {offset}, size {self.size}")

    @property
    def may_grow(self) -> bool:
        """Do writes past the end make it longer?"""
        return self.driver.growable and bool(self.permissions & PERM_RESIZE)

    @home
    def written(self, end: int) -> None:
        """A write of bytes before ``end`` is done."""
        self.write_generation += 1
        if end > self.highest_written:
            self.highest_written = end
        if end > self.write_threshold > 0:
            threshold, self.write_threshold = self.write_threshold, 0
            self.observer.write_threshold(self.name, amount_exceeded=end - threshold, threshold=threshold)
        if end > self.size:
            self.set_size(end)

    @home
    def set_size(self, size: int) -> None:
        """It has ``size`` bytes now, and its parents know: a device tells its guest."""
        if size != self.size:
            self.size = size
            self.tell_parents_of_resize()

    @home
    def tell_parents_of_resize(self) -> None:
        """It has another size."""
        for edge in list(self.parents):
            edge.parent.child_resized(edge)

    @home
    async def driver_pwritev(self, offset: int, buffers: Buffers, flags: int) -> None:
        """The driver's ``pwritev`` with the flags that it knows; FUA by a flush where it does not."""
        driver = self.driver
        if flags & WRITE_COMPRESSED:
            await driver.pwritev_compressed(offset, buffers)
        elif known := flags & driver.write_flags:
            await driver.pwritev(offset, buffers, known)  # type: ignore[call-arg]  # it says so by write_flags
        else:
            await driver.pwritev(offset, buffers)
        if flags & FUA and (flags & WRITE_COMPRESSED or not driver.write_flags & FUA):
            self.write_generation += 1
            await self.flush()

    @home
    def failed(self, what: str, offset: int, length: int, error: OSError) -> BlockError:
        """``error`` of the driver, with the node and the request."""
        return BlockError(self.name, error.errno or errno.EIO, f"{what} of {length} bytes at {offset}")

    @home
    def blame_author(self, what: str, error: Exception) -> None:
        """``error`` escaped from a driver that is not ours: it is reported, and the request fails. BlockError (EIO).

        Returns when it is a plain error of a request, or a bug of ours.
        """
        if not isinstance(error, AsyncemuError) and author_errors.report(f"{self.name}: {what}", error):
            raise BlockError(self.name, errno.EIO, what) from error

    # ---- edges

    @property
    def primary_child(self) -> BlockChild | None:
        """The child that this node is about."""
        from asyncemu.block.flags import ROLE_PRIMARY

        return next((edge for edge in self.children if edge.role & ROLE_PRIMARY), None)

    @property
    def backing(self) -> BlockChild | None:
        """The child that is read where nothing is allocated here."""
        return next((edge for edge in self.children if edge.role & ROLE_COW), None)

    @property
    def filtered(self) -> BlockChild | None:
        """The child that a filter passes requests on to."""
        return next((edge for edge in self.children if edge.role & ROLE_FILTERED), None)

    @home
    def data_children(self) -> list[BlockChild]:
        """Those that hold data or metadata of this node: what a flush goes on to."""
        return [edge for edge in self.children if edge.role & (ROLE_DATA | ROLE_METADATA | ROLE_FILTERED)]

    @home
    def attach(self, edge: BlockChild) -> None:
        """``edge`` leads from here to a node below; the driver gets it under the edge's name. No permissions yet."""
        self.children.append(edge)
        edge.node.parents.append(edge)
        setattr(self.driver, edge.name, edge)
        self.debugged = self.debugged or edge.node.debugged

    @home
    def detach(self, edge: BlockChild) -> None:
        """The other end of ``attach``."""
        self.children.remove(edge)
        edge.node.parents.remove(edge)
        setattr(self.driver, edge.name, None)

    @any_thread
    def has_node_parents(self) -> bool:
        """Is there a node over it?"""
        return any(isinstance(edge.parent, BlockNode) for edge in self.parents)

    @home
    def child_resized(self, edge: BlockChild) -> None:
        """The node at the end of ``edge`` has another size."""
        size = self.driver.child_resized(edge) if self.opened else None
        if size is not None:
            self.set_size(size)

    # ---- life cycle

    @home
    async def open(self) -> None:
        """Open the driver, whose children are set. Raises what it raises."""
        size = await self.driver.open()
        if not isinstance(size, int) or size < 0:
            raise author_errors.WrongResult(type(self.driver).open, size, "a size in bytes")
        self.size = size
        self.opened = True
        self.read_only = self.driver.read_only or not self.driver.defines("pwritev")
        self.set_limits()

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
        """Drain, flush what can be written, and close the driver; later requests fail. A second close does nothing.

        Cancelled before it is drained, it stays open.
        """
        from asyncemu.block.drain import drained
        from asyncemu.block.homes import to_end

        if self.closed:
            return
        self.closing = True
        try:
            # As QEMU: the driver is told that no request will come, and lets go of what it holds up.
            async with drained(self):
                await to_end(self._close())
        finally:
            self.closing = self.closed

    async def _close(self) -> None:
        try:
            if not self.read_only and not self.closed:
                await self.flush()
        finally:
            await self.abandon()

    @home
    async def abandon(self) -> None:
        """Close what is open, without a flush: opening has failed, in the driver or behind it."""
        if self.closed:
            return
        self.closed = True
        try:
            if self.opened:
                await self.driver.close()
        except Exception as error:
            self.blame_author("close", error)
            raise
        finally:
            self._let_go()

    @home
    async def write_special(self, offset: int, length: int, buffers: Buffers, flags: int) -> None:
        """A write that is compressed, serialising, or does not fit the driver."""
        if flags & WRITE_COMPRESSED and not self.driver.defines("pwritev_compressed"):
            raise BlockError(self.name, errno.ENOTSUP, f"compressed write of {length} bytes at {offset}")
        end = offset + length
        self.check_room(offset, length)
        start, stop = padding.outer_blocks(self.limits.request_alignment, offset, length)
        modifies = (start, stop) != (offset, end)
        # What the padding of the last block adds is cut off again: nobody else may make it longer meanwhile. Where no
        # parent may resize, storage is the node's own matter, and other drivers don't pass the padding on (filter.py).
        cuts = stop > max(end, self.size) and self.driver.growable and (self.may_grow or not self.children)
        request = self.begin(start, TO_INFINITY if cuts else stop, serialising=modifies or bool(flags & SERIALISING))
        try:
            if self.tracked.serialising:
                await self.tracked.wait(request, no_wait=bool(flags & NO_WAIT))
                self.check_room(offset, length)
            # Now: what a filter's child grows by meanwhile is the padding.
            size = max(end, self.size)
            if not modifies and padding.fits(self.limits, offset, length, buffers):
                await self.driver_pwritev(offset, buffers, flags)
            else:
                await padding.write(self, offset, buffers, flags)
            if cuts:
                await self.driver.truncate(size, exact=True, preallocation="off", zero=False)
            self.written(end)
        except OSError as error:
            raise self.failed("write", offset, length, error) from error
        except Exception as error:
            self.blame_author("write", error)
            raise
        finally:
            self.end(request)

    # ---- private

    def _let_go(self) -> None:
        from asyncemu.block.drain import follow

        below = [edge.node for edge in self.children]
        for edge in list(self.children):
            self.detach(edge)
        follow(self, *below)
        refresh_permissions(below)

    def _check_write(self, what: str, offset: int, length: int) -> None:
        if self.read_only:
            raise BlockError(self.name, errno.EROFS, f"{what} of {length} bytes at {offset}")
        if self.closed or offset < 0 or length < 0:
            self._refuse(what, offset, length)

    def _refuse(self, what: str, offset: int, length: int) -> None:
        number = errno.ESHUTDOWN if self.closed else errno.EINVAL
        raise BlockError(self.name, number, f"{what} of {length} bytes at {offset}")

    def __repr__(self) -> str:
        return f"<BlockNode {self.name} ({self.driver.name})>"
