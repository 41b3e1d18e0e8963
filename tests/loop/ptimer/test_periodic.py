# SPDX-License-Identifier: GPL-2.0-or-later
"""PTimer: counting down ever again, and changes while it runs."""

from __future__ import annotations

from tests.loop.ptimer.rig import (
    HOUR,
    P,
    Rig,
)

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
