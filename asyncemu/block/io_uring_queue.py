# SPDX-License-Identifier: GPL-2.0-or-later
"""IoUringQueue: a context's io_uring, shared by all its file nodes.

A request is a future that its coroutine awaits. It goes to the ring when there is room, else waits in line, first come
first served. All that become ready in one round of the loop are handed to the kernel by one system call at the end of
the round (at most aio-max-batch of them at once, where the context sets one). Completions come by an eventfd, and are
looked for after each hand-over too: a page-cached read is done then. A context that polls sees them without it.

A request in the kernel's hands can't be cancelled: its future's ``cancel`` says no, which makes the awaiting task (or
Coroutine) take the cancellation when the request has ended. So no buffer is given back that the kernel may still write.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from typing import Any, Final

from asyncemu.block.io_uring import (
    FSYNC_DATASYNC,
    OP_FALLOCATE,
    OP_FSYNC,
    OP_READ,
    OP_READV,
    OP_WRITE,
    OP_WRITEV,
    IoUring,
)
from asyncemu.block.iovec import Iovec, pin
from asyncemu.loop import AioContext, EventNotifier, home
from asyncemu.memory.buffers import Buffers

#: Requests in flight: more than any device queue of a guest is deep; the memory of the ring is 64 bytes an entry.
ENTRIES: Final = 256

#: io_uring_enter said EAGAIN or EBUSY: the kernel is short of memory. Seconds until it is asked again.
_RETRY_DELAY: Final = 0.001

_OPCODES: Final = (OP_READV, OP_WRITEV, OP_FSYNC, OP_FALLOCATE, OP_READ, OP_WRITE)


class _Request(asyncio.Future[int]):
    """One request; its result is the kernel's: a count, or a negative errno."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        opcode: int,
        fd: int,
        offset: int,
        address: int = 0,
        length: int = 0,
        op_flags: int = 0,
        pinned: Any = None,
    ) -> None:
        super().__init__(loop=loop)
        self.entry = (opcode, fd, offset, address, length, op_flags)
        self.pinned = pinned
        self.on_ring = False

    def cancel(self, msg: Any | None = None) -> bool:
        """Only while it waits in line; see the module's docstring."""
        return False if self.on_ring else super().cancel(msg)


