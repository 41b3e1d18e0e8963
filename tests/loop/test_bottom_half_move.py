# SPDX-License-Identifier: GPL-2.0-or-later
"""BottomHalf.move: to another context, with what is pending, whoever schedules it meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial

import pytest

from asyncemu.loop import AioContext, IOThread, current_context
from tests.loop.conftest import InThread


@pytest.fixture
async def other(context: AioContext) -> AsyncIterator[AioContext]:
    """A second context in the test's thread: what is there runs when the loop does."""
    other = AioContext(asyncio.get_running_loop(), "other")
    yield other
    other.close()


@pytest.fixture
async def iothread(context: AioContext) -> AsyncIterator[IOThread]:
    iothread = IOThread(context, "io")
    await iothread.start()
    yield iothread
    await iothread.stop()


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.both_loops
async def test_move_then_schedule_runs_in_the_new_context(context: AioContext, iothread: IOThread) -> None:
    ran_in: asyncio.Future[AioContext | None] = asyncio.get_running_loop().create_future()

    def callback() -> None:
        here = current_context()
        context.schedule_oneshot(lambda: ran_in.set_result(here))

    bottom_half = context.bh_new(callback)
    bottom_half.move(iothread.aio_context)
    bottom_half.schedule()

    assert await ran_in is iothread.aio_context
    assert bottom_half.context is iothread.aio_context


@pytest.mark.both_loops
@pytest.mark.parametrize("method", ["schedule", "schedule_idle"])
async def test_move_pending_goes_along_and_runs_once(context: AioContext, iothread: IOThread, method: str) -> None:
    ran_in: list[AioContext | None] = []
    bottom_half = context.bh_new(lambda: ran_in.append(current_context()))

    getattr(bottom_half, method)()
    bottom_half.move(iothread.aio_context)
    await rounds(3)
    await iothread.change()

    assert ran_in == [iothread.aio_context]


async def test_move_not_pending_does_not_run(context: AioContext, other: AioContext) -> None:
    calls: list[str] = []
    bottom_half = context.bh_new(lambda: calls.append("ran"))

    bottom_half.schedule()
    bottom_half.cancel()
    bottom_half.move(other)
    await rounds(3)

    assert (calls, bottom_half.pending) == ([], False)


async def test_move_by_one_in_the_same_round_runs_once(context: AioContext, other: AioContext) -> None:
    calls: list[str] = []
    second = context.bh_new(lambda: calls.append("second"))
    context.schedule_oneshot(lambda: second.move(other))
    second.schedule()
    context.schedule_oneshot(lambda: calls.append("third"))

    await rounds(1)
    in_this_round = list(calls)
    await rounds(2)

    assert (in_this_round, calls) == (["third"], ["third", "second"])


async def test_move_by_its_own_callback_runs_there_next(context: AioContext, other: AioContext) -> None:
    calls: list[str] = []

    def callback() -> None:
        calls.append(bottom_half.context.name)
        if bottom_half.context is context:
            bottom_half.schedule()
            bottom_half.move(other)

    bottom_half = context.bh_new(callback)
    bottom_half.schedule()
    await rounds(4)

    assert calls == ["test", "other"]


async def test_move_there_and_back_runs_once(context: AioContext, other: AioContext) -> None:
    calls: list[str] = []
    bottom_half = context.bh_new(lambda: calls.append(bottom_half.context.name))

    bottom_half.schedule()
    bottom_half.move(other)
    bottom_half.move(context)
    await rounds(4)

    assert calls == ["test"]


async def test_move_while_handed_in_by_another_thread_is_sent_after_it(
    context: AioContext, other: AioContext, in_thread: InThread
) -> None:
    calls: list[str] = []
    bottom_half = context.bh_new(lambda: calls.append(bottom_half.context.name))

    in_thread(bottom_half.schedule).join()
    bottom_half.move(other)
    while not calls:
        await asyncio.sleep(0)
    await rounds(3)

    assert calls == ["other"]


async def test_move_while_handed_in_survives_the_end_of_the_old_context(
    context: AioContext, other: AioContext, in_thread: InThread
) -> None:
    calls: list[str] = []
    bottom_half = other.bh_new(lambda: calls.append(bottom_half.context.name))
    in_thread(bottom_half.schedule).join()

    bottom_half.move(context)
    other.close()
    await rounds(3)
    in_thread(bottom_half.schedule).join()
    while len(calls) < 2:
        await asyncio.sleep(0)

    assert calls == ["test", "test"]


async def test_schedule_that_finds_the_old_context_closed_is_sent_after_it(
    context: AioContext, other: AioContext, in_thread: InThread
) -> None:
    """A thread has looked where the bottom half lives; until it hands it in there, it has moved and all is closed."""
    calls: list[str] = []
    bottom_half = other.bh_new(lambda: calls.append(bottom_half.context.name))
    old_queue = bottom_half.queue
    bottom_half.move(context)
    other.close()

    def late() -> None:
        bottom_half.asked = True
        bottom_half.incoming = True
        old_queue.hand_in(bottom_half)

    in_thread(late).join()
    while not calls:
        await asyncio.sleep(0)

    assert calls == ["test"]


async def test_move_ever_again_while_others_schedule_loses_nothing_and_runs_at_home(
    context: AioContext, in_thread: InThread
) -> None:
    """Three threads hand over items one by one, while the bottom half wanders between two IOThreads and home."""
    threads, items = 3, 200
    iothreads = [IOThread(context, f"io{number}") for number in range(2)]
    for iothread in iothreads:
        await iothread.start()
    homes = [context, *(iothread.aio_context for iothread in iothreads)]
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting: list[threading.Semaphore] = []
    strangers: list[object] = []
    left = threads * items

    def callback() -> None:
        nonlocal left
        home = bottom_half.context
        if current_context() is not home:
            strangers.append(current_context())
        while waiting:
            waiting.pop().release()
            left -= 1
        if left:
            bottom_half.move(homes[(homes.index(home) + 1) % len(homes)])
        else:
            context.schedule_oneshot(partial(ended.set_result, None))

    bottom_half = context.bh_new(callback)

    def hand_over() -> None:
        for _ in range(items):
            taken = threading.Semaphore(0)
            waiting.append(taken)
            bottom_half.schedule()
            assert taken.acquire(timeout=30)

    for _ in range(threads):
        in_thread(hand_over)
    await ended
    for iothread in iothreads:
        await iothread.stop()

    assert (left, strangers) == (0, [])
