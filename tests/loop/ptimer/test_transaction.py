# SPDX-License-Identifier: GPL-2.0-or-later
"""PTimer: transactions, and what the callback may do."""

from __future__ import annotations

from typing import Any

import pytest

from asyncemu.loop.ptimer import MAX_RELOADS
from tests.loop.ptimer.rig import (
    HOUR,
    P,
    Rig,
)


async def test_transaction_triggers_once_at_its_end(default: Rig) -> None:
    with default.timer.transaction():
        default.timer.set_period(P)
        default.timer.run(oneshot=False)
        default.timer.set_count(0)
        default.timer.set_limit(5, reload=False)
        within = default.triggers

    assert (within, default.triggers, default.timer.get_count()) == (0, 1, 5)


async def test_transaction_zero_that_is_taken_back_does_not_trigger(default: Rig) -> None:
    default.start(oneshot=False, limit=10)

    with default.timer.transaction():
        default.timer.set_count(0)
        default.timer.set_count(4)
        default.timer.set_period(2 * P)

    assert (default.triggers, default.timer.get_count()) == (0, 4)
    assert (default.advance(8 * P - 1), default.advance(1)) == (0, 1)


async def test_transaction_stop_after_set_count_keeps_the_count(default: Rig) -> None:
    default.start(oneshot=False, limit=10)

    with default.timer.transaction():
        default.timer.set_count(4)
        default.timer.stop()

    assert (default.advance(HOUR), default.timer.get_count()) == (0, 4)


async def test_transaction_block_raises_what_it_did_is_done(default: Rig) -> None:
    default.start(oneshot=False, limit=10)

    with pytest.raises(ZeroDivisionError), default.timer.transaction():
        default.timer.set_count(3)
        raise ZeroDivisionError

    assert (default.advance(3 * P - 1), default.advance(1)) == (0, 1)


async def test_transaction_held_over_the_end_of_the_old_cycle_does_not_trigger_for_it(default: Rig) -> None:
    default.start(oneshot=False, limit=2)

    with default.timer.transaction():
        default.timer.set_count(10)
        within = default.advance(5 * P)

    assert (within, default.advance(10 * P - 1), default.advance(1)) == (0, 0, 1)


async def test_callback_finds_the_counter_reloaded(default: Rig) -> None:
    seen: list[int] = []
    default.then = lambda: seen.append(default.timer.get_count())

    default.start(oneshot=False, limit=10, count=0)
    default.advance(20 * P)

    assert seen == [10, 10, 10]


async def test_callback_stops_the_timer_at_the_limit(default: Rig) -> None:
    default.then = default.timer.stop
    default.start(oneshot=False, limit=10)

    assert (default.advance(HOUR), default.timer.get_count()) == (1, 10)


async def test_callback_closes_the_timer_from_within_set_count(default: Rig) -> None:
    default.then = default.timer.close
    default.start(oneshot=False, limit=10)

    default.timer.set_count(0)

    assert (default.triggers, default.advance(HOUR)) == (1, 0)


async def test_callback_sets_a_count_with_limit_0_it_goes_on(default: Rig) -> None:
    default.then = lambda: default.timer.set_count(3)
    default.start(oneshot=False, count=1)

    assert [default.advance(P), default.advance(3 * P), default.advance(3 * P)] == [1, 1, 1]


async def test_callback_runs_the_oneshot_again(default: Rig) -> None:
    def again() -> None:
        with default.timer.transaction():
            default.timer.set_count(5)
            default.timer.run(oneshot=True)

    default.then = again
    default.start(oneshot=True, count=1)

    assert [default.advance(P), default.advance(5 * P - 1), default.advance(1)] == [1, 0, 1]


async def test_callback_zeroes_the_count_is_called_after_it_has_returned(default: Rig) -> None:
    order: list[str] = []

    def zero_once() -> None:
        order.append("called")
        default.then = lambda: order.append("again")
        default.timer.set_count(0)
        order.append("returns")

    default.then = zero_once
    default.start(oneshot=False, limit=10)
    default.advance(10 * P)

    assert order == ["called", "returns", "again"]


async def test_callback_zeroes_the_count_ever_again_stops(default: Rig) -> None:
    default.then = lambda: default.timer.set_count(0)
    default.start(oneshot=False, limit=10)

    assert (default.advance(10 * P), default.advance(HOUR)) == (1 + MAX_RELOADS, 0)


async def test_callback_raises_is_reported_and_the_timer_goes_on(default: Rig, reported: list[dict[str, Any]]) -> None:
    error = ValueError("broken")

    def broken() -> None:
        raise error

    default.then = broken
    default.start(oneshot=False, limit=10, count=0)

    assert default.advance(20 * P) == 2
    assert [(each["message"], each["exception"]) for each in reported] == [("ptimer callback of test", error)] * 3