class IoUringQueue:
    """Reads, writes and the like through io_uring, for one context. Get it by ``acquire``, end by ``release``."""

    name = "io_uring"

    _shared: Final[dict[AioContext, IoUringQueue]] = {}

    @classmethod
    def acquire(cls, context: AioContext) -> IoUringQueue:
        """The queue of ``context``, made for its first user. OSError when the kernel offers no (usable) io_uring."""
        queue = cls._shared.get(context)
        if queue is None:
            queue = cls._shared[context] = cls(context)
        queue._users += 1
        return queue

    def __init__(self, context: AioContext, entries: int = ENTRIES) -> None:
        self.context = context
        self.in_flight = 0
        self._users = 0
        self._closed = False
        self._ring = IoUring(entries)
        if not self._ring.supports(_OPCODES):
            self._ring.close()
            raise OSError(errno.ENOSYS, "io_uring of this kernel is too old")
        self._slots: list[_Request | None] = [None] * entries
        self._free = list(range(entries))
        self._line: deque[_Request] = deque()
        self._submit_scheduled = False
        self._ended = EventNotifier()
        self._ring.register_eventfd(self._ended.fd)
        context.set_event_notifier(self._ended, self._reap, polled=True)
        context.add_pollable(self)

    @home
    def release(self) -> None:
        """One user less; the last one closes the ring. The user has no request in flight."""
        self._users -= 1
        if self._users <= 0 and not self._closed:
            self._closed = True
            self._shared.pop(self.context, None)
            self.context.remove_pollable(self)
            self.context.set_event_notifier(self._ended, None)
            self._ring.close()
            self._ended.close()

    # ---- Pollable: the completion ring is memory that the kernel writes

    rung_by_vcpu = False

    @home
    def poll(self) -> bool:
        """Has a request ended?"""
        return self._ring.has_completions()

    @home
    def poll_ready(self) -> None:
        """Tell those who wait."""
        self._reap()

    # ---- requests: one system call's worth each

    @home
    async def readv(self, fd: int, offset: int, buffers: Buffers) -> int:
        """preadv(2): how many bytes, 0 at the end of the file. At most IOV_MAX views. OSError."""
        return await self._transfer(OP_READ, OP_READV, fd, offset, buffers)

    @home
    async def writev(self, fd: int, offset: int, buffers: Buffers, flags: int = 0) -> int:
        """pwritev2(2) with RWF_* ``flags``: how many bytes. At most IOV_MAX views. OSError."""
        return await self._transfer(OP_WRITE, OP_WRITEV, fd, offset, buffers, flags)

    @home
    async def fdatasync(self, fd: int) -> None:
        """fdatasync(2). OSError."""
        await self._run(_Request(self.context.loop, OP_FSYNC, fd, 0, op_flags=FSYNC_DATASYNC))

    @home
    async def fallocate(self, fd: int, mode: int, offset: int, length: int) -> None:
        """fallocate(2). OSError."""
        # The kernel takes the length in ``addr`` and the mode in ``len``.
        await self._run(_Request(self.context.loop, OP_FALLOCATE, fd, offset, address=length, length=mode))

    async def _transfer(self, flat: int, vectored: int, fd: int, offset: int, buffers: Buffers, flags: int = 0) -> int:
        loop = self.context.loop
        if len(buffers) == 1:
            address, held = pin(buffers[0])
            request = _Request(loop, flat, fd, offset, address, len(buffers[0]), flags, held)
        else:
            iovec = Iovec(buffers)
            request = _Request(loop, vectored, fd, offset, iovec.address, iovec.count, flags, iovec)
        return await self._run(request)

    async def _run(self, request: _Request) -> int:
        self._line.append(request)
        self._schedule_submit()
        result = await request
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    # ---- the ring

    def _schedule_submit(self) -> None:
        batch = self.context.aio_max_batch
        if batch and len(self._line) >= batch:
            self._submit()
        elif not self._submit_scheduled:
            self._submit_scheduled = True
            self.context.loop.call_soon(self._submit)

    def _submit(self) -> None:
        self._submit_scheduled = False
        if self._closed:
            return  # asked for by a request that was cancelled in line
        self._fill()
        while self._ring.prepared:
            try:
                taken = self._ring.submit()
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                if error.errno not in (errno.EAGAIN, errno.EBUSY):
                    for slot in self._ring.withdraw():
                        self._end(slot, -(error.errno or errno.EIO))
                    break
                taken = 0
            if not taken:
                self._submit_scheduled = True
                self.context.loop.call_later(_RETRY_DELAY, self._submit)
                break
        self._reap()

    def _fill(self) -> None:
        """Move requests from the line to the ring while there is room."""
        while self._line and self._free:
            request = self._line.popleft()
            if request.cancelled():
                continue
            slot = self._free.pop()
            self._slots[slot] = request
            request.on_ring = True
            self.in_flight += 1
            self._ring.prepare(*request.entry, slot)

    def _reap(self) -> None:
        for slot, result in self._ring.completions():
            self._end(slot, result)
        if self._line:
            self._schedule_submit()

    def _end(self, slot: int, result: int) -> None:
        request = self._slots[slot]
        assert request is not None, "the kernel completes what was submitted, once"
        self._slots[slot] = None
        self._free.append(slot)
        self.in_flight -= 1
        if result in (-errno.EINTR, -errno.EAGAIN):
            # Nothing was done; again, behind the others. No cancellation in between: on_ring stays.
            self._line.append(request)
            return
        request.set_result(result)
