# SPDX-License-Identifier: GPL-2.0-or-later
"""WorkerPool.set_bounds: threads that stay, and threads that are too many."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from asyncemu.loop import AioContext, WorkerPool

pytestmark = pytest.mark.both_loops

MakePool = Callable[..., WorkerPool]


@pytest.fixture
async def make_pool(context: AioContext) -> AsyncIterator[MakePool]:
    """Pools that are closed with the test."""
    pools: list[WorkerPool] = []

    def make(max_threads: int = 64, idle_exit: float = 10.0) -> WorkerPool:
        pools.append(WorkerPool(context, max_threads, idle_exit))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


class Calls:
    """Calls in worker threads that wait until they are let go."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self.go = threading.Semaphore(0)
        self.futures: list[asyncio.Future[threading.Thread]] = []

    async def begin(self, count: int) -> None:
        """Returns when all of them have begun."""
        begun = [self.submit() for _ in range(count)]
        await asyncio.gather(*begun)

    def submit(self) -> asyncio.Future[None]:
        """The future is done when the call has begun."""
        begun: asyncio.Future[None] = self._loop.create_future()

        def call() -> threading.Thread:
            self._loop.call_soon_threadsafe(begun.set_result, None)
            assert self.go.acquire(timeout=30)
            return threading.current_thread()

        self.futures.append(self._pool.submit(call))
        return begun

    async def end(self) -> list[threading.Thread]:
        """Let all go; the threads that they ran in."""
        self.go.release(len(self.futures))
        return await asyncio.gather(*self.futures)


async def test_min_threads_are_started_at_once(make_pool: MakePool) -> None:
    pool = make_pool()

    pool.set_bounds(3, 8)

    assert pool.statistics()["threads"] == 3


async def test_min_threads_stay_when_there_is_nothing_to_do_and_the_others_end(make_pool: MakePool) -> None:
    pool = make_pool(idle_exit=0.001)
    pool.set_bounds(2, 8)
    counts = set()

    for _ in range(5):
        calls = Calls(pool)
        await calls.begin(4)
        await calls.end()
        while (threads := pool.statistics()["threads"]) > 2:
            counts.add(threads)
            await asyncio.sleep(0)
        counts.add(threads)

    assert min(counts) == 2


async def test_max_lowered_ends_the_surplus_that_is_idle(make_pool: MakePool) -> None:
    pool = make_pool()
    calls = Calls(pool)
    await calls.begin(4)
    threads = await calls.end()

    pool.set_bounds(0, 1)
    while pool.statistics()["threads"] > 1:
        await asyncio.sleep(0)

    assert await pool.run(threading.current_thread) in threads


async def test_max_lowered_ends_the_surplus_that_is_busy_when_it_has_done_its_call(make_pool: MakePool) -> None:
    pool = make_pool()
    calls = Calls(pool)
    await calls.begin(4)

    pool.set_bounds(0, 2)
    while_busy = pool.statistics()["threads"]
    results = await calls.end()
    while pool.statistics()["threads"] > 2:
        await asyncio.sleep(0)

    assert (while_busy, len(set(results))) == (4, 4)


async def test_max_lowered_calls_that_wait_are_done_by_those_that_are_left(make_pool: MakePool) -> None:
    pool = make_pool(max_threads=2)
    calls = Calls(pool)
    await calls.begin(2)
    waiting = [pool.submit(int, str(number)) for number in range(5)]

    pool.set_bounds(0, 1)
    await calls.end()

    assert await asyncio.gather(*waiting) == list(range(5))


async def test_max_raised_calls_that_wait_begin(make_pool: MakePool) -> None:
    pool = make_pool(max_threads=1)
    calls = Calls(pool)
    await calls.begin(1)
    begun = [calls.submit() for _ in range(2)]

    pool.set_bounds(0, 3)
    await asyncio.gather(*begun)

    assert len(set(await calls.end())) == 3


async def test_max_raised_starts_no_more_threads_than_calls_wait(make_pool: MakePool) -> None:
    pool = make_pool(max_threads=1)
    calls = Calls(pool)
    await calls.begin(1)
    begun = calls.submit()

    pool.set_bounds(0, 64)
    await begun
    threads = pool.statistics()["threads"]
    await calls.end()

    assert threads == 2


async def test_bounds_changed_ever_again_lose_no_call(make_pool: MakePool) -> None:
    pool = make_pool()

    for number in range(200):
        future = pool.submit(int, str(number))
        pool.set_bounds(number % 3, number % 3 + 1)
        assert await future == number


@pytest.mark.parametrize(("low", "high"), [(-1, 4), (5, 4), (0, 0), (0, -1)])
async def test_bad_bounds_are_an_error_and_change_nothing(make_pool: MakePool, low: int, high: int) -> None:
    pool = make_pool()

    with pytest.raises(ValueError, match=f"{low} to {high} worker threads"):
        pool.set_bounds(low, high)

    assert (pool.min_threads, pool.max_threads) == (0, 64)


async def test_host_without_threads_is_an_error(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = make_pool()
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="can't start new thread"):
        patched.setattr(threading.Thread, "start", refuse)
        pool.set_bounds(1, 4)

    assert pool.statistics()["threads"] == 0
    assert await pool.run(abs, -1) == 1


async def test_closed_starts_none(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.close()

    pool.set_bounds(2, 4)

    assert pool.statistics()["threads"] == 0
