# SPDX-License-Identifier: GPL-2.0-or-later
"""The requests of ``img bench``: so many at a time, each somewhat behind the one before it. QEMU: bench_cb."""

from __future__ import annotations

import mmap
import os
from collections.abc import Coroutine as PythonCoroutine
from typing import Any, NamedTuple

from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.opening import Image
from asyncemu.coroutines import Coroutine, start
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext
from asyncemu.memory.buffers import Buffers


class Load(NamedTuple):
    """What is sent."""

    requests: int
    #: Requests at a time.
    depth: int
    #: Bytes of one.
    size: int
    #: Where the first is, and how far the next one is from it.
    offset: int
    step: int
    write: bool
    #: The byte that is written.
    pattern: int
    #: Requests between flushes; 0: none.
    flush_interval: int
    #: Nothing else is under way during a flush.
    drains: bool


class _Requests:
    """How one is made."""

    def __init__(self, context: AioContext, image: Image, load: Load) -> None:
        self._context = context
        self._backend = image.backend
        self._write_flags = image.write_flags
        self._load = load
        self._size = image.backend.size
        self._offset = load.offset

    def _next(self, buffers: Buffers) -> PythonCoroutine[Any, Any, None]:
        """The next request, with the memory that it may use."""
        offset, size = self._offset, self._size
        self._offset = (offset + self._load.step) % size if size else 0
        if self._load.write:
            return self._backend.pwritev(offset, buffers, self._write_flags)
        return self._backend.preadv(offset, buffers)

    def _new_buffers(self) -> Buffers:
        if not self._load.size:
            return Buffers()
        view = memoryview(mmap.mmap(-1, self._load.size))  # aligned for direct I/O
        if self._load.pattern:
            view[:] = bytes([self._load.pattern]) * self._load.size
        return Buffers((view,))


class Bench(_Requests):
    """Without flushes: ``depth`` coroutines, each of which makes one request after the other."""

    async def run(self) -> None:
        """ToolError when a request fails."""
        self._left = self._load.requests
        workers = [start(self._context, self._work()) for _ in range(min(self._load.depth, self._left))]
        errors = [await _error_of(worker) for worker in workers]
        for error in errors:
            if error is not None:
                raise error

    async def _work(self) -> None:
        buffers = self._new_buffers()
        try:
            while self._left > 0:
                self._left -= 1
                await self._next(buffers)
        except BaseException:
            self._left = 0
            raise


class FlushingBench(_Requests):
    """With flushes between the requests: one that ends begins the next one, or the flush that is due."""

    async def run(self) -> None:
        """ToolError when a request fails."""
        self._end = self._context.loop.create_future()
        #: Requests that have not ended, and those of them that are under way; flushes that are.
        self._left = self._load.requests
        self._in_flight = 0
        self._flushes = 0
        self._filling = False
        self._drained_flush_due = False
        #: Of requests that have ended.
        self._buffers: list[Buffers] = []
        self._fill()
        await self._end

    def _fill(self) -> None:
        """Keep ``depth`` of them under way. Requests that end at once come back here, and must not go deeper."""
        if self._filling:
            return
        self._filling = True
        try:
            while not self._end.done():
                if self._drained_flush_due:
                    if self._in_flight:
                        return
                    self._drained_flush_due = False
                    self._flush()
                if (self._flushes and self._load.drains) or self._in_flight >= min(self._left, self._load.depth):
                    break
                self._in_flight += 1
                start(self._context, self._request(), self._ended)
            if not self._left and not self._flushes and not self._end.done():
                self._end.set_result(None)
        finally:
            self._filling = False

    async def _request(self) -> None:
        buffers = self._buffers.pop() if self._buffers else self._new_buffers()
        await self._next(buffers)
        self._buffers.append(buffers)

    def _ended(self, request: Coroutine[None]) -> None:
        self._in_flight -= 1
        self._left -= 1
        if self._failed(request):
            return
        # What is counted is requests that have not begun.
        if (self._left - self._in_flight) % self._load.flush_interval == 0:
            if self._load.drains:
                self._drained_flush_due = True
            else:
                self._flush()
        self._fill()

    def _flush(self) -> None:
        self._flushes += 1
        start(self._context, self._backend.flush(), self._flushed)

    def _flushed(self, request: Coroutine[None]) -> None:
        self._flushes -= 1
        if not self._failed(request):
            self._fill()

    def _failed(self, request: Coroutine[None]) -> bool:
        error = request.error
        if error is not None and not self._end.done():
            self._end.set_exception(_told(error))
        return error is not None


async def _error_of(worker: Coroutine[None]) -> BaseException | None:
    try:
        await worker
    except BlockError as error:
        return _told(error)
    return None


def _told(error: BaseException) -> BaseException:
    return ToolError(f"Failed request: {os.strerror(error.errno)}") if isinstance(error, BlockError) else error
