# SPDX-License-Identifier: GPL-2.0-or-later
"""WorkerPool: threads for system calls that block and for libraries that compute without the GIL."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asyncemu.loop.markers import any_thread, home
from asyncemu.tracing import tracer

if TYPE_CHECKING:
    from asyncemu.loop.context import AioContext

ResultT = TypeVar("ResultT")

#: As QEMU's thread-pool-max default.
MAX_THREADS: Final = 64

#: A worker that has had nothing to do for this long ends, in seconds (QEMU: 10 s).
IDLE_EXIT: Final = 10.0


def check_bounds(min_threads: int, max_threads: int) -> None:
    """ValueError when a pool can't have so many threads."""
    if not 0 <= min_threads <= max_threads or max_threads < 1:
        raise ValueError(f"{min_threads} to {max_threads} worker threads")


class WorkerPool:
    """``min_threads`` to ``max_threads`` threads of one context, started on demand. QEMU: util/thread-pool.c.

    A call that has not begun may be cancelled (cancel the await); one that runs is waited for by nobody but completes.
    Completion arrives as a bottom half of the context, in the order in which calls end; a burst costs one.
    """

    def __init__(self, context: AioContext, max_threads: int = MAX_THREADS, idle_exit: float = IDLE_EXIT) -> None:
        self.context = context
        #: So many stay when there is nothing to do. QEMU: thread-pool-min.
        self.min_threads = 0
        #: At least 1. QEMU: thread-pool-max.
        self.max_threads = max_threads
        self.idle_exit = idle_exit
        self._condition = threading.Condition()
        self._waiting: deque[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closed = False
        self._ended: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._completion = context.bh_new(self._complete, "worker-pool")

    @home
    def set_bounds(self, min_threads: int, max_threads: int) -> None:
        """How many threads, from now on. Those that are too many end when they have done what they do.

        ValueError unless 0 <= min <= max and 1 <= max; RuntimeError when the host has no thread to give.
        """
        check_bounds(min_threads, max_threads)
        with self._condition:
            self.min_threads, self.max_threads = min_threads, max_threads
            self._condition.notify_all()
            # Calls that wait for a thread may have one now.
            wanted = min(len(self._threads) - self._idle + len(self._waiting), max_threads)
            while len(self._threads) < max(min_threads, wanted) and not self._closed:
                self._start_thread()

    @home
    def submit(self, function: Callable[..., ResultT], *args: Any) -> asyncio.Future[ResultT]:
        """Start ``function(*args)`` in a worker thread; the future completes at home.

        RuntimeError when the pool is closed, or when the host has no thread to give and there is none.
        """
        future: asyncio.Future[ResultT] = self.context.loop.create_future()
        with self._condition:
            if self._closed:
                raise RuntimeError("the worker pool is closed")
            self._waiting.append((future, function, args))
            if self._idle >= len(self._waiting):
                self._condition.notify()
            elif len(self._threads) < self.max_threads:
                try:
                    self._start_thread()
                except RuntimeError:
                    if not self._threads:
                        self._waiting.pop()
                        raise
        return future

    def _start_thread(self) -> None:
        """RuntimeError when the host has none to give. With the lock held."""
        number = len(self._threads)
        thread = threading.Thread(target=self._work, name=f"{self.context.name}-worker-{number}", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self._threads.discard(thread)
            raise

    @home
    async def run(self, function: Callable[..., ResultT], *args: Any) -> ResultT:
        """Await ``function(*args)`` in a worker thread; its exception is raised here."""
        return await self.submit(function, *args)

    @any_thread
    def statistics(self) -> dict[str, int]:
        """Threads, of them idle, and calls that wait for a thread."""
        with self._condition:
            return {"threads": len(self._threads), "idle": self._idle, "waiting": len(self._waiting)}

    @home
    def close(self) -> None:
        """Cancel what has not begun, wait for the threads to end and complete what they did."""
        with self._condition:
            self._closed = True
            for future, _, _ in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._condition.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join()
        self._complete()

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            future, function, args = job
            result: Any = None
            error: BaseException | None = None
            start = monotonic_ns() if tracer.on else 0
            try:
                result = function(*args)
            except BaseException as raised:
                error = raised
            if start:
                tracer.span("worker", getattr(function, "__qualname__", "call"), start)
            self._ended.append((future, result, error))
            self._completion.schedule()
            # While it sleeps a worker holds on to nothing.
            del job, future, function, args, result, error

    def _next_job(self) -> tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]] | None:
        with self._condition:
            while True:
                while self._waiting and len(self._threads) <= self.max_threads:
                    job = self._waiting.popleft()
                    if not job[0].cancelled():
                        return job
                if self._closed or len(self._threads) > self.max_threads or not self._wait_for_work():
                    self._threads.discard(threading.current_thread())
                    return None

    def _wait_for_work(self) -> bool:
        """Sleep until there may be work; False when none came for ``idle_exit`` seconds and we are one too many."""
        self._idle += 1
        try:
            came = self._condition.wait(self.idle_exit) or bool(self._waiting)
        finally:
            self._idle -= 1
        return came or len(self._threads) <= self.min_threads

    def _complete(self) -> None:
        # Bounded by what is there now: what ends meanwhile has scheduled the bottom half anew.
        for _ in range(len(self._ended)):
            future, result, error = self._ended.popleft()
            if future.done():
                continue
            if isinstance(error, StopIteration):
                # A future refuses it: a coroutine that raised it would look as if it had returned.
                error, cause = RuntimeError("a call in a worker thread raised StopIteration"), error
                error.__cause__ = cause
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
