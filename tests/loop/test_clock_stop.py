# SPDX-License-Identifier: GPL-2.0-or-later
"""Stopping a clock: it waits for the callbacks of others, not for its own, and holds back what has not begun."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from asyncemu.loop import AioContext, Clocks, IOThread
from asyncemu.testing.fake_clock import FakeClock
from tests.loop.conftest import InThread


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()


@pytest.fixture
def clocks(time: FakeClock) -> Clocks:
    clocks = Clocks(time)
    clocks.run_virtual(True)
    return clocks


@pytest.fixture
async def iothread(context: AioContext) -> AsyncIterator[IOThread]:
    iothread = IOThread(context, "io")
    await iothread.start()
    yield iothread
    await iothread.stop()


async def test_stop_waits_for_a_callback_in_an_iothread(
    context: AioContext, iothread: IOThread, in_thread: InThread
) -> None:
    clocks = Clocks()
    clocks.run_virtual(True)
    order: list[str] = []
    begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    go_on = threading.Event()

    def callback() -> None:
        context.schedule_oneshot(partial(begun.set_result, None))
        assert go_on.wait(30)
        order.append("callback ends")

    def wait_until_somebody_waits_and_let_it_end() -> None:
        while not timer.timers._waiting:
            pass
        order.append("waits")
        go_on.set()

    timer = iothread.aio_context.timer(clocks.virtual, callback)
    timer.mod(0)
    await begun
    in_thread(wait_until_somebody_waits_and_let_it_end)
    clocks.virtual.enable(False)
    order.append("stopped")

    assert order == ["waits", "callback ends", "stopped"]


async def test_stopped_no_callback_begins_in_an_iothread(context: AioContext, iothread: IOThread) -> None:
    """Again and again, each time while the IOThread runs timers as fast as it can."""
    clocks = Clocks()
    ran: list[int] = []
    overlaps = 0

    def callback() -> None:
        ran.append(1)
        timer.mod(0)

    timer = iothread.aio_context.timer(clocks.virtual, callback)
    timer.mod(0)
    for _ in range(50):
        clocks.virtual.enable(True)
        before = len(ran)
        while len(ran) == before:
            await asyncio.sleep(0)
        clocks.virtual.enable(False)
        stopped_at = len(ran)
        await iothread.change()
        overlaps += len(ran) != stopped_at
    timer.cancel()

    assert overlaps == 0


async def test_stop_by_its_own_callback_does_not_wait(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    fired: list[int] = []

    def callback() -> None:
        clocks.virtual.enable(False)
        fired.append(clocks.virtual.now())

    context.timer(clocks.virtual, callback).mod(5)
    time.advance(10)

    assert (fired, clocks.virtual.enabled) == ([5], False)


async def test_stop_by_a_callback_holds_back_the_others_until_it_goes_on(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[str] = []
    first = context.timer(clocks.virtual, lambda: clocks.virtual.enable(False))
    others = [context.timer(clocks.virtual, partial(fired.append, name)) for name in ("second", "third")]
    first.mod(5)
    for timer in others:
        timer.mod(5)

    time.advance(100)
    while_stopped = (list(fired), [timer.deadline for timer in others])
    clocks.virtual.enable(True)
    time.advance(0)

    assert while_stopped == ([], [5, 5])
    assert fired == ["second", "third"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda timer: timer.cancel(), []),
        (lambda timer: timer.mod(7), [7]),
        (lambda timer: timer.mod_anticipate(7), [5]),
    ],
    ids=["cancelled", "set anew", "not anticipated"],
)
async def test_held_back_may_be_changed_while_the_clock_stands(
    context: AioContext,
    time: FakeClock,
    clocks: Clocks,
    change: Callable[[object], None],
    expected: list[int],
) -> None:
    fired: list[int] = []
    first = context.timer(clocks.virtual, lambda: clocks.virtual.enable(False))
    second = context.timer(clocks.virtual, lambda: fired.append(clocks.virtual.now()))
    first.mod(5)
    second.mod(5)
    time.advance(5)

    change(second)
    clocks.virtual.enable(True)
    time.advance(10)

    assert fired == expected


async def test_held_back_by_one_clock_does_not_hold_back_another(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[str] = []
    context.timer(clocks.virtual, lambda: clocks.virtual.enable(False)).mod(5)
    context.timer(clocks.virtual, lambda: fired.append("virtual")).mod(5)
    context.timer(clocks.realtime, lambda: fired.append("realtime")).mod(5)

    time.advance(5)

    assert fired == ["realtime"]


async def test_stop_and_go_in_one_callback_holds_back_nothing(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[str] = []

    def stop_and_go() -> None:
        clocks.virtual.enable(False)
        clocks.virtual.enable(True)

    context.timer(clocks.virtual, stop_and_go).mod(5)
    context.timer(clocks.virtual, lambda: fired.append("second")).mod(5)
    time.advance(5)

    assert fired == ["second"]


async def test_time_moved_by_a_callback_still_counts_as_running(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    """The inner run must not tell others that the outer one is over."""
    running: list[bool] = []

    def callback() -> None:
        time.advance(5)
        running.append(bool(timer.timers._running))

    timer = context.timer(clocks.virtual, callback)
    timer.mod(5)
    time.advance(5)

    assert (running, timer.timers._running) == ([True], 0)
