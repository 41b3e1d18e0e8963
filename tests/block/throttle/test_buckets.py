# SPDX-License-Identifier: GPL-2.0-or-later
"""Leaky buckets, with time as an argument: what QEMU's test-throttle.c asks of its own, and more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block.throttle.buckets import READ, SECOND_NS, WRITE, LeakyBucket, ThrottleState
from asyncemu.block.throttle.config import (
    BPS_READ,
    BPS_TOTAL,
    BPS_WRITE,
    IOPS_READ,
    IOPS_TOTAL,
    IOPS_WRITE,
    BucketLimit,
    ThrottleConfig,
)


def config(iops_size: int = 0, **limits: BucketLimit) -> ThrottleConfig:
    """With ``bps_total=BucketLimit(...)`` and so on."""
    names = ("bps_total", "bps_read", "bps_write", "iops_total", "iops_read", "iops_write")
    return ThrottleConfig(tuple(limits.get(name, BucketLimit()) for name in names), iops_size)


# ---- one bucket


def test_leak_takes_the_rate_away_and_stops_at_empty() -> None:
    bucket = LeakyBucket(BucketLimit(150, 15))
    bucket.level = 1.5
    levels = []
    for _ in range(3):
        bucket.leak(SECOND_NS // 150)
        levels.append(bucket.level)
    assert levels == pytest.approx([0.5, 0, 0], abs=1e-6)


def test_leak_of_long_bursts_is_at_the_burst_rate() -> None:
    bucket = LeakyBucket(BucketLimit(150, 250, 2))
    bucket.burst_level = 6
    levels = []
    for _ in range(4):
        bucket.leak(SECOND_NS // 100)
        levels.append(bucket.burst_level)
    assert levels == pytest.approx([3.5, 1, 0, 0], abs=1e-6)


@pytest.mark.parametrize(("average", "level"), [(0, 1.5), (150, 15), (150, 9)])
def test_wait_without_limit_or_not_over_full_is_none(average: int, level: float) -> None:
    bucket = LeakyBucket(BucketLimit(average, 15))
    bucket.level = level
    assert bucket.wait_ns() == 0


def test_wait_half_a_unit_over_full_is_the_time_of_half_a_unit() -> None:
    bucket = LeakyBucket(BucketLimit(150, 150))
    bucket.level = 150.5
    assert bucket.wait_ns() == SECOND_NS // 150 // 2


def test_wait_without_burst_begins_behind_a_tenth_of_a_second() -> None:
    bucket = LeakyBucket(BucketLimit(100))
    bucket.add(10)
    assert bucket.wait_ns() == 0
    bucket.add(1)
    assert bucket.wait_ns() == SECOND_NS // 100


def test_wait_of_a_burst_of_two_seconds_comes_behind_two_seconds() -> None:
    bucket = LeakyBucket(BucketLimit(10, 200, 2))
    waits = []
    for _ in range(22):
        bucket.add(20)
        bucket.leak(SECOND_NS // 10)
        waits.append(bucket.wait_ns())
    assert bucket.burst_level == pytest.approx(0, abs=1e-6)
    # The bucket leaked meanwhile, which gives a tenth of a second more.
    assert waits == [0] * 21 + [pytest.approx(1.8 * SECOND_NS)]


def test_wait_within_a_burst_is_by_its_own_rate() -> None:
    bucket = LeakyBucket(BucketLimit(10, 200, 2))
    bucket.add(30)
    assert bucket.wait_ns() == 10 * SECOND_NS // 200


# ---- all of them


@pytest.mark.parametrize(
    ("length", "iops_size", "expected"),
    [
        (512, 0, 1.0),
        (1024, 0, 1.0),
        (64 * 512, 13 * 512, 64 / 13),
        (13 * 512, 13 * 512, 1.0),
        (512, 17, 512 / 17),
    ],
)
def test_account_counts_large_requests_as_several(length: int, iops_size: int, expected: float) -> None:
    limit = BucketLimit(150)
    state = ThrottleState(config(iops_size, iops_total=limit, iops_read=limit, iops_write=limit), 0)
    state.account(READ, length)
    state.account(WRITE, length)
    levels = [state.buckets[index].level for index in (IOPS_TOTAL, IOPS_READ, IOPS_WRITE)]
    assert levels == pytest.approx([2 * expected, expected, expected])


@pytest.mark.parametrize("iops_size", [0, 17])
def test_account_counts_bytes_whatever_the_iops_size(iops_size: int) -> None:
    limit = BucketLimit(150)
    state = ThrottleState(config(iops_size, bps_total=limit, bps_read=limit, bps_write=limit), 0)
    state.account(READ, 1024)
    state.account(WRITE, 512)
    assert [state.buckets[index].level for index in (BPS_TOTAL, BPS_READ, BPS_WRITE)] == [1536, 1024, 512]


def test_wait_is_that_of_the_fullest_bucket_of_the_direction() -> None:
    state = ThrottleState(config(bps_read=BucketLimit(1000), iops_read=BucketLimit(10), bps_write=BucketLimit(1)), 0)
    state.account(READ, 600)
    # Bytes: 500 too many at 1000 a second. Requests: none too many.
    assert state.wait_ns(READ, 0) == SECOND_NS // 2
    assert state.wait_ns(WRITE, 0) == 0


def test_wait_gets_shorter_as_time_passes() -> None:
    state = ThrottleState(config(bps_total=BucketLimit(1000)), 0)
    state.account(WRITE, 1100)
    waits = [state.wait_ns(READ, now) for now in (0, SECOND_NS // 4, SECOND_NS // 4, SECOND_NS, 2 * SECOND_NS)]
    assert waits == [SECOND_NS, 750_000_000, 750_000_000, 0, 0]


def test_wait_when_time_goes_back_leaks_nothing() -> None:
    state = ThrottleState(config(bps_total=BucketLimit(1000)), SECOND_NS)
    state.account(WRITE, 1100)
    assert state.wait_ns(READ, 0) == SECOND_NS


@given(
    st.integers(1, 10_000),
    st.integers(0, 5000),
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 2_000_000), st.integers(0, SECOND_NS)), min_size=1, max_size=50),
)
def test_rate_of_what_passes_stays_below_the_limit(
    average: int, more: int, seconds: int, requests: list[tuple[int, int]]
) -> None:
    limit = BucketLimit(average, average + more, seconds)
    state = ThrottleState(config(bps_total=limit), 0)
    now = passed = last = 0
    for length, pause in requests:
        now += pause
        while wait := state.wait_ns(READ, now):
            # Rounded down: at the latest a nanosecond behind it passes.
            now += max(wait, 1)
        # All but this one has passed within the limit: the burst, and what has leaked since.
        assert passed - last <= average * now / SECOND_NS + limit.maximum * seconds + 1e-3 * passed
        state.account(READ, length)
        passed, last = passed + length, length
