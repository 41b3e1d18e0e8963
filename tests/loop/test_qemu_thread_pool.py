# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU's tests/unit/test-thread-pool.c checks, by its names.

Its BlockAIOCB is a future here. bdrv_aio_cancel, which waits, is ``cancel`` and an await; bdrv_aio_cancel_async is
``cancel``. QEMU sleeps until its threads have begun; we are told.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable

import pytest

from asyncemu.coroutines import Coroutine
from asyncemu.loop import AioContext
from asyncemu.loop.worker_pool import MAX_THREADS

pytestmark = pytest.mark.both_loops

MANY = 100


class Worker:
    """A call that counts its runs and returns what it was before."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> int:
        self.runs += 1
        return self.runs - 1


async def test_submit(context: AioContext) -> None:
    """Nobody looks at the result."""
    worker = Worker()
    ran: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    context.worker_pool.submit(worker).add_done_callback(lambda _: ran.set_result(None))
    await ran

    assert worker.runs == 1


async def test_submit_aio(context: AioContext) -> None:
    worker = Worker()
    completed: list[int] = []
    future = context.worker_pool.submit(worker)
    future.add_done_callback(lambda ended: completed.append(ended.result()))

    in_place = list(completed)
    await future
    await asyncio.sleep(0)

    assert (in_place, completed, worker.runs) == ([], [0], 1)


async def test_submit_co(context: AioContext) -> None:
    """The coroutine yields to whoever entered it, and goes on at home with the result."""
    worker = Worker()
    steps: list[object] = []

    async def body() -> None:
        steps.append("begins")
        steps.append(await context.worker_pool.run(worker))
        steps.append(context.in_home())

    coroutine = Coroutine(context, body())
    coroutine.enter()
    at_first = list(steps)
    await coroutine

    assert (at_first, steps, worker.runs) == (["begins"], ["begins", 0, True], 1)


async def submit_many(context: AioContext) -> None:
    """More calls than there will be threads."""
    workers = [Worker() for _ in range(MANY)]

    results = await asyncio.gather(*(context.worker_pool.submit(worker) for worker in workers))

    assert (results, [worker.runs for worker in workers]) == ([0] * MANY, [1] * MANY)
    assert context.worker_pool.statistics()["threads"] <= MAX_THREADS < MANY


async def test_submit_many(context: AioContext) -> None:
    await submit_many(context)


class Long:
    """Calls that take until they are let go."""

    def __init__(self, expected: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = itertools.count(expected - 1, -1)
        self.begun: set[int] = set()
        self.all_begun: asyncio.Future[None] = self._loop.create_future()
        self.go = threading.Event()
        self.ended: set[int] = set()

    def call(self, number: int) -> Callable[[], int]:
        def call() -> int:
            self.begun.add(number)
            if next(self._left) == 0:
                self._loop.call_soon_threadsafe(self.all_begun.set_result, None)
            assert self.go.wait(30)
            self.ended.add(number)
            return 0

        return call


@pytest.mark.parametrize("waits", [True, False], ids=["cancel", "cancel-async"])
async def test_cancel(context: AioContext, waits: bool) -> None:
    """What has not begun never does; what has begun ends, unheard."""
    await submit_many(context)
    long = Long(MAX_THREADS)
    futures = [context.worker_pool.submit(long.call(number)) for number in range(MANY)]
    await long.all_begun
    begun = set(long.begun)

    for future in futures:
        future.cancel()
        if waits:
            with pytest.raises(asyncio.CancelledError):
                await future
    long.go.set()
    # Behind all that has begun.
    assert await context.worker_pool.run(int) == 0
    context.worker_pool.close()

    assert len(begun) == MAX_THREADS
    assert (long.begun, long.ended) == (begun, begun)
    assert all(future.cancelled() for future in futures)
