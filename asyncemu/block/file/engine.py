# SPDX-License-Identifier: GPL-2.0-or-later
"""Who does the system calls that may wait for a disk: io_uring, or a worker thread.

Both end a cancelled request only when nobody touches its buffers any more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext, current_context, home
from asyncemu.memory.buffers import Buffers

ResultT = TypeVar("ResultT")


class Engine(Protocol):
    """Methods are one system call each, raise OSError, and run in the home context."""

    name: str

    async def readv(self, fd: int, offset: int, buffers: Buffers) -> int: ...

    async def writev(self, fd: int, offset: int, buffers: Buffers, flags: int = 0) -> int: ...

    async def fdatasync(self, fd: int) -> None: ...

    async def fallocate(self, fd: int, mode: int, offset: int, length: int) -> None: ...

    def release(self) -> None:
        """The user has no request in flight and makes no more."""


class WorkerEngine:
    """The context's worker threads."""

    name = "threads"

    def __init__(self, context: AioContext) -> None:
        self.context = context

    @home
    async def readv(self, fd: int, offset: int, buffers: Buffers) -> int:
        """preadv(2): how many bytes, 0 at the end of the file."""
        return await run_to_end(self.context, os.preadv, fd, buffers, offset)

    @home
    async def writev(self, fd: int, offset: int, buffers: Buffers, flags: int = 0) -> int:
        """pwritev2(2) with RWF_* ``flags``: how many bytes."""
        return await run_to_end(self.context, os.pwritev, fd, buffers, offset, flags)

    @home
    async def fdatasync(self, fd: int) -> None:
        """fdatasync(2)."""
        await run_to_end(self.context, os.fdatasync, fd)

    @home
    async def fallocate(self, fd: int, mode: int, offset: int, length: int) -> None:
        """fallocate(2)."""
        from asyncemu.block.file.system_calls import fallocate

        await run_to_end(self.context, fallocate, fd, mode, offset, length)

    @home
    def release(self) -> None:
        """Nothing to give back: the workers are the context's."""


class _Uncancellable(asyncio.Future[ResultT]):
    """A future whose waiter takes a cancellation only when it is done."""

    def cancel(self, msg: Any | None = None) -> bool:
        """Not now; the waiter's task remembers."""
        return False

    def take(self, ended: asyncio.Future[ResultT]) -> None:
        """End as ``ended`` did. Cancelled: the pool was closed before the call began."""
        if ended.cancelled():
            self.set_exception(RuntimeError("the worker pool was closed"))
        elif (error := ended.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(ended.result())


async def run_to_end(context: AioContext, function: Callable[..., ResultT], *args: Any) -> ResultT:
    """``function(*args)`` in a worker thread; a cancellation waits until it has ended."""
    future: _Uncancellable[ResultT] = _Uncancellable(loop=context.loop)
    context.worker_pool.submit(function, *args).add_done_callback(future.take)
    return await future


async def run_anywhere(function: Callable[..., ResultT], *args: Any) -> ResultT:
    """As ``run_to_end``, for who has no context: in the pool of the caller's, or in a thread of asyncio's."""
    context = current_context()
    if context is not None:
        return await run_to_end(context, function, *args)
    return await asyncio.to_thread(function, *args)


def open_engine(context: AioContext, aio: str) -> Engine:
    """The engine that the option ``aio`` names. ConfigError: the kernel doesn't offer it.

    ``auto`` and ``native`` are io_uring where the kernel offers it: Linux AIO can do nothing that io_uring can't.
    """
    if aio == "threads":
        return WorkerEngine(context)
    from asyncemu.block.io_uring_queue import IoUringQueue

    try:
        return IoUringQueue.acquire(context)
    except OSError as error:
        if aio != "io_uring":
            return WorkerEngine(context)
        raise ConfigError(
            "aio", f"the kernel offers no io_uring ({error.strerror})", 'use "auto" or "threads"'
        ) from error
