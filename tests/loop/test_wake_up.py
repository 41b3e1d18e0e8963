# SPDX-License-Identifier: GPL-2.0-or-later
"""When another thread has to ring: never while the context will look by itself, and always when it may be asleep.

``asleep`` stands for the loop's sleep: the test's thread waits for another one without running its loop.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from asyncemu.loop import AioContext, Clocks
from asyncemu.testing.fake_clock import FakeClock
from tests.loop.conftest import Countdown, InThread

pytestmark = pytest.mark.both_loops


class Rings:
    """What ``context`` has been rung since the last look."""

    def __init__(self, context: AioContext) -> None:
        self._context = context
        self._before = self._now()

    def _now(self) -> tuple[int, int]:
        statistics = self._context.statistics()
        return statistics["wakeups"], statistics["wakeups_elided"]

    def since(self) -> dict[str, int]:
        before, self._before = self._before, self._now()
        return {"made": self._before[0] - before[0], "elided": self._before[1] - before[1]}


@pytest.fixture
async def rings(context: AioContext) -> Rings:
    # A round, so that nothing is left of the beginning.
    await asyncio.sleep(0)
    return Rings(context)


@pytest.fixture
def elsewhere(in_thread: InThread) -> Callable[[Callable[[], object]], None]:
    """Do it in another thread and wait for that, without running the loop."""
    return lambda function: in_thread(function).join()


async def ran(context: AioContext) -> None:
    """Return when all has run that is scheduled now."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    context.bh_new(lambda: over.set_result(None)).schedule()
    await over
    await asyncio.sleep(0)


Elsewhere = Callable[[Callable[[], object]], None]


async def test_asleep_is_rung_once_for_all(context: AioContext, rings: Rings, elsewhere: Elsewhere) -> None:
    calls: list[int] = []

    def schedule() -> None:
        for number in range(10):
            context.schedule_oneshot(partial(calls.append, number))

    elsewhere(schedule)
    rung = rings.since()
    await ran(context)

    assert (rung, calls) == ({"made": 1, "elided": 9}, list(range(10)))


async def test_asleep_again_is_rung_again(context: AioContext, rings: Rings, elsewhere: Elsewhere) -> None:
    for _ in range(3):
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        elsewhere(partial(context.schedule_oneshot, partial(heard.set_result, None)))
        await heard

    assert rings.since() == {"made": 3, "elided": 0}


async def test_scheduled_twice_by_others_is_handed_in_once(
    context: AioContext, rings: Rings, elsewhere: Elsewhere
) -> None:
    bottom_half = context.bh_new(lambda: None)

    elsewhere(bottom_half.schedule)
    elsewhere(bottom_half.schedule)

    assert rings.since() == {"made": 1, "elided": 0}


async def test_in_a_bottom_half_nobody_rings(context: AioContext, rings: Rings, elsewhere: Elsewhere) -> None:
    calls: list[str] = []

    context.schedule_oneshot(lambda: elsewhere(lambda: context.schedule_oneshot(lambda: calls.append("ran"))))
    await ran(context)
    await ran(context)

    assert (rings.since(), calls) == ({"made": 0, "elided": 1}, ["ran"])


async def test_while_a_round_is_to_come_nobody_rings_and_it_takes_what_comes(
    context: AioContext, rings: Rings, elsewhere: Elsewhere
) -> None:
    calls: list[str] = []

    context.schedule_oneshot(lambda: calls.append("home"))
    elsewhere(lambda: context.schedule_oneshot(lambda: calls.append("other")))
    await asyncio.sleep(0)

    assert (rings.since(), calls) == ({"made": 0, "elided": 1}, ["home", "other"])


async def test_in_a_timer_nobody_rings(context: AioContext, rings: Rings, elsewhere: Elsewhere) -> None:
    time = FakeClock()
    calls: list[str] = []
    timer = context.timer(
        Clocks(time).realtime, lambda: elsewhere(lambda: context.schedule_oneshot(lambda: calls.append("ran")))
    )

    timer.mod(1)
    time.advance(1)
    rung = rings.since()
    await ran(context)

    assert (rung, calls) == ({"made": 0, "elided": 1}, ["ran"])


@pytest.fixture
def readable() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.send(b"x")
    yield ours
    ours.close()
    theirs.close()


async def test_in_a_handler_nobody_rings(
    context: AioContext, rings: Rings, elsewhere: Elsewhere, readable: socket.socket
) -> None:
    heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_readable() -> None:
        context.set_fd_handler(readable.fileno(), None)
        elsewhere(lambda: context.schedule_oneshot(lambda: heard.set_result(None)))

    context.set_fd_handler(readable.fileno(), on_readable)
    await heard

    assert rings.since() == {"made": 0, "elided": 1}


async def test_handler_that_raises_leaves_others_to_ring(
    context: AioContext, rings: Rings, elsewhere: Elsewhere, readable: socket.socket, reported: list[object]
) -> None:
    raised: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_readable() -> None:
        context.set_fd_handler(readable.fileno(), None)
        asyncio.get_running_loop().call_later(0, raised.set_result, None)
        raise ValueError("broken")

    context.set_fd_handler(readable.fileno(), on_readable)
    await raised
    elsewhere(lambda: context.schedule_oneshot(lambda: heard.set_result(None)))
    await heard

    assert (rings.since(), len(reported)) == ({"made": 1, "elided": 0}, 1)


async def test_handed_in_by_others_costs_no_empty_round(
    context: AioContext, rings: Rings, elsewhere: Elsewhere
) -> None:
    before = context.statistics()["rounds"]
    heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    elsewhere(lambda: context.schedule_oneshot(lambda: heard.set_result(None)))
    await heard
    await asyncio.sleep(0)

    assert context.statistics()["rounds"] - before == 1


async def test_moved_away_while_handed_in_leaves_others_to_ring(
    context: AioContext, rings: Rings, elsewhere: Elsewhere
) -> None:
    """All that is handed in has moved: the look that finds nothing to do must not be the last."""
    other = AioContext(asyncio.get_running_loop(), "other")
    heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    moving = context.bh_new(lambda: None)

    def hand_in_and_move() -> None:
        elsewhere(moving.schedule)
        moving.move(other)

    context.schedule_oneshot(hand_in_and_move)
    await ran(context)
    elsewhere(lambda: context.schedule_oneshot(lambda: heard.set_result(None)))
    await heard
    other.close()

    assert rings.since() == {"made": 1, "elided": 1}


async def test_threads_that_schedule_all_the_time_lose_nothing_between_all_kinds_of_callbacks(
    context: AioContext, in_thread: InThread
) -> None:
    """Handlers, timers, rounds and tasks end all the time, each just when somebody may be about to ring."""
    threads, items = 3, 400
    clock = Clocks().realtime
    all_taken = Countdown(threads * items)
    busy = context.timer(clock, lambda: busy.mod(clock.now()))
    busy.mod(0)
    ours, theirs = socket.socketpair()
    theirs.send(b"x")
    context.set_fd_handler(ours.fileno(), lambda: None)

    def make_thread() -> None:
        taken = threading.Semaphore(0)

        def take() -> None:
            all_taken.tick()
            taken.release()

        bottom_half = context.bh_new(take)

        def hand_over() -> None:
            for _ in range(items):
                bottom_half.schedule()
                assert taken.acquire(timeout=30)

        in_thread(hand_over)

    for _ in range(threads):
        make_thread()
    while not all_taken.done.done():
        await asyncio.sleep(0)
    busy.cancel()
    context.set_fd_handler(ours.fileno(), None)
    ours.close()
    theirs.close()

    assert all_taken.left == 0
