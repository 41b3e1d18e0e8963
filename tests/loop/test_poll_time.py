# SPDX-License-Identifier: GPL-2.0-or-later
"""PollTime: how long to poll, learnt from sleeps; and when to rest."""

from __future__ import annotations

import pytest

from asyncemu.loop.poll_time import FIRST_POLL, FIRST_REST, LONGEST_REST, PollParameters, PollTime

MAX = 32_768


def poll_time(*, max_ns: int = MAX, grow: int = 0, shrink: int = 0) -> PollTime:
    time = PollTime()
    time.set_parameters(PollParameters(max_ns, grow, shrink))
    return time


def after(time: PollTime, *sleeps: int) -> list[int]:
    """``poll_ns`` after each of the sleeps."""
    lengths = []
    for block_ns in sleeps:
        time.slept(block_ns)
        lengths.append(time.poll_ns)
    return lengths


def test_begins_with_none() -> None:
    time = poll_time()

    assert (time.poll_ns, time.may_begin(0)) == (0, False)


def test_slept_for_less_than_the_most_grows_from_four_microseconds_to_the_most() -> None:
    assert after(poll_time(), *[MAX] * 5) == [4_000, 8_000, 16_000, 32_000, MAX]


def test_slept_grows_by_the_factor_given() -> None:
    assert after(poll_time(grow=3), *[MAX] * 3) == [4_000, 12_000, MAX]


def test_slept_never_grows_past_a_most_below_the_first_step() -> None:
    assert after(poll_time(max_ns=1_000), 900, 1_000) == [1_000, 1_000]


@pytest.mark.parametrize("block_ns", [0, 1, FIRST_POLL])
def test_slept_for_what_polling_would_have_caught_stays(block_ns: int) -> None:
    assert after(poll_time(), FIRST_POLL, block_ns, block_ns) == [FIRST_POLL] * 3


def test_slept_for_what_polling_would_have_missed_grows() -> None:
    assert after(poll_time(), FIRST_POLL, FIRST_POLL + 1) == [FIRST_POLL, 2 * FIRST_POLL]


def test_slept_too_long_is_back_to_none_at_once() -> None:
    assert after(poll_time(), MAX, MAX, MAX + 1) == [4_000, 8_000, 0]


def test_slept_too_long_shrinks_by_the_factor_given() -> None:
    assert after(poll_time(shrink=2), MAX, MAX, *[MAX + 1] * 2) == [4_000, 8_000, 4_000, 2_000]


def test_off_stays_off_however_short_the_sleep() -> None:
    time = poll_time(max_ns=0)

    assert after(time, 0, 1, FIRST_POLL) == [0, 0, 0]
    assert not time.may_begin(0)


def test_set_parameters_begins_anew() -> None:
    time = poll_time()
    time.slept(MAX)
    time.contended(0)

    time.set_parameters(PollParameters(MAX))
    begun_anew = time.poll_ns
    time.slept(MAX)

    assert (begun_anew, time.may_begin(0)) == (0, True)


def test_contended_rests_and_then_may_begin() -> None:
    time = poll_time()
    time.slept(MAX)

    time.contended(100)

    assert [time.may_begin(100 + FIRST_REST - 1), time.may_begin(100 + FIRST_REST)] == [False, True]


def rest(time: PollTime) -> int:
    """How long it rests, by bisection."""
    time.contended(0)
    low, high = 0, 4 * LONGEST_REST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if time.may_begin(middle) else (middle + 1, high)
    return low


def test_contended_again_rests_twice_as_long_up_to_the_longest() -> None:
    time = poll_time()
    time.slept(MAX)

    rests = [rest(time) for _ in range(12)]

    assert rests[:3] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST]
    assert rests[-1] == LONGEST_REST


def test_caught_shortens_the_next_rest() -> None:
    time = poll_time()
    time.slept(MAX)
    time.contended(0)
    time.contended(0)

    time.caught()

    assert rest(time) == FIRST_REST
