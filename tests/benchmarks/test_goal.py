# SPDX-License-Identifier: GPL-2.0-or-later
"""When a goal is reached."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.goal import Goal, Measurement, Spread, compare

POSITIVE = st.floats(min_value=1e-6, max_value=1e6)
PAIRS = st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=9)


def measured(ours: tuple[float, ...], peer: tuple[float, ...], goal: Goal | None = None) -> Measurement:
    return Measurement("boot", "s", ours, peer, goal)


def test_ratio_is_of_medians_not_of_means() -> None:
    assert measured((1.0, 2.0, 90.0), (4.0, 4.0, 4.0)).ratio == 0.5


def test_pair_ratios_keep_the_order_of_the_pairs() -> None:
    assert measured((1.0, 6.0), (2.0, 3.0)).pair_ratios == (0.5, 2.0)


@pytest.mark.parametrize(("ours", "reached"), [(0.9, True), (1.0, True), (1.01, False)])
def test_goal_of_ratio_is_reached_up_to_its_limit(ours: float, reached: bool) -> None:
    assert measured((ours,), (1.0,), Goal(1.0)).reached is reached


@pytest.mark.parametrize(("ours", "reached"), [(4.9, True), (5.0, True), (5.1, False)])
def test_absolute_goal_ignores_the_peer(ours: float, reached: bool) -> None:
    assert measured((ours,), (0.001,), Goal(5.0, absolute=True)).reached is reached


def test_measurement_without_goal_is_always_reached() -> None:
    assert measured((9.0,), (1.0,)).reached


def test_ratio_to_a_peer_that_used_nothing_is_infinite() -> None:
    assert measured((1.0,), (0.0,)).ratio == float("inf")


def test_ratio_of_nothing_to_nothing_is_one() -> None:
    assert measured((0.0,), (0.0,)).ratio == 1.0


@pytest.mark.parametrize(("ours", "peer"), [((), ()), ((1.0,), ()), ((1.0,), (1.0, 2.0))])
def test_measurement_without_pairs_raises_value_error(ours: tuple[float, ...], peer: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="boot"):
        measured(ours, peer)


def test_measurement_without_peer_has_no_ratio() -> None:
    alone = Measurement("alone", "s", (1.0, 2.0), None, Goal(1.5, absolute=True))
    assert math.isnan(alone.ratio)
    assert alone.pair_ratios == ()
    assert alone.reached


def test_measurement_without_peer_and_relative_goal_raises_value_error() -> None:
    with pytest.raises(ValueError, match="alone: a goal relative to no peer"):
        Measurement("alone", "s", (1.0,), None, Goal(1.5))


def test_measurement_without_peer_and_sample_raises_value_error() -> None:
    with pytest.raises(ValueError, match="alone: no sample of ours"):
        Measurement("alone", "s", (), None)


def test_spread_of_no_samples_raises_value_error() -> None:
    with pytest.raises(ValueError, match="no sample"):
        Spread.of(())


def test_compare_takes_one_value_of_each_sample() -> None:
    assert compare("length", "", ["a", "bb"], ["ccc", "dddd"], len) == Measurement("length", "", (1, 2), (3, 4))


@given(PAIRS)
def test_ratio_lies_between_smallest_and_largest_quotient(pairs: list[tuple[float, float]]) -> None:
    ours, peer = (tuple(side) for side in zip(*pairs, strict=True))
    slack = 1 + 1e-9
    assert min(ours) / max(peer) / slack <= measured(ours, peer).ratio <= max(ours) / min(peer) * slack


@given(POSITIVE, POSITIVE)
def test_goal_of_ratio_holds_exactly_when_the_ratio_is_within_it(ours: float, limit: float) -> None:
    assert measured((ours,), (1.0,), Goal(limit)).reached == (ours <= limit)
