# SPDX-License-Identifier: GPL-2.0-or-later
"""PTimer: periods, counts and limits of zero, and fractions of a nanosecond."""

from __future__ import annotations

from tests.loop.ptimer.rig import (
    HOUR,
    SECOND,
    P,
    Rig,
)

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
