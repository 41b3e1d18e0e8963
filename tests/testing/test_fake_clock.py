# SPDX-License-Identifier: GPL-2.0-or-later
"""FakeClock: all that falls due runs, in order, and nothing else moves time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.loop import AioContext, Clocks
from asyncemu.testing.fake_clock import FakeClock


def test_time_stands_still_between_advances() -> None:
    time = FakeClock(monotonic_ns=7, wall_ns=9)

    assert [time.monotonic_ns(), time.monotonic_ns(), time.wall_ns()] == [7, 7, 9]


@given(st.integers(0, 1 << 70), st.integers(-(1 << 70), 1 << 70))
def test_advance_moves_both_times_and_set_wall_one(ns: int, wall: int) -> None:
    time = FakeClock()

    time.advance(ns)
    time.set_wall(wall)
    time.advance(1)

    assert (time.monotonic_ns(), time.wall_ns()) == (ns + 1, wall + 1)


async def test_advance_runs_two_contexts_in_the_order_of_deadlines(context: AioContext) -> None:
    other = AioContext(context.loop, "other")
    time = FakeClock()
    clock = Clocks(time).realtime
    fired: list[tuple[str, int]] = []
    for each, delay in ((context, 30), (other, 20), (context, 10), (other, 40)):
        timer = each.timer(clock, lambda each=each: fired.append((each.name, clock.now())))  # type: ignore[misc]
        timer.mod(delay)

    time.advance(40)
    other.close()

    assert fired == [("test", 10), ("other", 20), ("test", 30), ("other", 40)]


async def test_advance_what_a_callback_sets_within_the_step_runs(context: AioContext) -> None:
    time = FakeClock()
    clock = Clocks(time).realtime
    fired: list[int] = []
    second = context.timer(clock, lambda: fired.append(clock.now()))
    context.timer(clock, lambda: second.mod(clock.now() + 3)).mod(5)

    time.advance(10)

    assert (fired, time.monotonic_ns()) == ([8], 10)


async def test_advance_zero_runs_what_is_due_already(context: AioContext) -> None:
    time = FakeClock(monotonic_ns=100)
    fired: list[str] = []
    context.timer(Clocks(time).realtime, lambda: fired.append("fired")).mod(50)

    time.advance(0)

    assert (fired, time.monotonic_ns()) == (["fired"], 100)


async def test_advance_timer_that_is_due_for_ever_is_an_error(context: AioContext) -> None:
    time = FakeClock()
    timer = context.timer(Clocks(time).realtime, lambda: timer.mod(0))
    timer.mod(0)

    with pytest.raises(RuntimeError, match="timers have been due at 0 ns 1001 times in a row"):
        time.advance(1)
