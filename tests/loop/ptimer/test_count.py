# SPDX-License-Identifier: GPL-2.0-or-later
"""PTimer: setting the count and the limit, and counting down once."""

from __future__ import annotations

from tests.loop.ptimer.rig import (
    HOUR,
    POLICIES,
    P,
    Rig,
)


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
