# SPDX-License-Identifier: GPL-2.0-or-later
"""PTimer: what holds for all numbers, against a model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.loop import AioContext
from asyncemu.loop.ptimer import MAX_RELOADS, MAX_VALUE, MIN_CYCLE, PTimerPolicy
from tests.loop.ptimer.rig import (
    DEFAULT,
    NO_ROUND_DOWN,
    POLICIES,
    Rig,
)


class Model:
    """A counter that is really decremented, period by period: DEFAULT, with or without NO_COUNTER_ROUND_DOWN."""

    def __init__(self, exact: bool) -> None:
        self.exact = exact
        self.running = self.oneshot = False
        self.limit, self.count, self.period = 1, 0, MIN_CYCLE
        self.since = 0  # ns since the last decrement, or since the beginning
        self.fresh = True  # it has just begun
        self.triggers = 0

    def advance(self, ns: int) -> None:
        while self.running and ns >= self.period - self.since:
            ns -= self.period - self.since
            self.since, self.fresh = 0, False
            self.count -= 1
            if self.count == 0:
                self.triggers += 1
                self.running = not self.oneshot
                self.count = 0 if self.oneshot else self.limit
                self.fresh = True
        if self.running:
            self.since += ns
            self.fresh = self.fresh and ns == 0

    def shown(self) -> int:
        if not self.running or self.fresh:
            return self.count
        # At the very instant of a decrement the counter still shows, respectively already shows, what lies before it.
        return self.count - 1 + self.exact + (self.since == 0)

    def begin(self) -> None:
        self.since, self.fresh = 0, True
        if self.running and self.count == 0:
            self.triggers += 1
            self.count = self.limit

    def run(self, oneshot: bool) -> None:
        self.oneshot = oneshot
        if not self.running:
            self.running = True
            self.begin()

    def stop(self) -> None:
        self.count, self.running = self.shown(), False

    def set_count(self, count: int) -> None:
        self.count = count
        self.begin()

    def set_limit(self, limit: int, reload: bool) -> None:
        self.limit = limit
        if reload:
            self.set_count(limit)

    def set_period(self, ns: int) -> None:
        self.set_count(self.shown())
        self.period = ns


COUNTS = st.integers(0, 5)
PERIODS = st.integers(MIN_CYCLE, 5 * MIN_CYCLE)
#: Many of them at the instants of decrements and around them.
ELAPSED = st.one_of(
    st.integers(0, 30 * MIN_CYCLE),
    st.builds(lambda periods, off: periods * MIN_CYCLE + off, st.integers(1, 20), st.integers(-1, 1)),
)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), ELAPSED),
        st.tuples(st.just("run"), st.booleans()),
        st.tuples(st.just("stop")),
        st.tuples(st.just("set_count"), COUNTS),
        st.tuples(st.just("set_limit"), COUNTS.filter(bool), st.booleans()),
        st.tuples(st.just("set_period"), PERIODS),
    ),
    max_size=30,
)


@pytest.mark.parametrize("policy", [DEFAULT, NO_ROUND_DOWN])
async def test_random_operations_agree_with_a_counter_that_is_decremented(
    context: AioContext, policy: PTimerPolicy
) -> None:
    @settings(max_examples=100, deadline=None)
    @given(operations=OPERATIONS)
    def check(operations: list[tuple[Any, ...]]) -> None:
        rig, model = Rig(context, policy), Model(policy is NO_ROUND_DOWN)
        rig.timer.set_period(MIN_CYCLE)
        rig.timer.set_limit(1, reload=False)
        for name, *arguments in operations:
            getattr(rig if name == "advance" else rig.timer, name)(*arguments)
            getattr(model, name)(*arguments)
            assert (rig.timer.get_count(), rig.triggers) == (model.shown(), model.triggers)
        rig.timer.close()

    check()


async def test_random_operations_under_any_policy_stay_within_bounds(context: AioContext) -> None:
    """Any numbers, changed by the device and by the callback too: no more than it was given, no more often than
    MIN_CYCLE allows, and nothing raises.
    """
    values = st.one_of(st.integers(0, 3), st.integers(0, MAX_VALUE))
    change = st.one_of(
        st.tuples(st.just("run"), st.booleans()),
        st.tuples(st.just("stop")),
        st.tuples(st.just("set_count"), values),
        st.tuples(st.just("set_limit"), values, st.booleans()),
        st.tuples(st.just("set_period"), values),
        st.tuples(st.just("set_freq"), values),
    )
    steps = st.lists(st.tuples(st.lists(change, max_size=4), st.integers(0, 20 * MIN_CYCLE)), max_size=10)

    @settings(max_examples=150, deadline=None)
    @given(policy=st.sampled_from(POLICIES), steps=steps, reaction=st.lists(change, max_size=3))
    def check(policy: PTimerPolicy, steps: list[tuple[Any, int]], reaction: list[tuple[Any, ...]]) -> None:
        rig = Rig(context, policy)
        highest = max(each[1] for each in [("", 0), *reaction] if each[0] in ("", "set_count", "set_limit"))

        def apply(changes: list[tuple[Any, ...]]) -> None:
            for name, *arguments in changes:
                getattr(rig.timer, name)(*arguments)

        rig.then = lambda: apply(reaction)
        for changes, ns in steps:
            highest = max([highest, *(each[1] for each in changes if each[0] in ("set_count", "set_limit"))])
            before = rig.triggers
            with rig.timer.transaction():
                apply(changes)
            assert rig.triggers - before <= MAX_RELOADS
            assert rig.timer.get_count() <= highest
            # One for a one-shot that the device has started, the others MIN_CYCLE apart.
            assert rig.advance(ns) <= (2 + ns // MIN_CYCLE) * (1 + MAX_RELOADS)
            assert rig.timer.get_count() <= highest
        rig.timer.close()

    check()


async def test_random_frequency_triggers_as_often_as_cycles_have_gone_by(context: AioContext) -> None:
    @settings(max_examples=100, deadline=None)
    @given(
        hz=st.integers(1, 10**10),
        cycles=st.integers(0, 50),
        microseconds=st.integers(MIN_CYCLE // 1000 + 1, 10**6),
        ns=st.integers(0, 10**9),
    )
    def check(hz: int, cycles: int, microseconds: int, ns: int) -> None:
        rig = Rig(context, NO_ROUND_DOWN)
        limit = -(-hz * microseconds // 10**6)  # rounded up: no cycle is stretched
        period = (10**9 << 32) // hz
        elapsed = cycles * limit * period // 2**32 + ns % (limit * period // 2**32)
        rig.timer.set_freq(hz)
        rig.timer.set_limit(limit, reload=True)
        rig.timer.run(oneshot=False)

        rig.advance(elapsed)

        assert rig.triggers == (elapsed << 32) // (limit * period)
        rig.timer.close()

    check()
