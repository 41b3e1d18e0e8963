# SPDX-License-Identifier: GPL-2.0-or-later
"""Timer.move: to another context, with its deadline, whoever sets it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from asyncemu.loop import AioContext, Clocks, IOThread, current_context
from asyncemu.testing.fake_clock import FakeClock
from tests.loop.conftest import InThread

HOUR = 3600 * 1_000_000_000


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()


@pytest.fixture
def clocks(time: FakeClock) -> Clocks:
    return Clocks(time)


@pytest.fixture
async def other(context: AioContext) -> AsyncIterator[AioContext]:
    """A second context in the test's thread."""
    other = AioContext(asyncio.get_running_loop(), "other")
    yield other
    other.close()


@pytest.fixture
async def iothread(context: AioContext) -> AsyncIterator[IOThread]:
    iothread = IOThread(context, "io")
    await iothread.start()
    yield iothread
    await iothread.stop()


@pytest.mark.both_loops
async def test_move_pending_fires_there(context: AioContext, iothread: IOThread) -> None:
    clock = Clocks().realtime
    fired_in: asyncio.Future[AioContext | None] = asyncio.get_running_loop().create_future()

    def fired() -> None:
        here = current_context()
        context.schedule_oneshot(lambda: fired_in.set_result(here))

    timer = context.timer(clock, fired)
    timer.mod(clock.now() + 1_000_000)
    timer.move(iothread.aio_context)

    assert await fired_in is iothread.aio_context
    assert timer.context is iothread.aio_context


async def test_move_keeps_the_deadline(context: AioContext, other: AioContext, time: FakeClock, clocks: Clocks) -> None:
    fired: list[int] = []
    timer = context.timer(clocks.realtime, lambda: fired.append(time.monotonic_ns()))

    timer.mod(5)
    timer.move(other)
    time.advance(10)

    assert (fired, context.next_deadline(time), timer.pending) == ([5], None, False)


async def test_move_not_set_stays_so(context: AioContext, other: AioContext, time: FakeClock, clocks: Clocks) -> None:
    fired: list[str] = []
    timer = context.timer(clocks.realtime, lambda: fired.append("fired"))

    timer.move(other)
    time.advance(10)
    timer.mod(20)
    time.advance(10)

    assert fired == ["fired"]


async def test_move_leaves_nothing_that_could_fire_in_the_old_context(
    context: AioContext, other: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    """What it leaves in the old list is stale, also when both lists have set as many timers."""
    fired: list[int] = []
    timer = context.timer(clocks.realtime, lambda: fired.append(time.monotonic_ns()))

    timer.mod(5)
    timer.move(other)
    timer.mod(9)
    time.advance(8)
    early = list(fired)
    time.advance(8)

    assert (early, fired) == ([], [9])


async def test_move_by_another_timer_of_the_same_run_fires_once(
    context: AioContext, other: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[str] = []
    first = context.timer(clocks.realtime, lambda: second.move(other))
    second = context.timer(clocks.realtime, lambda: fired.append(second.context.name))

    first.mod(5)
    second.mod(5)
    time.advance(5)

    assert fired == ["other"]


async def test_move_by_its_own_callback_then_set_fires_there(
    context: AioContext, other: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[str] = []

    def callback() -> None:
        fired.append(timer.context.name)
        if timer.context is context:
            timer.move(other)
            timer.mod(7)

    timer = context.timer(clocks.realtime, callback)
    timer.mod(5)
    time.advance(10)

    assert fired == ["test", "other"]


async def test_move_to_where_it_is_changes_nothing(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    fired: list[int] = []
    timer = context.timer(clocks.realtime, lambda: fired.append(time.monotonic_ns()))

    timer.mod(5)
    timer.move(context)
    time.advance(10)

    assert fired == [5]


async def test_set_that_finds_it_moved_begins_anew_there(
    context: AioContext, other: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    """A thread has looked in which list the timer is; until it has that list's lock it has moved."""
    timer = context.timer(clocks.realtime, lambda: None)
    old_list = timer.timers
    timer.move(other)

    answers = (old_list.set(timer, 5), old_list.cancel(timer))

    assert (answers, timer.pending, context.next_deadline(time)) == ((None, False), False, None)


async def test_two_contexts_that_move_timers_to_each_other_do_not_deadlock(
    context: AioContext, iothread: IOThread
) -> None:
    clock = Clocks().realtime
    other = iothread.aio_context
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wander(timers: list[int], here: AioContext, there: AioContext) -> None:
        for number in timers:
            timer = here.timer(clock, int)
            timer.mod(clock.now() + HOUR + number)
            timer.move(there)
            timer.cancel()

    def over_there() -> None:
        wander(list(range(2000)), other, context)
        context.schedule_oneshot(partial(ended.set_result, None))

    other.schedule_oneshot(over_there)
    wander(list(range(2000)), context, other)
    await ended

    assert (context.next_deadline(), other.next_deadline()) == (None, None)


async def test_move_ever_again_while_a_thread_sets_it_fires_at_home_and_never_early(
    context: AioContext, iothread: IOThread, in_thread: InThread
) -> None:
    clock = Clocks().realtime
    settings = 300
    homes = [context, iothread.aio_context]
    wrong: list[object] = []
    last: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    wanted = [0]
    stop = clock.now() + HOUR

    def fired() -> None:
        home = timer.context
        if current_context() is not home:
            wrong.append(current_context())
        if wanted[0] == stop:
            context.schedule_oneshot(partial(last.set_result, None))
        else:
            timer.move(homes[1 - homes.index(home)])

    timer = context.timer(clock, fired)

    def keep_setting() -> None:
        for number in range(settings):
            timer.mod(clock.now() + number % 5 * 10_000)
        wanted[0] = stop
        timer.mod(clock.now())

    in_thread(keep_setting)
    await last

    assert wrong == []
