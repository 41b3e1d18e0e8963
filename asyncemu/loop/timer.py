# SPDX-License-Identifier: GPL-2.0-or-later
"""Timer and TimerList: deadlines in int ns on one clock, run by one context, never early.

Theory of operation. A context keeps a TimerList per clock: a heap of (deadline, order, timer); every setting of a timer
has an order of its own, so timers with one deadline run in the order in which they were set. Removing is lazy: an entry
whose order is no longer its timer's is stale and is skipped when it reaches the top. When the stale ones are more than
the others the heap is made anew, for a guest may move a far deadline as often as it likes. The context asks every list
for its next deadline and arms one timerfd for the soonest (see timer_group.py).

Stopping a clock. ``run`` says that it runs before it looks whether the clock does; ``Clock.enable(False)`` stops the
clock before it looks whether a list runs, and then waits for it. So when it returns no callback is at work, and none
begins.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from asyncemu.loop.clock import Clock
from asyncemu.loop.markers import any_thread, home
from asyncemu.tracing import tracer

if TYPE_CHECKING:
    from asyncemu.loop.context import AioContext

#: So many stale entries are not worth a new heap (arbitrary).
STALE_ALLOWED: Final = 64


class TimerList:
    """The timers of one clock in one context."""

    def __init__(self, context: AioContext, clock: Clock) -> None:
        self.context = context
        self.clock = clock
        self._lock = threading.Lock()
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = 0
        self._pending = 0
        #: Ident of the thread that is in ``run``; 0: none.
        self._running = 0
        self._waiting = 0
        self._ended = threading.Condition()

    def set(self, timer: Timer, deadline: int, only_earlier: bool = False) -> bool:
        """Give ``timer`` a new deadline. True when it is the list's soonest; a soonest that moved later is not told of:
        the timerfd fires once for nothing and is armed anew, which is cheaper than to arm it at every move.
        """
        with self._lock:
            if timer.deadline is None:
                self._pending += 1
            elif only_earlier and timer.deadline <= deadline:
                return False
            self._order += 1
            timer.deadline = deadline
            timer.order = self._order
            heap = self._heap
            heapq.heappush(heap, (deadline, self._order, timer))
            if len(heap) > 2 * self._pending + STALE_ALLOWED:
                heap[:] = [entry for entry in heap if entry[2].order == entry[1]]
                heapq.heapify(heap)
            return heap[0][2] is timer and heap[0][1] == self._order

    def cancel(self, timer: Timer) -> None:
        """Take ``timer``'s deadline away."""
        with self._lock:
            if timer.deadline is not None:
                self._forget(timer)

    def _forget(self, timer: Timer) -> None:
        timer.deadline = None
        timer.order = 0
        self._pending -= 1

    def next_deadline(self) -> int | None:
        """The soonest deadline in ns of this list's clock, or None."""
        with self._lock:
            heap = self._heap
            while heap and heap[0][2].order != heap[0][1]:
                heapq.heappop(heap)
            return heap[0][0] if heap else None

    def run(self) -> bool:
        """Run what is due now; callbacks may set, cancel and re-arm any timer. True when anything ran.

        What a callback raises goes to the loop's exception handler, and the others run.
        """
        self._running = threading.get_ident()
        try:
            return self._run()
        finally:
            self._running = 0
            if self._waiting:
                with self._ended:
                    self._ended.notify_all()

    def wait_idle(self) -> None:
        """Return when no other thread is in ``run``. From a callback of this list it returns at once."""
        if self._running in (0, threading.get_ident()):
            return
        with self._ended:
            self._waiting += 1
            while self._running:
                self._ended.wait()
            self._waiting -= 1

    def _run(self) -> bool:
        clock = self.clock
        if not clock.enabled:
            return False
        now = clock.now()
        due: list[tuple[int, Timer]] = []
        with self._lock:
            heap = self._heap
            while heap and heap[0][0] <= now:
                _, order, timer = heapq.heappop(heap)
                due.append((order, timer))
        ran = False
        for index, (order, timer) in enumerate(due):
            if not clock.enabled:
                # Stopped by a callback, or by another thread that waits for us: the others keep their deadlines.
                self._put_back(due[index:])
                break
            with self._lock:
                # Stale, or an earlier callback of this round has cancelled or moved it.
                if timer.order != order:
                    continue
                self._forget(timer)
            ran = True
            try:
                if tracer.on:
                    start = monotonic_ns()
                    timer.callback()
                    tracer.span("timer", timer.name, start)
                else:
                    timer.callback()
            except Exception as error:
                self.context.loop.call_exception_handler(
                    {"message": f"timer callback of {self.context.name}", "exception": error}
                )
        return ran

    def _put_back(self, due: list[tuple[int, Timer]]) -> None:
        with self._lock:
            for order, timer in due:
                if timer.order == order and timer.deadline is not None:
                    heapq.heappush(self._heap, (timer.deadline, order, timer))


class Timer:
    """QEMU's QEMUTimer. Create with ``AioContext.timer``.

    The callback runs at home, at or after the deadline. ``mod`` and ``cancel`` may be called from any thread; from
    home, ``cancel`` is final at once.
    """

    __slots__ = ("_list", "callback", "deadline", "order")

    def __init__(self, timers: TimerList, callback: Callable[[], object]) -> None:
        self._list = timers
        self.callback = callback
        #: ns of its clock, or None; written under the list's lock.
        self.deadline: int | None = None
        #: Which setting the deadline comes from, for the list; 0: none.
        self.order = 0

    @any_thread
    def mod(self, deadline: int) -> None:
        """Fire once at ``deadline`` ns (of the timer's clock), instead of any earlier setting. QEMU: timer_mod_ns."""
        if self._list.set(self, deadline):
            self._list.context.timers.rearm()

    @any_thread
    def mod_anticipate(self, deadline: int) -> None:
        """As ``mod``, but never later than it is set already. QEMU: timer_mod_anticipate_ns."""
        if self._list.set(self, deadline, only_earlier=True):
            self._list.context.timers.rearm()

    @any_thread
    def cancel(self) -> None:
        """Do not fire. QEMU: timer_del."""
        self._list.cancel(self)

    @property
    def pending(self) -> bool:
        """Set and not fired yet?"""
        return self.deadline is not None

    @any_thread
    def expired(self, now: int) -> bool:
        """Is it set, and to ``now`` ns or before? QEMU: timer_expired."""
        deadline = self.deadline
        return deadline is not None and deadline <= now

    @home
    def move(self, context: AioContext) -> None:
        """Fire in ``context`` from now on; the deadline goes along. Not for other threads to set it meanwhile."""
        deadline = self.deadline
        self._list.cancel(self)
        self._list = context.timers.list_of(self.clock)
        if deadline is not None:
            self.mod(deadline)

    @property
    def context(self) -> AioContext:
        """Where it fires."""
        return self._list.context

    @property
    def name(self) -> str:
        """The callback's."""
        return getattr(self.callback, "__qualname__", "timer")

    @property
    def clock(self) -> Clock:
        """The clock its deadlines are measured on."""
        return self._list.clock
