# SPDX-License-Identifier: GPL-2.0-or-later
"""Timer and TimerList: deadlines in int ns on one clock, run by one context, never early.

Theory of operation. A context keeps a TimerList per clock: a heap of (deadline, order, timer); every setting of a timer
has an order of its own, unique in the process, so timers with one deadline run in the order in which they were set.
Removing is lazy: an entry whose order is no longer its timer's is stale and is skipped when it reaches the top, also in
the list that the timer has moved away from. When the stale ones are more than
the others the heap is made anew, for a guest may move a far deadline as often as it likes. The context asks every list
for its next deadline and arms one timerfd for the soonest (see timer_group.py).

Stopping a clock. ``run`` says that it runs before it looks whether the clock does; ``Clock.enable(False)`` stops the
clock before it looks whether a list runs, and then waits for it. So when it returns no callback is at work, and none
begins.

Moving a timer takes the locks of both lists. Who has taken the lock of one looks whether the timer is still there, and
begins anew with the other if it is not.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from asyncemu.loop.clock import Clock
from asyncemu.loop.markers import any_thread, home
from asyncemu.tracing import tracer

if TYPE_CHECKING:
    from asyncemu.loop.context import AioContext

#: So many stale entries are not worth a new heap (arbitrary).
STALE_ALLOWED: Final = 64

#: One step under the GIL.
_next_order: Final = itertools.count(1).__next__


class TimerList:
    """The timers of one clock in one context."""

    def __init__(self, context: AioContext, clock: Clock) -> None:
        self.context = context
        self.clock = clock
        self._lock = threading.Lock()
        self._heap: list[tuple[int, int, Timer]] = []
        self._pending = 0
        #: Ident of the thread that is in ``run``; 0: none.
        self._running = 0
        self._waiting = 0
        #: Nothing fires any more; set at home.
        self.closed = False
        self._ended = threading.Condition()

    def set(self, timer: Timer, deadline: int, only_earlier: bool = False) -> bool | None:
        """Give ``timer`` a new deadline; None when it is in another list by now.

        True when it is the list's soonest; a soonest that moved later is not told of: the timerfd fires once for
        nothing and is armed anew, which is cheaper than to arm it at every move.
        """
        with self._lock:
            if timer.timers is not self:
                return None
            if timer.deadline is None:
                self._pending += 1
            elif only_earlier and timer.deadline <= deadline:
                return False
            return self._push(timer, deadline)

    def _push(self, timer: Timer, deadline: int) -> bool:
        """Is it the soonest? With the lock held."""
        order = _next_order()
        timer.deadline = deadline
        timer.order = order
        heap = self._heap
        heapq.heappush(heap, (deadline, order, timer))
        if len(heap) > 2 * self._pending + STALE_ALLOWED:
            heap[:] = [entry for entry in heap if entry[2].order == entry[1]]
            heapq.heapify(heap)
        return heap[0][1] == order

    def cancel(self, timer: Timer) -> bool:
        """Take ``timer``'s deadline away; False when it is in another list by now."""
        with self._lock:
            if timer.timers is not self:
                return False
            if timer.deadline is not None:
                self._forget(timer)
            return True

    def hand_over(self, timer: Timer, to: TimerList) -> bool:
        """Give ``timer`` with its deadline to another list; True when it is the soonest there. At home."""
        if to is self:
            return False
        # Always in the same order: two contexts may hand over to each other.
        first, second = (self, to) if id(self) < id(to) else (to, self)
        with first._lock, second._lock:
            timer.timers = to
            deadline = timer.deadline
            if deadline is None:
                return False
            self._forget(timer)
            to._pending += 1
            return to._push(timer, deadline)

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
        outer, self._running = self._running, threading.get_ident()
        try:
            return self._run()
        finally:
            self._running = outer  # not 0 when a callback has moved a clock that is moved by hand
            if self._waiting and not outer:
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
        if not clock.enabled or self.closed:
            return False
        now = clock.now()
        due: list[tuple[int, Timer]] = []
        with self._lock:
            heap = self._heap
            while heap and heap[0][0] <= now:
                _, order, timer = heapq.heappop(heap)
                due.append((order, timer))
        ran = False
        waiting = iter(due)
        try:
            # Not when it was stopped by a callback, or by another thread that waits for us.
            while clock.enabled and not self.closed and (entry := next(waiting, None)) is not None:
                order, timer = entry
                with self._lock:
                    # Stale, or an earlier callback of this round has cancelled or moved it.
                    if timer.order != order:
                        continue
                    self._forget(timer)
                ran = True
                self._fire(timer)
        finally:
            # The others keep their deadlines, also when a callback ends the loop (it may go on).
            self._put_back(waiting)
        return ran

    def _fire(self, timer: Timer) -> None:
        try:
            if tracer.on:
                start = monotonic_ns()
                timer.callback()
                tracer.span("timer", timer.name, start)
            else:
                timer.callback()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            message = f"timer callback of {self.context.name}"
            self.context.loop.call_exception_handler({"message": message, "exception": error})

    def _put_back(self, waiting: Iterator[tuple[int, Timer]]) -> None:
        for order, timer in waiting:
            with self._lock:
                if timer.order == order and timer.deadline is not None:
                    heapq.heappush(self._heap, (timer.deadline, order, timer))


class Timer:
    """QEMU's QEMUTimer. Create with ``AioContext.timer``.

    The callback runs at home, at or after the deadline. ``mod`` and ``cancel`` may be called from any thread; from
    home, ``cancel`` is final at once.
    """

    __slots__ = ("callback", "deadline", "order", "timers")

    def __init__(self, timers: TimerList, callback: Callable[[], object]) -> None:
        #: The list that it is in; changes under the locks of both.
        self.timers = timers
        self.callback = callback
        #: ns of its clock, or None; written under the list's lock.
        self.deadline: int | None = None
        #: Which setting the deadline comes from, for the list; 0: none.
        self.order = 0

    @any_thread
    def mod(self, deadline: int) -> None:
        """Fire once at ``deadline`` ns (of the timer's clock), instead of any earlier setting. QEMU: timer_mod_ns."""
        self._set(deadline, only_earlier=False)

    @any_thread
    def mod_anticipate(self, deadline: int) -> None:
        """As ``mod``, but never later than it is set already. QEMU: timer_mod_anticipate_ns."""
        self._set(deadline, only_earlier=True)

    def _set(self, deadline: int, only_earlier: bool) -> None:
        while (soonest := (timers := self.timers).set(self, deadline, only_earlier)) is None:
            pass
        if soonest:
            timers.context.timers.rearm()

    @any_thread
    def cancel(self) -> None:
        """Do not fire. QEMU: timer_del."""
        while not self.timers.cancel(self):
            pass

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
        """Fire in ``context`` from now on; the deadline goes along. Any thread may set or cancel it meanwhile."""
        if self.timers.hand_over(self, context.timers.list_of(self.clock)):
            context.timers.rearm()

    @property
    def context(self) -> AioContext:
        """Where it fires."""
        return self.timers.context

    @property
    def name(self) -> str:
        """The callback's."""
        return getattr(self.callback, "__qualname__", "timer")

    @property
    def clock(self) -> Clock:
        """The clock its deadlines are measured on."""
        return self.timers.clock
