# SPDX-License-Identifier: GPL-2.0-or-later
"""A PTimer on a clock that is moved by hand, under each policy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import reduce
from operator import or_

from asyncemu.loop import AioContext, Clocks
from asyncemu.loop.ptimer import PTimer, PTimerPolicy
from asyncemu.testing.fake_clock import FakeClock

P = 2_000_000  # the period, in ns
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
HOUR = 3600 * SECOND

DEFAULT = PTimerPolicy.DEFAULT
WRAP = PTimerPolicy.WRAP_AFTER_ONE_PERIOD
CONTINUOUS = PTimerPolicy.CONTINUOUS_TRIGGER
NO_TRIGGER = PTimerPolicy.NO_IMMEDIATE_TRIGGER
NO_RELOAD = PTimerPolicy.NO_IMMEDIATE_RELOAD
NO_ROUND_DOWN = PTimerPolicy.NO_COUNTER_ROUND_DOWN
ON_DECREMENT = PTimerPolicy.TRIGGER_ONLY_ON_DECREMENT

POLICIES = [
    reduce(or_, flags, DEFAULT)
    for number in range(len(PTimerPolicy) + 1)
    for flags in itertools.combinations(PTimerPolicy, number)
    if not {NO_TRIGGER, ON_DECREMENT} <= set(flags)
]


class Rig:
    """A PTimer on a clock that is moved by hand."""

    def __init__(self, context: AioContext, policy: PTimerPolicy) -> None:
        self.time = FakeClock(monotonic_ns=10 * HOUR, wall_ns=100 * HOUR)
        self.clocks = Clocks(self.time)
        self.triggers = 0
        self.then: Callable[[], object] = lambda: None
        self.timer = PTimer(context, self.clocks.realtime, self._callback, policy)
        self.has_wrap = WRAP in policy
        self.is_continuous = CONTINUOUS in policy
        self.has_no_trigger = NO_TRIGGER in policy
        self.has_no_reload = NO_RELOAD in policy
        self.has_no_round_down = NO_ROUND_DOWN in policy
        #: Does it trigger when it is set to zero, or started there?
        self.triggers_when_set = not policy & (NO_TRIGGER | ON_DECREMENT)

    def _callback(self) -> None:
        self.triggers += 1
        self.then()

    def advance(self, ns: int) -> int:
        """How often it triggered in the next ``ns``."""
        before = self.triggers
        self.time.advance(ns)
        return self.triggers - before

    def shown(self, count: int) -> int:
        """What the running counter shows in the midst of a period when it has ``count``."""
        return count if self.has_no_round_down else count - 1

    def start(self, *, oneshot: bool, limit: int = 0, count: int | None = None, period: int = P) -> None:
        with self.timer.transaction():
            self.timer.set_period(period)
            self.timer.set_limit(limit, reload=count is None)
            if count is not None:
                self.timer.set_count(count)
            self.timer.run(oneshot)
