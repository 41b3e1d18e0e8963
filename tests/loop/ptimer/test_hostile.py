# SPDX-License-Identifier: GPL-2.0-or-later
"""PTimer: a hostile guest, a slow host."""

from __future__ import annotations

import pytest

from asyncemu.loop import AioContext
from asyncemu.loop.ptimer import MAX_CATCH_UP, MAX_VALUE, MIN_CYCLE, PTimer, PTimerPolicy
from tests.loop.ptimer.rig import (
    DEFAULT,
    HOUR,
    MILLISECOND,
    NO_ROUND_DOWN,
    NO_TRIGGER,
    ON_DECREMENT,
    P,
    Rig,
)


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
