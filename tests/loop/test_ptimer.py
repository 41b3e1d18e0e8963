# SPDX-License-Identifier: GPL-2.0-or-later
"""PTimer: what a device sees of its counter under every policy, in the cases of QEMU's tests/unit/ptimer-test.c.

And what QEMU does not test: fractions of a nanosecond, transactions, callbacks that change the timer, hostile numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.loop import AioContext, Clocks
from asyncemu.loop.ptimer import MAX_CATCH_UP, MAX_RELOADS, MAX_VALUE, MIN_CYCLE, PTimer, PTimerPolicy
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


@pytest.fixture(params=POLICIES, ids=lambda policy: policy.name or "DEFAULT")
def rig(context: AioContext, request: pytest.FixtureRequest) -> Rig:
    """Under each policy and each combination of them."""
    return Rig(context, request.param)


@pytest.fixture
def default(context: AioContext) -> Rig:
    return Rig(context, DEFAULT)


@pytest.fixture
def exact(context: AioContext) -> Rig:
    """Its counter shows what it has."""
    return Rig(context, NO_ROUND_DOWN)


def test_policies_are_all_combinations_but_the_excluded() -> None:
    assert len(set(POLICIES)) == 2**6 - 2**4


# ---- set_count, set_limit


async def test_set_count_stopped_is_shown(rig: Rig) -> None:
    rig.timer.set_count(1000)

    assert (rig.timer.get_count(), rig.advance(HOUR), rig.timer.get_count()) == (1000, 0, 1000)


async def test_set_limit_without_reload_keeps_the_count(rig: Rig) -> None:
    rig.timer.set_limit(1000, reload=False)

    assert (rig.timer.get_limit(), rig.timer.get_count(), rig.triggers) == (1000, 0, 0)


async def test_set_limit_with_reload_sets_the_count(rig: Rig) -> None:
    rig.timer.set_limit(1000, reload=False)
    rig.timer.set_limit(2000, reload=True)

    assert (rig.timer.get_limit(), rig.timer.get_count(), rig.triggers) == (2000, 2000, 0)


# ---- oneshot


async def test_oneshot_running_counts_down(rig: Rig) -> None:
    rig.start(oneshot=True, count=10)

    assert (rig.advance(2 * P + 1), rig.timer.get_count()) == (0, rig.shown(8))


async def test_oneshot_stop_keeps_the_count(rig: Rig) -> None:
    rig.start(oneshot=True, count=10)
    rig.advance(2 * P + 1)

    rig.timer.stop()

    assert rig.timer.get_count() == rig.shown(8)
    assert (rig.advance(11 * P), rig.timer.get_count()) == (0, rig.shown(8))


async def test_oneshot_run_after_stop_goes_on_from_the_count(rig: Rig) -> None:
    rig.start(oneshot=True, count=10)
    rig.advance(2 * P + 1)
    rig.timer.stop()

    rig.timer.run(oneshot=True)

    assert rig.advance(rig.shown(8) * P - 1) == 0
    assert (rig.advance(1), rig.timer.get_count()) == (1, 0)


async def test_oneshot_ended_stays_at_zero(rig: Rig) -> None:
    rig.start(oneshot=True, count=10)
    rig.advance(10 * P)

    assert (rig.advance(HOUR), rig.timer.get_count()) == (0, 0)


async def test_oneshot_ended_set_count_does_not_start_it(rig: Rig) -> None:
    rig.start(oneshot=True, count=1)
    rig.advance(P)

    rig.timer.set_count(10)

    assert (rig.advance(10 * P + 1), rig.timer.get_count()) == (0, 10)


async def test_oneshot_ended_set_limit_does_not_start_it(rig: Rig) -> None:
    rig.start(oneshot=True, count=1)
    rig.advance(P)

    rig.timer.set_limit(9, reload=True)

    assert (rig.advance(10 * P + 1), rig.timer.get_count()) == (0, 9)


async def test_oneshot_set_count_running_counts_down_from_there(rig: Rig) -> None:
    rig.start(oneshot=True, limit=9)
    rig.advance(P + 1)

    rig.timer.set_count(20)

    assert (rig.advance(19 * P + 1), rig.timer.get_count()) == (0, rig.shown(1))
    assert (rig.advance(P - 1), rig.timer.get_count()) == (1, 0)
    assert (rig.advance(12 * P), rig.timer.get_count()) == (0, 0)


# ---- periodic


async def test_periodic_start_shows_the_limit_for_an_instant(rig: Rig) -> None:
    rig.start(oneshot=False, limit=10)

    assert rig.timer.get_count() == 10
    assert (rig.advance(1), rig.timer.get_count()) == (0, rig.shown(10))


async def test_periodic_end_triggers_and_begins_anew(rig: Rig) -> None:
    rig.start(oneshot=False, limit=10)

    assert rig.advance(10 * P - 1) == 0
    assert (rig.advance(1), rig.timer.get_count()) == (1, 0 if rig.has_wrap else 10)
    assert (rig.advance(1), rig.timer.get_count()) == (0, 0 if rig.has_wrap else rig.shown(10))
    assert (rig.advance(P), rig.timer.get_count()) == (0, rig.shown(9) + rig.has_wrap)


async def test_periodic_goes_on_triggers_each_cycle(rig: Rig) -> None:
    rig.start(oneshot=False, limit=10)
    rig.advance(10 * P)

    assert [rig.advance((10 + rig.has_wrap) * P) for _ in range(3)] == [1, 1, 1]


async def test_periodic_wrap_shows_zero_to_the_end_of_the_period(rig: Rig) -> None:
    rig.start(oneshot=False, limit=10)

    rig.advance(11 * P)

    assert rig.timer.get_count() == (0 if rig.has_wrap else rig.shown(10))
    assert (rig.advance(1), rig.timer.get_count()) == (0, rig.shown(9) + rig.has_wrap)


async def test_periodic_set_count_above_the_limit_counts_down_from_there_once(rig: Rig) -> None:
    rig.start(oneshot=False, limit=10)
    rig.advance(11 * P + 1)

    rig.timer.set_count(20)

    assert rig.timer.get_count() == 20
    assert (rig.advance(1), rig.timer.get_count()) == (0, rig.shown(20))
    assert (rig.advance(11 * P), rig.timer.get_count()) == (0, rig.shown(9))
    assert (rig.advance(10 * P), rig.timer.get_count()) == (1, rig.shown(9) + rig.has_wrap)


async def test_periodic_set_count_below_the_limit_counts_down_from_there_once(rig: Rig) -> None:
    rig.start(oneshot=False, limit=10)
    rig.advance(1)

    rig.timer.set_count(3)

    assert rig.timer.get_count() == 3
    assert (rig.advance(1), rig.timer.get_count()) == (0, rig.shown(3))
    assert (rig.advance(4 * P), rig.timer.get_count()) == (1, rig.shown(9) + rig.has_wrap)


async def test_periodic_stop_keeps_the_count(rig: Rig) -> None:
    rig.start(oneshot=False, limit=10)
    rig.advance(12 * P + 1)

    rig.timer.stop()

    assert rig.timer.get_count() == rig.shown(8) + rig.has_wrap
    assert (rig.advance(HOUR), rig.timer.get_count()) == (0, rig.shown(8) + rig.has_wrap)


async def test_periodic_run_with_a_count_begins_with_it(rig: Rig) -> None:
    rig.start(oneshot=False, limit=10, count=3)

    assert (rig.advance(3 * P + 1), rig.timer.get_count()) == (1, 0 if rig.has_wrap else rig.shown(10))
    assert (rig.advance(P), rig.timer.get_count()) == (0, rig.shown(9) + rig.has_wrap)


async def test_periodic_set_count_0_triggers_and_reloads_as_the_policy_says(rig: Rig) -> None:
    rig.start(oneshot=False, limit=10)
    rig.advance(1)

    rig.timer.set_count(0)

    assert (rig.triggers, rig.timer.get_count()) == (rig.triggers_when_set, 0 if rig.has_no_reload else 10)
    assert (rig.advance(1), rig.timer.get_count()) == (0, 0 if rig.has_no_reload else rig.shown(10))


async def test_periodic_set_count_0_waits_a_period_before_a_deferred_reload(rig: Rig) -> None:
    rig.start(oneshot=False, limit=10)
    rig.timer.set_count(0)

    in_the_wait = rig.advance(P * rig.has_no_reload)

    assert in_the_wait == (rig.has_no_reload and rig.has_no_trigger)
    assert (rig.timer.get_count(), rig.advance(1), rig.timer.get_count()) == (10, 0, rig.shown(10))
    assert (rig.advance(12 * P), rig.timer.get_count()) == (1, rig.shown(8) + rig.has_wrap)


async def test_periodic_set_period_0_stops(rig: Rig) -> None:
    rig.start(oneshot=False, limit=10, count=7)

    rig.timer.set_period(0)

    assert (rig.advance(HOUR), rig.timer.get_count()) == (0, 7)


async def test_periodic_set_period_0_and_another_does_not_start_it_again(rig: Rig) -> None:
    rig.start(oneshot=False, limit=10, count=7)
    rig.timer.set_period(0)

    rig.timer.set_period(P)

    assert (rig.advance(HOUR), rig.timer.get_count()) == (0, 7)


# ---- changes while it runs


async def test_on_the_fly_mode_change_to_periodic_goes_on_after_zero(rig: Rig) -> None:
    rig.start(oneshot=True, limit=10)
    rig.advance(9 * P + 1)

    rig.timer.run(oneshot=False)

    assert rig.timer.get_count() == rig.shown(1)
    assert (rig.advance(P), rig.timer.get_count()) == (1, 0 if rig.has_wrap else rig.shown(10))


async def test_on_the_fly_mode_change_to_oneshot_ends_at_zero(rig: Rig) -> None:
    rig.start(oneshot=False, limit=10)
    rig.advance(19 * P + 1)

    rig.timer.run(oneshot=True)

    assert rig.timer.get_count() == rig.shown(1) + rig.has_wrap
    assert (rig.advance(3 * P), rig.timer.get_count()) == (1, 0)
    assert rig.advance(HOUR) == 0


async def test_on_the_fly_period_change_goes_on_from_what_it_shows(rig: Rig) -> None:
    rig.start(oneshot=True, limit=8)
    rig.advance(4 * P + 1)

    rig.timer.set_period(2 * P)

    assert rig.timer.get_count() == rig.shown(4)
    assert (rig.advance(4 * P + 1), rig.timer.get_count()) == (0, rig.shown(rig.shown(4) - 2))
    assert (rig.advance(4 * P), rig.timer.get_count()) == (1, 0)


async def test_on_the_fly_freq_change_goes_on_from_what_it_shows(rig: Rig) -> None:
    rig.timer.set_freq(500)
    rig.timer.set_limit(8, reload=True)
    rig.timer.run(oneshot=True)
    rig.advance(4 * P + 1)

    rig.timer.set_freq(250)

    assert rig.timer.get_count() == rig.shown(4)
    assert (rig.advance(4 * P + 1), rig.timer.get_count()) == (0, rig.shown(rig.shown(4) - 2))
    assert (rig.advance(4 * P), rig.timer.get_count()) == (1, 0)


# ---- zeroes


async def test_run_with_period_0_does_not_start(rig: Rig) -> None:
    rig.timer.set_count(99)
    rig.timer.run(oneshot=True)
    rig.timer.set_period(P)

    assert (rig.advance(10 * SECOND), rig.timer.get_count()) == (0, 99)


async def test_run_with_delta_0_oneshot_triggers_and_reloads_as_the_policy_says(rig: Rig) -> None:
    rig.start(oneshot=True, limit=99, count=0)

    at_once = rig.triggers
    shown = rig.timer.get_count()
    after = rig.advance(P + 1)

    assert (at_once, shown) == (rig.triggers_when_set, 0 if rig.has_no_reload else 99)
    assert (after, rig.timer.get_count()) == (
        rig.has_no_reload and rig.has_no_trigger,
        0 if rig.has_no_reload else rig.shown(98),
    )


async def test_run_with_delta_0_oneshot_counts_down_from_what_is_set_next(rig: Rig) -> None:
    rig.start(oneshot=True, limit=99, count=0)
    rig.advance(P + 1)

    with rig.timer.transaction():
        rig.timer.set_count(99)
        rig.timer.run(oneshot=True)

    assert (rig.advance(P + 1), rig.timer.get_count()) == (0, rig.shown(98))
    assert (rig.advance(97 * P), rig.timer.get_count()) == (0, rig.shown(1))
    assert (rig.advance(2 * P), rig.timer.get_count()) == (1, 0)


async def test_run_with_delta_0_periodic_triggers_and_reloads_as_the_policy_says(rig: Rig) -> None:
    rig.start(oneshot=False, limit=99, count=0)

    at_once = rig.triggers
    shown = rig.timer.get_count()
    in_the_wait = rig.advance(P * rig.has_no_reload + 1)

    assert (at_once, shown) == (rig.triggers_when_set, 0 if rig.has_no_reload else 99)
    assert (in_the_wait, rig.timer.get_count()) == (rig.has_no_reload and rig.has_no_trigger, rig.shown(99))
    assert (rig.advance(P), rig.timer.get_count()) == (0, rig.shown(98))
    assert (rig.advance(98 * P), rig.timer.get_count()) == (1, 0 if rig.has_wrap else rig.shown(99))


async def test_periodic_with_load_0_goes_on_only_if_continuous(rig: Rig) -> None:
    rig.start(oneshot=False)

    assert (rig.triggers, rig.timer.get_count()) == (rig.triggers_when_set, 0)
    assert (rig.advance(P + 1), rig.timer.get_count()) == (rig.is_continuous or rig.has_no_trigger, 0)
    assert (rig.advance(5 * P), rig.timer.get_count()) == (5 * rig.is_continuous, 0)


async def test_periodic_with_load_0_counts_a_count_down_first(rig: Rig) -> None:
    rig.start(oneshot=False)
    rig.advance(P + 1)

    with rig.timer.transaction():
        rig.timer.set_count(10)
        rig.timer.run(oneshot=False)

    assert (rig.advance(10 * P + 1), rig.timer.get_count()) == (1, 0)
    assert (rig.advance(P + 1), rig.timer.get_count()) == (rig.is_continuous, 0)


async def test_oneshot_with_load_0_triggers_once_or_never(rig: Rig) -> None:
    rig.start(oneshot=True)

    assert (rig.triggers, rig.timer.get_count()) == (rig.triggers_when_set, 0)
    assert (rig.advance(P + 1), rig.timer.get_count()) == (rig.has_no_trigger, 0)
    assert (rig.advance(HOUR), rig.timer.get_count()) == (0, 0)


# ---- fractions of a nanosecond


async def test_freq_more_than_1000M_counts_twice_a_nanosecond(rig: Rig) -> None:
    rig.timer.set_freq(2 * SECOND)
    rig.timer.set_limit(8, reload=True)
    rig.timer.run(oneshot=True)

    assert (rig.advance(3), rig.timer.get_count()) == (0, rig.shown(3))
    assert (rig.advance(1), rig.timer.get_count()) == (1, 0)


async def test_set_freq_with_a_fraction_does_not_drift(exact: Rig) -> None:
    """32768 Hz is 30517.578125 ns: rounded down at each reload it would gain 512 ns in this second."""
    exact.timer.set_freq(32768)
    exact.timer.set_limit(16, reload=True)
    exact.timer.run(oneshot=False)

    triggers = exact.advance(SECOND - 1)

    assert (triggers, exact.advance(1)) == (32768 // 16 - 1, 1)


async def test_set_freq_with_a_fraction_oneshot_is_not_early(exact: Rig) -> None:
    exact.timer.set_freq(3)
    exact.timer.set_count(1)
    exact.timer.run(oneshot=True)

    assert (exact.advance(SECOND // 3), exact.advance(1)) == (0, 1)


async def test_set_freq_with_a_fraction_shows_the_count_it_was_given(default: Rig) -> None:
    default.timer.set_freq(3)
    default.timer.set_count(10)
    default.timer.run(oneshot=True)

    assert default.timer.get_count() == 10


async def test_set_freq_0_stops(default: Rig) -> None:
    default.start(oneshot=False, limit=10)

    default.timer.set_freq(0)

    assert (default.advance(HOUR), default.timer.get_count()) == (0, 10)


# ---- transactions, and what the callback may do


async def test_transaction_triggers_once_at_its_end(default: Rig) -> None:
    with default.timer.transaction():
        default.timer.set_period(P)
        default.timer.run(oneshot=False)
        default.timer.set_count(0)
        default.timer.set_limit(5, reload=False)
        within = default.triggers

    assert (within, default.triggers, default.timer.get_count()) == (0, 1, 5)


async def test_transaction_zero_that_is_taken_back_does_not_trigger(default: Rig) -> None:
    default.start(oneshot=False, limit=10)

    with default.timer.transaction():
        default.timer.set_count(0)
        default.timer.set_count(4)
        default.timer.set_period(2 * P)

    assert (default.triggers, default.timer.get_count()) == (0, 4)
    assert (default.advance(8 * P - 1), default.advance(1)) == (0, 1)


async def test_transaction_stop_after_set_count_keeps_the_count(default: Rig) -> None:
    default.start(oneshot=False, limit=10)

    with default.timer.transaction():
        default.timer.set_count(4)
        default.timer.stop()

    assert (default.advance(HOUR), default.timer.get_count()) == (0, 4)


async def test_transaction_block_raises_what_it_did_is_done(default: Rig) -> None:
    default.start(oneshot=False, limit=10)

    with pytest.raises(ZeroDivisionError), default.timer.transaction():
        default.timer.set_count(3)
        raise ZeroDivisionError

    assert (default.advance(3 * P - 1), default.advance(1)) == (0, 1)


async def test_transaction_held_over_the_end_of_the_old_cycle_does_not_trigger_for_it(default: Rig) -> None:
    default.start(oneshot=False, limit=2)

    with default.timer.transaction():
        default.timer.set_count(10)
        within = default.advance(5 * P)

    assert (within, default.advance(10 * P - 1), default.advance(1)) == (0, 0, 1)


async def test_callback_finds_the_counter_reloaded(default: Rig) -> None:
    seen: list[int] = []
    default.then = lambda: seen.append(default.timer.get_count())

    default.start(oneshot=False, limit=10, count=0)
    default.advance(20 * P)

    assert seen == [10, 10, 10]


async def test_callback_stops_the_timer_at_the_limit(default: Rig) -> None:
    default.then = default.timer.stop
    default.start(oneshot=False, limit=10)

    assert (default.advance(HOUR), default.timer.get_count()) == (1, 10)


async def test_callback_closes_the_timer_from_within_set_count(default: Rig) -> None:
    default.then = default.timer.close
    default.start(oneshot=False, limit=10)

    default.timer.set_count(0)

    assert (default.triggers, default.advance(HOUR)) == (1, 0)


async def test_callback_sets_a_count_with_limit_0_it_goes_on(default: Rig) -> None:
    default.then = lambda: default.timer.set_count(3)
    default.start(oneshot=False, count=1)

    assert [default.advance(P), default.advance(3 * P), default.advance(3 * P)] == [1, 1, 1]


async def test_callback_runs_the_oneshot_again(default: Rig) -> None:
    def again() -> None:
        with default.timer.transaction():
            default.timer.set_count(5)
            default.timer.run(oneshot=True)

    default.then = again
    default.start(oneshot=True, count=1)

    assert [default.advance(P), default.advance(5 * P - 1), default.advance(1)] == [1, 0, 1]


async def test_callback_zeroes_the_count_is_called_after_it_has_returned(default: Rig) -> None:
    order: list[str] = []

    def zero_once() -> None:
        order.append("called")
        default.then = lambda: order.append("again")
        default.timer.set_count(0)
        order.append("returns")

    default.then = zero_once
    default.start(oneshot=False, limit=10)
    default.advance(10 * P)

    assert order == ["called", "returns", "again"]


async def test_callback_zeroes_the_count_ever_again_stops(default: Rig) -> None:
    default.then = lambda: default.timer.set_count(0)
    default.start(oneshot=False, limit=10)

    assert (default.advance(10 * P), default.advance(HOUR)) == (1 + MAX_RELOADS, 0)


async def test_callback_raises_is_reported_and_the_timer_goes_on(default: Rig, reported: list[dict[str, Any]]) -> None:
    error = ValueError("broken")

    def broken() -> None:
        raise error

    default.then = broken
    default.start(oneshot=False, limit=10, count=0)

    assert default.advance(20 * P) == 2
    assert [(each["message"], each["exception"]) for each in reported] == [("ptimer callback of test", error)] * 3


# ---- a hostile guest, a slow host


async def test_run_tiny_periodic_cycle_is_stretched(rig: Rig) -> None:
    rig.start(oneshot=False, limit=1, period=1)

    assert rig.advance(100 * MIN_CYCLE) == 100


@pytest.mark.parametrize("limit", [2, 3, 7, MIN_CYCLE - 1])
async def test_run_tiny_periodic_cycle_of_some_counts_is_stretched(default: Rig, limit: int) -> None:
    default.start(oneshot=False, limit=limit, period=1)

    assert default.advance(100 * MIN_CYCLE) in (99, 100)
    assert default.timer.get_count() <= limit


@pytest.mark.parametrize(("limit", "triggers"), [(1 << 20, 100), (3 * 10**13, 71)])
async def test_run_tiny_periodic_cycle_of_a_fast_counter_is_stretched(default: Rig, limit: int, triggers: int) -> None:
    """More counts than a cycle has nanoseconds: 1/2**32 ns each, and of that a multiple."""
    default.timer.set_freq(MAX_VALUE)
    default.timer.set_limit(limit, reload=True)
    default.timer.run(oneshot=False)

    assert default.advance(100 * MIN_CYCLE) == triggers


async def test_run_periodic_cycle_of_the_minimum_is_not_stretched(default: Rig) -> None:
    default.start(oneshot=False, limit=2, period=MIN_CYCLE // 2)

    assert default.advance(100 * MIN_CYCLE) == 100


async def test_get_count_in_a_stretched_cycle_takes_all_its_values(exact: Rig) -> None:
    exact.start(oneshot=False, limit=4, period=1)
    exact.advance(1)

    shown: list[int] = []
    for _ in range(8):
        exact.advance(MIN_CYCLE // 4)
        shown.append(exact.timer.get_count())

    assert shown == [3, 2, 1, 4, 3, 2, 1, 4]


async def test_callback_runs_a_tiny_oneshot_again_it_is_stretched(default: Rig) -> None:
    def again() -> None:
        default.timer.set_count(1)
        default.timer.run(oneshot=True)

    default.then = again
    default.start(oneshot=True, count=1, period=1)

    assert default.advance(10 * MIN_CYCLE) == 10


async def test_run_tiny_oneshot_after_a_callback_is_not_stretched(default: Rig) -> None:
    default.start(oneshot=True, count=1, period=1)
    default.advance(1)

    default.start(oneshot=True, count=2, period=1)

    assert (default.advance(1), default.advance(1)) == (0, 1)


async def test_run_largest_numbers_never_ends(default: Rig) -> None:
    default.start(oneshot=False, limit=MAX_VALUE, period=MAX_VALUE)

    assert (default.advance(HOUR), default.timer.get_count()) == (0, MAX_VALUE - 1)


@pytest.mark.parametrize("value", [-1, MAX_VALUE + 1])
@pytest.mark.parametrize(
    ("method", "rest", "what"),
    [
        ("set_period", (), "period"),
        ("set_freq", (), "frequency"),
        ("set_count", (), "count"),
        ("set_limit", (True,), "limit"),
    ],
)
async def test_set_beyond_a_register_raises(
    default: Rig, method: str, rest: tuple[bool, ...], what: str, value: int
) -> None:
    with pytest.raises(ValueError, match=f"^{what} {value} does not fit a 64-bit register$"):
        getattr(default.timer, method)(value, *rest)

    assert (default.timer.get_count(), default.timer.get_limit()) == (0, 0)


async def test_late_by_a_few_cycles_makes_up_for_each(context: AioContext, default: Rig) -> None:
    """The wall clock jumps ahead: to the timer it is as if the host had slept."""
    fired: list[int] = []
    timer = PTimer(context, default.clocks.host, lambda: fired.append(1), NO_ROUND_DOWN)
    timer.set_period(MILLISECOND)
    timer.set_limit(10, reload=True)
    timer.run(oneshot=False)

    default.time.set_wall(100 * HOUR + 1003 * MILLISECOND + 1)
    default.time.advance(0)

    assert (len(fired), timer.get_count()) == (100, 7)


async def test_late_by_very_many_cycles_triggers_once_and_keeps_step(context: AioContext, default: Rig) -> None:
    fired: list[int] = []
    timer = PTimer(context, default.clocks.host, lambda: fired.append(1), NO_ROUND_DOWN)
    timer.set_period(MILLISECOND)
    timer.set_limit(10, reload=True)
    timer.run(oneshot=False)

    default.time.set_wall(101 * HOUR + 3 * MILLISECOND + 1)
    default.time.advance(0)

    assert 10 * MAX_CATCH_UP * MILLISECOND < HOUR
    assert (len(fired), timer.get_count()) == (1, 7)
    default.time.advance(7 * MILLISECOND - 2)
    assert len(fired) == 1
    default.time.advance(1)
    assert len(fired) == 2


async def test_get_count_wall_clock_set_back_shows_no_more_than_there_was(context: AioContext, default: Rig) -> None:
    timer = PTimer(context, default.clocks.host, lambda: None, NO_ROUND_DOWN)
    timer.set_period(MILLISECOND)
    timer.set_limit(10, reload=True)
    timer.run(oneshot=False)

    default.time.set_wall(HOUR)

    assert timer.get_count() == 10


@pytest.mark.parametrize(("policy", "shown"), [(DEFAULT, 0), (NO_ROUND_DOWN, 1)])
async def test_get_count_while_the_trigger_is_late_is_the_last(
    context: AioContext, default: Rig, policy: PTimerPolicy, shown: int
) -> None:
    timer = PTimer(context, default.clocks.host, lambda: None, policy)
    timer.set_period(MILLISECOND)
    timer.set_limit(10, reload=True)
    timer.run(oneshot=False)

    default.time.set_wall(200 * HOUR)  # and nobody runs the timers

    assert timer.get_count() == shown


async def test_virtual_clock_stopped_the_counter_stands_still(context: AioContext, default: Rig) -> None:
    timer = PTimer(context, default.clocks.virtual, lambda: None, NO_ROUND_DOWN)
    timer.set_period(P)
    timer.set_limit(10, reload=True)
    timer.run(oneshot=False)
    default.clocks.run_virtual(True)
    default.advance(2 * P + 1)

    default.clocks.run_virtual(False)
    default.advance(HOUR)

    assert timer.get_count() == 8


async def test_close_twice_does_not_run_again(default: Rig) -> None:
    default.start(oneshot=False, limit=10)

    default.timer.close()
    default.timer.close()
    default.timer.run(oneshot=False)

    assert (default.advance(HOUR), default.timer.get_count()) == (0, 10)


async def test_policies_that_exclude_each_other_raise(context: AioContext) -> None:
    message = "^NO_IMMEDIATE_TRIGGER and TRIGGER_ONLY_ON_DECREMENT exclude each other$"

    with pytest.raises(ValueError, match=message):
        Rig(context, NO_TRIGGER | ON_DECREMENT)


# ---- properties


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
