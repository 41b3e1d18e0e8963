# SPDX-License-Identifier: GPL-2.0-or-later
"""One timer for many."""

from __future__ import annotations

from asyncemu.loop import AioContext, Clocks
from asyncemu.net.user.deadlines import GRAIN, STALE_ALLOWED, Deadlines
from asyncemu.testing.fake_clock import FakeClock


class Waiting:
    def __init__(self, deadline: int | None) -> None:
        self.deadline = deadline
        self.armed: int | None = None
        self.fired: list[int] = []

    def next_deadline(self) -> int | None:
        return self.deadline

    def on_deadline(self, now: int) -> None:
        self.fired.append(now)
        self.deadline = None


def make(context: AioContext) -> tuple[FakeClock, Deadlines, list[str]]:
    time = FakeClock()
    clocks = Clocks(time)
    clocks.run_virtual(True)
    after: list[str] = []
    return time, Deadlines(context, clocks.virtual, lambda: after.append("after")), after


async def test_owner_is_called_at_its_deadline_or_a_grain_later(context: AioContext) -> None:
    time, deadlines, after = make(context)
    owner = Waiting(10 * GRAIN + 1)
    deadlines.touch(owner)

    time.advance(10 * GRAIN)
    before = list(owner.fired)
    time.advance(GRAIN)

    assert (before, owner.fired, after) == ([], [11 * GRAIN], ["after"])


async def test_deadline_that_moved_later_is_kept_to(context: AioContext) -> None:
    time, deadlines, _ = make(context)
    owner = Waiting(GRAIN)
    deadlines.touch(owner)
    owner.deadline = 5 * GRAIN

    time.advance(4 * GRAIN)
    before = list(owner.fired)
    time.advance(GRAIN)

    assert (before, owner.fired) == ([], [5 * GRAIN])


async def test_deadline_that_moved_sooner_is_kept_to(context: AioContext) -> None:
    time, deadlines, _ = make(context)
    owner = Waiting(5 * GRAIN)
    deadlines.touch(owner)
    owner.deadline = GRAIN
    deadlines.touch(owner)

    time.advance(10 * GRAIN)

    assert owner.fired == [GRAIN]


async def test_forgotten_owner_is_not_called(context: AioContext) -> None:
    time, deadlines, _ = make(context)
    owner = Waiting(GRAIN)
    deadlines.touch(owner)
    deadlines.forget(owner)

    time.advance(10 * GRAIN)

    assert owner.fired == []


async def test_deadlines_that_come_sooner_all_the_time_stay_bounded(context: AioContext) -> None:
    _, deadlines, _ = make(context)
    owner = Waiting(None)
    for number in range(10 * STALE_ALLOWED, 0, -1):
        owner.deadline = number * GRAIN
        deadlines.touch(owner)

    assert len(deadlines) <= 2 + STALE_ALLOWED
