# SPDX-License-Identifier: GPL-2.0-or-later
"""Timer and TimerList: deadlines in int ns on one clock, run by one context, never early.

Theory of operation. A context keeps a TimerList per clock: a heap of (deadline, order, timer). Removing is lazy: an
entry whose deadline is no longer its timer's is stale and is skipped when it reaches the top. The context asks every
list for its next deadline and arms one timerfd for the soonest (see context.py).
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncemu.loop.clock import Clock
from asyncemu.loop.markers import any_thread

if TYPE_CHECKING:
    from asyncemu.loop.context import AioContext


class TimerList:
    """The timers of one clock in one context."""

    def __init__(self, context: AioContext, clock: Clock) -> None:
        self.context = context
        self.clock = clock
        self._lock = threading.Lock()
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = 0
        clock.on_change(context.rearm_timers)

    def set(self, timer: Timer, deadline: int | None) -> bool:
        """Give ``timer`` a new deadline (None: none). True when the list's soonest deadline may have changed."""
        with self._lock:
            timer.deadline = deadline
            if deadline is None:
                return False
            self._order += 1
            heapq.heappush(self._heap, (deadline, self._order, timer))
            return self._heap[0][2] is timer

    def next_deadline(self) -> int | None:
        """The soonest deadline in ns of this list's clock, or None."""
        with self._lock:
            heap = self._heap
            while heap and heap[0][2].deadline != heap[0][0]:
                heapq.heappop(heap)
            return heap[0][0] if heap else None

    def run(self) -> bool:
        """Run what is due now; callbacks may set, cancel and re-arm any timer. True when anything ran."""
        if not self.clock.enabled:
            return False
        now = self.clock.now()
        due: list[Timer] = []
        with self._lock:
            heap = self._heap
            while heap and heap[0][0] <= now:
                deadline, _, timer = heapq.heappop(heap)
                if timer.deadline == deadline and timer not in due:
                    due.append(timer)
        ran = False
        for timer in due:
            with self._lock:
                # An earlier callback of this round may have cancelled or moved it.
                if timer.deadline is None or timer.deadline > now:
                    continue
                timer.deadline = None
            timer.callback()
            ran = True
        return ran


class Timer:
    """QEMU's QEMUTimer. Create with ``AioContext.timer``.

    The callback runs at home, at or after the deadline. ``mod`` and ``cancel`` may be called from any thread; from home,
    ``cancel`` is final at once.
    """

    __slots__ = ("_list", "callback", "deadline")

    def __init__(self, timers: TimerList, callback: Callable[[], object]) -> None:
        self._list = timers
        self.callback = callback
        #: ns of its clock, or None; written under the list's lock.
        self.deadline: int | None = None

    @any_thread
    def mod(self, deadline: int) -> None:
        """Fire once at ``deadline`` ns (of the timer's clock), instead of any earlier setting. QEMU: timer_mod_ns."""
        if self._list.set(self, deadline):
            self._list.context.rearm_timers()

    @any_thread
    def mod_anticipate(self, deadline: int) -> None:
        """As ``mod``, but never later than it is set already. QEMU: timer_mod_anticipate_ns."""
        current = self.deadline
        if current is None or deadline < current:
            self.mod(deadline)

    @any_thread
    def cancel(self) -> None:
        """Do not fire. QEMU: timer_del."""
        self._list.set(self, None)

    @property
    def pending(self) -> bool:
        """Set and not fired yet?"""
        return self.deadline is not None

    @property
    def clock(self) -> Clock:
        """The clock its deadlines are measured on."""
        return self._list.clock
