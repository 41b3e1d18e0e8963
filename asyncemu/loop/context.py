# SPDX-License-Identifier: GPL-2.0-or-later
"""AioContext: one event loop bound to one thread, with QEMU's tools on it.

One round, in the order in which uvloop takes things:

    1. callbacks of call_soon: a round of bottom halves is one of them; so are the steps of awaiting coroutines
    2. adaptive polling, when this context has it and nothing was done in 1
    3. sleep until something is ready; not at all when 1 has left something to do
    4. handlers of descriptors that are ready: the doorbell of other threads (their bottom halves run at once), the
       timerfd (timers that are due, clock by clock in the order in which they came to the context, each in the order
       of deadlines), event notifiers, descriptors

Nothing is nested: no callback runs the loop, and no callback is interrupted by another.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asyncemu.loop.bottom_half import BottomHalf
from asyncemu.loop.bottom_half_queue import BottomHalfQueue
from asyncemu.loop.clock import Clock, ClockSource
from asyncemu.loop.event_notifier import EventNotifier
from asyncemu.loop.fd_handlers import FdHandlers
from asyncemu.loop.markers import any_thread, home
from asyncemu.loop.timer import Timer
from asyncemu.loop.timer_group import TimerListGroup
from asyncemu.loop.worker_pool import WorkerPool
from asyncemu.tracing import tracer

if TYPE_CHECKING:
    from asyncemu.loop.poll_time import PollParameters
    from asyncemu.loop.polling import AdaptivePolling, Pollable

ResultT = TypeVar("ResultT")

_current: Final = threading.local()


def current_context() -> AioContext | None:
    """The context that the calling thread runs, or None (a vCPU or worker thread)."""
    return getattr(_current, "context", None)


class AioContext:
    """The home of devices, block nodes and back ends.

    Made in the thread that runs ``loop``; that thread is its home from then on. ``close`` before the loop is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self.loop = loop
        self.name = name
        self.context = self  # its own @home methods find their home as everybody's do
        self.thread_ident = threading.get_ident()
        tracer.name_thread(name)
        #: The context variables of callbacks that have none of their own: the loop need not copy the current ones.
        self.variables = copy_context()
        #: Grows with each thing that is done here: polling waits for a round without.
        self.activity = 0
        #: Requests of one hand-over to an I/O engine, at most; 0: the engine's own limit. QEMU: aio-max-batch.
        self.aio_max_batch = 0
        self.bottom_halves = BottomHalfQueue(self)
        #: None unless it is on. When it is off it is kept in ``_polling``, and costs nothing.
        self.polling: AdaptivePolling | None = None
        self._polling: AdaptivePolling | None = None
        self.timers = TimerListGroup(self)
        self.worker_pool: WorkerPool = WorkerPool(self)
        self._handlers = FdHandlers(self)
        self._pollable_fds: set[int] = set()
        self._all_pollable: bool | None = None  # not known
        self._calls: set[concurrent.futures.Future[Any]] = set()
        self._closed = False
        _current.context = self

    @any_thread
    def in_home(self) -> bool:
        """Is the calling thread this context's?"""
        return threading.get_ident() == self.thread_ident

    @property
    def closed(self) -> bool:
        """Has it been closed? Any thread."""
        return self._closed

    # ---- bottom halves

    @any_thread
    def bh_new(self, callback: Callable[[], object], name: str = "", category: str = "bh") -> BottomHalf:
        """A bottom half of this context; ``category`` is what traces call it. QEMU: aio_bh_new."""
        name = name or getattr(callback, "__qualname__", "bottom-half")
        return BottomHalf(self.bottom_halves, callback, name, category)

    @any_thread
    def schedule_oneshot(self, callback: Callable[[], object]) -> None:
        """Run ``callback`` once at home, in the next round. QEMU: aio_bh_schedule_oneshot."""
        self.bh_new(callback).schedule()

    # ---- file descriptors

    @any_thread
    def set_fd_handler(
        self, fd: int, on_readable: Callable[[], object] | None, on_writable: Callable[[], object] | None = None
    ) -> None:
        """Level-triggered handlers for ``fd``; None removes one. From another thread it takes effect in the next round.

        QEMU: aio_set_fd_handler.
        """
        if self.in_home():
            self._set_fd_handler(fd, on_readable, on_writable)
        else:
            self.schedule_oneshot(lambda: self._set_fd_handler(fd, on_readable, on_writable))

    def _set_fd_handler(
        self, fd: int, on_readable: Callable[[], object] | None, on_writable: Callable[[], object] | None
    ) -> None:
        if self._closed:
            return
        self._all_pollable = None
        self._handlers.replace(fd, on_readable, on_writable)

    @home
    def set_event_notifier(
        self, notifier: EventNotifier, callback: Callable[[], object] | None, *, polled: bool = False
    ) -> None:
        """Call ``callback`` after each ring (it is cleared first); None stops listening.

        ``polled``: a Pollable of this context (``add_pollable``) sees the same work without the notifier.
        """
        self._pollable_fds.discard(notifier.fd)
        if callback is None:
            self._set_fd_handler(notifier.fd, None, None)
            return

        def heard() -> None:
            if notifier.test_and_clear():
                callback()

        heard.__qualname__ = getattr(callback, "__qualname__", "notifier")
        self._set_fd_handler(notifier.fd, heard, None)
        if polled:
            self._pollable_fds.add(notifier.fd)

    # ---- timers

    @any_thread
    def timer(self, clock: Clock, callback: Callable[[], object]) -> Timer:
        """A timer on ``clock`` whose callback runs at home. QEMU: aio_timer_new."""
        return self.timers.timer(clock, callback)

    @home
    def run_timers(self) -> bool:
        """Run all timers that are due; True when any was. A clock source that is moved by hand calls this."""
        self.woken()
        try:
            return self.timers.run()
        finally:
            self.settle()

    @any_thread
    def next_deadline(self, source: ClockSource | None = None) -> int | None:
        """The soonest deadline over all running clocks that follow the kernel, in ns of CLOCK_MONOTONIC; None: none.

        With ``source``: over the running clocks of that source, in ns of its own monotonic time.
        """
        return self.timers.next_deadline(source)

    # ---- polling

    @home
    def set_poll_parameters(self, parameters: PollParameters) -> None:
        """How to poll from now on; ``max_ns`` 0 is not at all. QEMU: aio_context_set_poll_params."""
        polling = self._adaptive_polling()
        polling.set_parameters(parameters)
        self.polling = polling if parameters.max_ns else None

    def _adaptive_polling(self) -> AdaptivePolling:
        if self._polling is None:
            from asyncemu.loop.polling import AdaptivePolling

            self._polling = AdaptivePolling(self)
        return self._polling

    @home
    def add_pollable(self, pollable: Pollable) -> None:
        """Something to look at while polling. What rings when there is work must stay: polling is not always done."""
        self._adaptive_polling().add(pollable)

    @home
    def remove_pollable(self, pollable: Pollable) -> None:
        """Look at it no more."""
        self._adaptive_polling().remove(pollable)

    @home
    def all_pollable(self) -> bool:
        """Is every descriptor that is watched seen by a Pollable, too? (The doorbell and the timerfd are.)"""
        if self._all_pollable is None:
            self._all_pollable = self._handlers.descriptors() <= self._pollable_fds
        return self._all_pollable

    # ---- around each callback of ours: the parts of this folder call these

    def woken(self) -> None:
        """A callback of ours begins: while it runs nobody has to wake us."""
        self.bottom_halves.will_look = True
        self.activity += 1
        if self.polling is not None:
            self.polling.woken()

    def settle(self) -> None:
        """A callback of ours ends, and the loop may sleep next."""
        if self.polling is not None:
            self.polling.left()
        self.bottom_halves.settle()

    # ---- other contexts

    @any_thread
    async def call(self, function: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Await ``function()`` in this context, from another one; the only way across besides BHs and IRQ lines.

        RuntimeError when this context is closed, or closes meanwhile.
        """
        if self.in_home():
            return await function()
        if self._closed:
            raise RuntimeError(f"{self!r} is closed")
        future = asyncio.run_coroutine_threadsafe(_awaited(function), self.loop)
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        # close() sets the flag before it looks for calls: either it finds this one, or it is seen here.
        if self._closed:
            future.cancel()
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._closed and (caller is None or not caller.cancelling()):
                raise RuntimeError(f"{self!r} is closed") from None
            raise

    # ---- statistics and the end

    @any_thread
    def statistics(self) -> dict[str, int]:
        """Counts since the beginning; those that other threads keep may miss one now and then."""
        queue, polling = self.bottom_halves, self._polling
        return {
            "rounds": queue.rounds,
            "bottom_halves": queue.run,
            "wakeups": queue.wakeups,
            "wakeups_elided": queue.wakeups_elided,
            "poll_ns": polling.time.poll_ns if polling else 0,
            "polls": polling.polls if polling else 0,
            "poll_hits": polling.hits if polling else 0,
            "poll_contended": polling.contended if polling else 0,
            **{f"worker_{name}": value for name, value in self.worker_pool.statistics().items()},
        }

    @home
    def close(self) -> None:
        """Stop listening and stop the worker threads. What is still queued is dropped. Twice is once."""
        if self._closed:
            return
        self._closed = True
        self.polling = None
        for call in list(self._calls):
            call.cancel()
        self.worker_pool.close()
        self._handlers.close()
        self.bottom_halves.close()
        self.timers.close()
        if current_context() is self:
            _current.context = None

    def __repr__(self) -> str:
        return f"<AioContext {self.name}>"


async def _awaited(function: Callable[[], Awaitable[ResultT]]) -> ResultT:
    return await function()
