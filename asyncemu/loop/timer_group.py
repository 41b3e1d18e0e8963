# SPDX-License-Identifier: GPL-2.0-or-later
"""TimerListGroup: all timers of one context, a list for each clock, and the one timerfd that is armed for the soonest.

QEMU: QEMUTimerListGroup. Why one timerfd and not the loop's own timers: docs/decisions/0001-one-timerfd.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncemu.loop.clock import Clock, ClockSource
from asyncemu.loop.timer import Timer, TimerList

if TYPE_CHECKING:
    from asyncemu.loop.context import AioContext
    from asyncemu.loop.timerfd import TimerFd


class TimerListGroup:
    """Setting and looking from any thread; ``run`` at home."""

    def __init__(self, context: AioContext) -> None:
        self._context = context
        # Made anew for each new list, so that other threads may look at it at any time.
        self._lists: dict[Clock, TimerList] = {}
        self._new_list = threading.Lock()
        #: Made for the first deadline, or by ``prepare``: many tools end without any.
        self._timer_fd: TimerFd | None = None
        self._armed_for: int | None = None
        self._arming = threading.Lock()
        self._closed = False

    def timer(self, clock: Clock, callback: Callable[[], object]) -> Timer:
        """A timer on ``clock``."""
        return Timer(self.list_of(clock), callback)

    def list_of(self, clock: Clock) -> TimerList:
        """The list of ``clock``; made for its first user."""
        timers = self._lists.get(clock)
        if timers is None:
            with self._new_list:
                timers = self._lists.get(clock)
                if timers is None:
                    timers = TimerList(self._context, clock)
                    if not self._closed:
                        self._lists = {**self._lists, clock: timers}
                        clock.add_list(timers)
                        clock.source.attach(self._context)
        return timers

    def rearm(self) -> None:
        """The soonest deadline may have changed: set the timerfd anew. It wakes the home thread, nobody else need."""
        with self._arming:
            soonest = self.next_deadline()
            if soonest == self._armed_for or self._closed:
                return
            if soonest is not None:
                (self._timer_fd or self._make_timer_fd()).arm(soonest)
            elif self._timer_fd is not None:
                self._timer_fd.disarm()
            self._armed_for = soonest

    def prepare(self) -> None:
        """At home: be able to keep deadlines from now on. OSError: the host has no descriptor to give."""
        with self._arming:
            if self._timer_fd is None:
                self._make_timer_fd()

    def _make_timer_fd(self) -> TimerFd:
        from asyncemu.loop.timerfd import TimerFd

        self._timer_fd = made = TimerFd()
        if self._context.in_home():
            self._listen()
        else:
            self._context.schedule_oneshot(self._listen)
        return made

    def _listen(self) -> None:
        if self._timer_fd is not None and not self._closed:
            self._context.loop.add_reader(self._timer_fd.fd, self._fired)

    def run(self) -> bool:
        """Run all timers that are due; True when any was."""
        ran = False
        try:
            for timers in self._lists.values():
                ran |= timers.run()
        finally:
            self.rearm()
        return ran

    def next_deadline(self, source: ClockSource | None = None) -> int | None:
        """See ``AioContext.next_deadline``."""
        soonest: int | None = None
        for clock, timers in self._lists.items():
            wanted = clock.source.follows_kernel if source is None else clock.source is source
            deadline = timers.next_deadline() if wanted else None
            if deadline is None:
                continue
            at = clock.monotonic_deadline(deadline)
            if at is not None and (soonest is None or at < soonest):
                soonest = at
        return soonest

    def _fired(self) -> None:
        if self._closed or self._timer_fd is None:
            return
        self._timer_fd.acknowledge()
        self._armed_for = None
        self._context.run_timers()

    def close(self) -> None:
        """Nothing fires any more."""
        with self._new_list, self._arming:
            self._closed = True
            if self._timer_fd is not None:
                self._context.loop.remove_reader(self._timer_fd.fd)
                self._timer_fd.close()
            lists, self._lists = self._lists, {}
        for clock, timers in lists.items():
            timers.closed = True
            clock.remove_list(timers)
