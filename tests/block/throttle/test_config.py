# SPDX-License-Identifier: GPL-2.0-or-later
"""Which limits make sense, and what QEMU says of those that don't."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asyncemu.block.throttle.config import (
    BUCKET_NAMES,
    LARGEST_LENGTH,
    LARGEST_VALUE,
    BucketLimit,
    ThrottleConfig,
    ThrottleLimits,
)
from asyncemu.block.throttle.registry import limits_of_object
from asyncemu.errors import ConfigError

TOTALS = "bps/iops/max total values and read/write values cannot be used at the same time"
RANGE = "bps/iops/max values must be within [0, 1000000000000000]"


def problem(config: ThrottleConfig) -> str:
    """What is wrong with it; empty: nothing."""
    try:
        config.check("limits")
    except ConfigError as error:
        assert error.where == "limits"
        return error.problem
    return ""


def only(index: int, limit: BucketLimit) -> ThrottleConfig:
    """One bucket is limited."""
    buckets = list(ThrottleConfig().buckets)
    buckets[index] = limit
    return ThrottleConfig(tuple(buckets))


def with_iops(config: ThrottleConfig, index: int, limit: BucketLimit) -> ThrottleConfig:
    buckets = list(config.buckets)
    buckets[index] = limit
    return replace(config, buckets=tuple(buckets))


def test_no_limits_are_valid_and_not_enabled() -> None:
    assert problem(ThrottleConfig()) == ""
    assert not ThrottleConfig().enabled


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (BucketLimit(150), ""),
        (BucketLimit(-150), RANGE),
        (BucketLimit(LARGEST_VALUE), ""),
        (BucketLimit(LARGEST_VALUE, LARGEST_VALUE), ""),
        (BucketLimit(LARGEST_VALUE + 1), RANGE),
        (BucketLimit(LARGEST_VALUE, LARGEST_VALUE + 1), RANGE),
        (BucketLimit(1, -1), RANGE),
        (BucketLimit(1, 1, 0), "the burst length cannot be 0"),
        (BucketLimit(1, 1, LARGEST_VALUE), ""),
        (BucketLimit(1, 1, LARGEST_VALUE + 1), "burst length too high for this burst rate"),
        (BucketLimit(1, 2, LARGEST_VALUE // 2), ""),
        (BucketLimit(1, 3, LARGEST_VALUE // 2), "burst length too high for this burst rate"),
        (BucketLimit(1, LARGEST_VALUE, 1), ""),
        (BucketLimit(1, LARGEST_VALUE, 2), "burst length too high for this burst rate"),
        (BucketLimit(1, 0, 2), "burst length set without burst rate"),
        (BucketLimit(0, 100), "bps_max/iops_max require corresponding bps/iops values"),
        (BucketLimit(100, 30), "bps_max/iops_max cannot be lower than bps/iops"),
        (BucketLimit(100, 100), ""),
    ],
)
def test_check_one_bucket_says_what_qemu_says(index: int, limit: BucketLimit, expected: str) -> None:
    assert problem(only(index, limit)) == expected


@pytest.mark.parametrize("total", [0, 3])
@pytest.mark.parametrize("field", ["average", "maximum"])
@pytest.mark.parametrize(("others", "expected"), [((1,), TOTALS), ((2,), TOTALS), ((1, 2), TOTALS), ((), "")])
def test_check_total_with_parts_is_a_conflict(total: int, field: str, others: tuple[int, ...], expected: str) -> None:
    limit = BucketLimit(1, 1 if field == "maximum" else 0)
    config = only(total, limit)
    for other in others:
        config = with_iops(config, total + other, limit)
    assert problem(config) == expected


@pytest.mark.parametrize("total", [0, 3])
def test_check_read_and_write_together_is_valid(total: int) -> None:
    assert problem(with_iops(only(total + 1, BucketLimit(1)), total + 2, BucketLimit(1))) == ""


@pytest.mark.parametrize("index", range(6))
def test_check_iops_size_needs_a_limit_of_requests(index: int) -> None:
    config = replace(only(index, BucketLimit(10)), iops_size=4096)
    assert problem(config) == ("" if index >= 3 else "iops size requires an iops value to be set")


@pytest.mark.parametrize("index", range(6))
def test_enabled_with_one_limit(index: int) -> None:
    assert only(index, BucketLimit(1)).enabled


def test_limits_of_a_table_are_all_taken() -> None:
    table = {name + suffix: 10 for name in ("iops-read", "iops-write", "bps-total") for suffix in ("", "-max")}
    config = ThrottleLimits.parse({**table, "bps-total-max-length": 3, "iops-size": 512}, "x").config("x")
    assert dict(zip(BUCKET_NAMES, config.buckets, strict=True)) == {
        "bps-total": BucketLimit(10, 10, 3),
        "bps-read": BucketLimit(),
        "bps-write": BucketLimit(),
        "iops-total": BucketLimit(),
        "iops-read": BucketLimit(10, 10),
        "iops-write": BucketLimit(10, 10),
    }
    assert config.iops_size == 512


@pytest.mark.parametrize("length", [LARGEST_LENGTH + 1, -1])
def test_limits_with_a_length_that_is_none_say_the_range(length: int) -> None:
    limits = ThrottleLimits.parse({"iops-total-max-length": length}, "g")
    with pytest.raises(ConfigError) as caught:
        limits.config("g")
    assert caught.value.problem == "iops-total-max-length value must be in the range [0, 4294967295]"


@pytest.mark.parametrize(
    "properties",
    [
        {"limits": {"iops-total": 7}},
        {"limits.iops-total": 7},
        {"x-iops-total": 7},
        {"x-iops-total": "7"},
        {"x-iops-total": 8, "limits.iops-total": 7},
    ],
)
def test_limits_of_object_in_each_spelling(properties: dict[str, object]) -> None:
    assert limits_of_object(properties, "g").buckets[3] == BucketLimit(7)


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"x-iops-total": -1}, "Property values cannot be negative"),
        ({"limits.iops-total": -1}, RANGE),
        ({"limits.foo": 1}, "Parameter 'limits.foo' is unexpected"),
        ({"foo": 1}, "Parameter 'foo' is unexpected"),
        ({"limits.iops-total": 1, "limits.iops-read": 1}, TOTALS),
        ({"limits.iops-size": -1}, "Property values cannot be negative"),
    ],
)
def test_limits_of_object_wrong_says_what_qemu_says(properties: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        limits_of_object(properties, "g")
    assert caught.value.problem == expected
