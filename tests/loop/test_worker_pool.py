# SPDX-License-Identifier: GPL-2.0-or-later
"""WorkerPool: results at home, bounded threads, cancel before the start, close."""

from __future__ import annotations

import asyncio
import threading
import weakref
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


def raise_(error: BaseException) -> None:
    raise error


class Held:
    """A call in a worker thread that waits until it is let go."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[int] = self._loop.create_future()
        self.go = threading.Event()

    def __call__(self) -> str:
        self._loop.call_soon_threadsafe(self.begun.set_result, threading.get_ident())
        assert self.go.wait(10)
        return "held"


async def test_run_returns_the_result(context: AioContext) -> None:
    assert await context.worker_pool.run(divmod, 7, 2) == (3, 1)


async def test_run_is_in_another_thread(context: AioContext) -> None:
    assert await context.worker_pool.run(threading.get_ident) != threading.get_ident()


@pytest.mark.parametrize("error", [ValueError("broken"), asyncio.CancelledError(), KeyError("key")])
async def test_run_raises_what_the_call_raised(context: AioContext, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        await context.worker_pool.run(raise_, error)

    assert raised.value is error


async def test_run_call_that_raises_stop_iteration_is_a_runtime_error(context: AioContext) -> None:
    with pytest.raises(RuntimeError, match="a call in a worker thread raised StopIteration") as raised:
        await context.worker_pool.run(next, iter(()))

    assert isinstance(raised.value.__cause__, StopIteration)


async def test_worker_goes_on_after_an_exception(make_pool: MakePool) -> None:
    pool = make_pool(max_threads=1)
    with pytest.raises(ValueError, match="broken"):
        await pool.run(raise_, ValueError("broken"))

    assert await pool.run(abs, -1) == 1
    assert pool.statistics()["threads"] == 1


async def test_completion_is_at_home_in_a_later_round(context: AioContext) -> None:
    future = context.worker_pool.submit(int)
    completed_in: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda _: completed_in.set_result(threading.get_ident()))

    assert not future.done()
    assert await completed_in == threading.get_ident()


async def test_submit_many_more_than_threads_runs_all(make_pool: MakePool) -> None:
    pool = make_pool(max_threads=3)

    results = await asyncio.gather(*(pool.submit(int, str(number)) for number in range(500)))

    assert results == list(range(500))
    assert pool.statistics()["threads"] <= 3


async def test_submit_never_more_than_max_threads_at_once(make_pool: MakePool) -> None:
    pool = make_pool(max_threads=2)
    held = [Held() for _ in range(3)]
    futures = [pool.submit(each) for each in held]

    await asyncio.gather(held[0].begun, held[1].begun)
    statistics = pool.statistics()
    third_had_begun = held[2].begun.done()
    for each in held:
        each.go.set()
    await asyncio.gather(*futures)

    assert statistics == {"threads": 2, "idle": 0, "waiting": 1}
    assert not third_had_begun
    assert held[2].begun.result() in {held[0].begun.result(), held[1].begun.result()}


async def test_submit_begins_in_order(make_pool: MakePool) -> None:
    pool = make_pool(max_threads=1)
    begun: list[int] = []

    await asyncio.gather(*(pool.submit(begun.append, number) for number in range(100)))

    assert begun == list(range(100))


async def test_submit_idle_worker_is_used_again(make_pool: MakePool) -> None:
    pool = make_pool()
    idents = {await pool.run(threading.get_ident) for _ in range(20)}

    # The one worker may not be asleep yet when the next call arrives; then there are two.
    assert pool.statistics()["threads"] == len(idents) <= 3


async def test_cancel_before_the_start_never_runs(make_pool: MakePool) -> None:
    pool = make_pool(max_threads=1)
    held = Held()
    ran: list[str] = []
    first = pool.submit(held)
    second = pool.submit(ran.append, "second")

    second.cancel()
    held.go.set()
    await first
    await pool.run(int)

    assert (ran, second.cancelled()) == ([], True)


async def test_cancel_after_the_start_completes_unheard(make_pool: MakePool) -> None:
    pool = make_pool(max_threads=1)
    held = Held()
    future = pool.submit(held)
    await held.begun

    future.cancel()
    held.go.set()

    assert await pool.run(abs, -2) == 2
    assert future.cancelled()


async def test_close_cancels_what_waits_and_completes_what_runs(make_pool: MakePool) -> None:
    pool = make_pool(max_threads=1)
    held = Held()
    running, waiting = pool.submit(held), pool.submit(int)
    await held.begun

    held.go.set()
    pool.close()

    assert (running.result(), waiting.cancelled()) == ("held", True)
    assert pool.statistics() == {"threads": 0, "idle": 0, "waiting": 0}


async def test_close_then_submit_is_a_runtime_error(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.close()

    with pytest.raises(RuntimeError, match="the worker pool is closed"):
        pool.submit(int)


async def test_close_twice_is_once(make_pool: MakePool) -> None:
    pool = make_pool()
    await pool.run(int)

    pool.close()
    pool.close()

    assert pool.statistics()["threads"] == 0


async def test_idle_worker_ends_and_the_next_call_starts_another(make_pool: MakePool) -> None:
    pool = make_pool(idle_exit=0.001)
    worker = await pool.run(threading.current_thread)

    worker.join(10)
    after = pool.statistics()["threads"]

    assert (worker.is_alive(), after) == (False, 0)
    assert await pool.run(abs, -3) == 3


async def test_workers_that_end_all_the_time_lose_no_call(make_pool: MakePool) -> None:
    pool = make_pool(max_threads=2, idle_exit=0.0)

    for number in range(200):
        assert await pool.run(int, str(number)) == number


async def test_worker_asleep_holds_on_to_nothing(make_pool: MakePool) -> None:
    class Payload:
        def use(self) -> None: ...

    pool = make_pool(max_threads=1)
    payload = Payload()
    gone = weakref.ref(payload)

    await pool.run(payload.use)
    del payload
    # A second call: by then the worker has forgotten the first.
    await pool.run(int)

    assert gone() is None


async def test_submit_host_without_threads_is_an_error_and_queues_nothing(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    monkeypatch.setattr(threading.Thread, "start", lambda _: raise_(RuntimeError("can't start new thread")))

    with pytest.raises(RuntimeError, match="can't start new thread"):
        pool.submit(int)

    assert pool.statistics() == {"threads": 0, "idle": 0, "waiting": 0}


async def test_submit_host_without_more_threads_uses_the_one_that_there_is(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    held = Held()
    first = pool.submit(held)
    await held.begun
    monkeypatch.setattr(threading.Thread, "start", lambda _: raise_(RuntimeError("can't start new thread")))

    second = pool.submit(abs, -4)
    held.go.set()

    assert (await first, await second) == ("held", 4)
