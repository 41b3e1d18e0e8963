# SPDX-License-Identifier: GPL-2.0-or-later
"""AioContext: one event loop bound to one thread, with QEMU's tools on it.

How work arrives from other threads. ``enqueue`` appends to a deque (atomic under the GIL) and rings one eventfd, unless
it has been rung already and not been heard: a burst costs one system call. The listener clears the flag *before* it
empties the deque, so an append that finds the flag still set is always seen by the emptying that follows.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from asyncemu.loop.bottom_half import BottomHalf
from asyncemu.loop.clock import Clock, ClockSource
from asyncemu.loop.event_notifier import EventNotifier
from asyncemu.loop.markers import any_thread, home
from asyncemu.loop.timer import Timer, TimerList
from asyncemu.loop.timerfd import TimerFd
from asyncemu.loop.worker_pool import WorkerPool

ResultT = TypeVar("ResultT")

#: An idle bottom half runs within this time even when the context never falls idle (QEMU: 10 ms). Seconds.
IDLE_DELAY: Final = 0.010

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
        self._thread = threading.get_ident()
        _current.context = self
        self._incoming: deque[Callable[[], object]] = deque()
        self._rung = False
        self._ringing = threading.Lock()
        self._doorbell = EventNotifier()
        self._timer_lists: dict[Clock, TimerList] = {}
        self._timer_fd = TimerFd()
        self._armed_for: int | None = None
        self._arming = threading.Lock()
        self.worker_pool: WorkerPool = WorkerPool(self)
        loop.add_reader(self._doorbell.fd, self._hear)
        loop.add_reader(self._timer_fd.fd, self._timer_fired)

    @any_thread
    def in_home(self) -> bool:
        """Is the calling thread this context's?"""
        return threading.get_ident() == self._thread

    # ---- bottom halves

    @any_thread
    def bh_new(self, callback: Callable[[], object], name: str = "") -> BottomHalf:
        """A bottom half of this context. QEMU: aio_bh_new."""
        return BottomHalf(self, callback, name or getattr(callback, "__qualname__", "bottom-half"))

    @any_thread
    def schedule_oneshot(self, callback: Callable[[], object]) -> None:
        """Run ``callback`` once at home, in the next round. QEMU: aio_bh_schedule_oneshot."""
        self.enqueue(callback)

    @any_thread
    def enqueue(self, callback: Callable[[], object]) -> None:
        """What bottom halves are made of: call_soon from home, the deque and the doorbell from elsewhere."""
        if threading.get_ident() == self._thread:
            self.loop.call_soon(callback)
            return
        self._incoming.append(callback)
        self._ring()

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            # close() takes it too: a late ring must not reach a descriptor that somebody else got meanwhile.
            with self._ringing:
                if self._doorbell.fd >= 0:
                    self._doorbell.set()

    @any_thread
    def enqueue_idle(self, callback: Callable[[], object]) -> None:
        """As ``enqueue``, but within IDLE_DELAY rather than in the next round."""
        if threading.get_ident() == self._thread:
            self.loop.call_later(IDLE_DELAY, callback)
        else:
            self.enqueue(lambda: self.loop.call_later(IDLE_DELAY, callback))

    def _hear(self) -> None:
        self._doorbell.test_and_clear()
        self._rung = False
        incoming = self._incoming
        # Bounded by what is there now: a thread that keeps ringing can't starve the rest of the loop.
        try:
            for _ in range(len(incoming)):
                try:
                    incoming.popleft()()
                except Exception as error:
                    self.loop.call_exception_handler({"message": f"bottom half of {self.name}", "exception": error})
        finally:
            # Also when a KeyboardInterrupt leaves: what it left behind is heard should the loop go on.
            if incoming:
                self._ring()

    # ---- file descriptors

    @home
    def set_fd_handler(
        self, fd: int, on_readable: Callable[[], object] | None, on_writable: Callable[[], object] | None = None
    ) -> None:
        """Level-triggered handlers for ``fd``; None removes one. QEMU: aio_set_fd_handler."""
        if on_readable is not None:
            self.loop.add_reader(fd, on_readable)
        else:
            self.loop.remove_reader(fd)
        if on_writable is not None:
            self.loop.add_writer(fd, on_writable)
        else:
            self.loop.remove_writer(fd)

    @home
    def set_event_notifier(self, notifier: EventNotifier, callback: Callable[[], object] | None) -> None:
        """Call ``callback`` after each ring (it is cleared first); None stops listening."""
        if callback is None:
            self.loop.remove_reader(notifier.fd)
            return

        def heard() -> None:
            if notifier.test_and_clear():
                callback()

        self.loop.add_reader(notifier.fd, heard)

    # ---- timers

    @any_thread
    def timer(self, clock: Clock, callback: Callable[[], object]) -> Timer:
        """A timer on ``clock`` whose callback runs at home. QEMU: aio_timer_new."""
        timers = self._timer_lists.get(clock)
        if timers is None:
            timers = self._timer_lists.setdefault(clock, TimerList(self, clock))
            clock.source.attach(self)
        return Timer(timers, callback)

    @any_thread
    def rearm_timers(self) -> None:
        """The soonest deadline may have changed: set the timerfd anew. It wakes the home thread, nobody else need."""
        with self._arming:
            soonest = self.next_deadline()
            if soonest == self._armed_for or self._timer_fd.fd < 0:
                return
            self._armed_for = soonest
            if soonest is None:
                self._timer_fd.disarm()
            else:
                self._timer_fd.arm(soonest)

    @home
    def run_timers(self) -> bool:
        """Run all timers that are due; True when any was. A clock source that is moved by hand calls this."""
        # list(): a callback may make the first timer of another clock.
        ran = [timers.run() for timers in list(self._timer_lists.values())]
        self.rearm_timers()
        return any(ran)

    def next_deadline(self, source: ClockSource | None = None) -> int | None:
        """The soonest deadline over all running clocks that follow the kernel, in ns of CLOCK_MONOTONIC; None: none.

        With ``source``: over the running clocks of that source, in ns of its own monotonic time.
        """
        soonest: int | None = None
        for clock, timers in list(self._timer_lists.items()):
            wanted = clock.source.follows_kernel if source is None else clock.source is source
            deadline = timers.next_deadline() if wanted else None
            if deadline is None:
                continue
            at = clock.monotonic_deadline(deadline)
            if at is not None and (soonest is None or at < soonest):
                soonest = at
        return soonest

    def _timer_fired(self) -> None:
        self._timer_fd.acknowledge()
        self._armed_for = None
        self.run_timers()

    # ---- other contexts

    async def call(self, function: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Await ``function()`` in this context, from another one; the only way across besides BHs and IRQ lines."""
        if self.in_home():
            return await function()
        future = asyncio.run_coroutine_threadsafe(_awaited(function), self.loop)
        return await asyncio.wrap_future(future)

    # ---- end

    @home
    def close(self) -> None:
        """Stop listening and stop the worker threads. What is still queued is dropped. Twice is once."""
        if self._timer_fd.fd < 0:
            return
        self.worker_pool.close()
        self.loop.remove_reader(self._doorbell.fd)
        self.loop.remove_reader(self._timer_fd.fd)
        with self._ringing:
            self._doorbell.close()
        with self._arming:
            self._timer_fd.close()
        if current_context() is self:
            _current.context = None

    def __repr__(self) -> str:
        return f"<AioContext {self.name}>"


async def _awaited(function: Callable[[], Awaitable[ResultT]]) -> ResultT:
    return await function()
