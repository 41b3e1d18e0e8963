# SPDX-License-Identifier: GPL-2.0-or-later
"""RateLimit: the delays, by a time that is a number; and one sleep on a clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.coroutines import RateLimit, start
from asyncemu.coroutines.rate_limit import SECOND_NS, SLICE_NS
from asyncemu.loop import AioContext, Clocks
from asyncemu.testing.fake_clock import FakeClock
from tests.coroutines.conftest import rounds


def limit_of(units_per_s: int) -> RateLimit:
    limit = RateLimit()
    limit.set_speed(units_per_s)
    return limit


def test_no_limit_no_delay() -> None:
    assert [RateLimit().calculate_delay(10**9, now) for now in (0, 1)] == [0, 0]


def test_delay_within_the_quota_is_none() -> None:
    limit = limit_of(1000)  # 100 a slice

    assert [limit.calculate_delay(33, now) for now in (1, 2, 3)] == [0, 0, 0]


def test_delay_at_the_quota_is_the_rest_of_the_slice() -> None:
    limit = limit_of(1000)

    assert limit.calculate_delay(60, 1) == 0
    assert limit.calculate_delay(40, 30_000_001) == SLICE_NS - 30_000_000


def test_delay_of_work_beyond_the_quota_is_so_many_slices() -> None:
    limit = limit_of(1000)

    assert limit.calculate_delay(250, 1) == SLICE_NS * 5 // 2


def test_delay_in_a_new_slice_begins_anew() -> None:
    limit = limit_of(1000)
    limit.calculate_delay(99, 1)

    assert limit.calculate_delay(99, SLICE_NS + 2) == 0


def test_delay_is_never_negative() -> None:
    limit = limit_of(1000)
    limit.calculate_delay(100, 1)

    assert limit.calculate_delay(0, SLICE_NS + 1) == 0


def test_set_speed_slow_is_one_unit_a_slice() -> None:
    assert limit_of(1).calculate_delay(1, 1) == SLICE_NS


def test_set_speed_zero_lifts_the_limit() -> None:
    limit = limit_of(1)
    limit.set_speed(0)

    assert limit.calculate_delay(10**9, 1) == 0


@pytest.mark.parametrize(("speed", "slice_ns"), [(-1, 1), (1, 0)])
def test_set_speed_impossible_is_refused(speed: int, slice_ns: int) -> None:
    with pytest.raises(ValueError, match=f"{speed} units a second in slices of {slice_ns} ns"):
        RateLimit().set_speed(speed, slice_ns)


@given(st.integers(100, 10**6), st.lists(st.integers(1, 10**5), min_size=1, max_size=50))
def test_rate_of_one_who_waits_is_never_exceeded_by_more_than_a_slice(speed: int, work: list[int]) -> None:
    limit = limit_of(speed)
    now = 1
    for units in work:
        now += limit.calculate_delay(units, now)
    quota = speed * SLICE_NS // SECOND_NS

    assert now - 1 >= (sum(work) - quota) * SLICE_NS // quota - len(work)


@pytest.mark.both_loops
async def test_wait_sleeps_on_the_clock(context: AioContext) -> None:
    time = FakeClock(1)
    clocks = Clocks(time)
    limit = limit_of(1000)
    coroutine = start(context, limit.wait(200, clocks.realtime))

    time.advance(2 * SLICE_NS - 1)
    await rounds(2)
    before = coroutine.done()
    time.advance(1)
    await rounds(2)

    assert (before, coroutine.done()) == (False, True)


@pytest.mark.both_loops
async def test_wait_within_the_quota_returns_in_place(context: AioContext) -> None:
    assert start(context, limit_of(1000).wait(1, Clocks(FakeClock(1)).realtime)).done()
