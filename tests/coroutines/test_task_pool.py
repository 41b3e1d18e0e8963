# SPDX-License-Identifier: GPL-2.0-or-later
"""AioTaskPool: so many at a time, and the first error."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from asyncemu.coroutines import AioTaskPool, reschedule_self, start
from asyncemu.loop import AioContext
from tests.coroutines.conftest import Contexts, rounds

pytestmark = pytest.mark.both_loops


class Tasks:
    """Those that are at work, in the order in which they began; they end when the test says so."""

    def __init__(self) -> None:
        self.busy: list[asyncio.Future[None]] = []

    async def __call__(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self.busy.append(future)
        try:
            await future
        finally:
            self.busy.remove(future)


async def test_start_task_begins_in_place_up_to_the_limit(context: AioContext) -> None:
    pool, tasks = AioTaskPool(2), Tasks()

    async def body() -> None:
        for _ in range(3):
            await pool.start_task(tasks)

    starter = start(context, body())
    seen = [(len(tasks.busy), starter.done())]
    tasks.busy[0].set_result(None)
    await rounds(3)
    seen.append((len(tasks.busy), starter.done()))
    for future in tasks.busy:
        future.set_result(None)
    await pool.wait_all()

    assert seen == [(2, False), (2, True)]
    assert (pool.empty, pool.status) == (True, None)


async def test_wait_one_returns_when_one_has_ended(context: AioContext) -> None:
    pool, tasks = AioTaskPool(2), Tasks()
    for _ in range(2):
        await pool.start_task(tasks)

    context.loop.call_soon(tasks.busy[1].set_result, None)
    await pool.wait_one()
    left = len(tasks.busy)
    tasks.busy[0].set_result(None)
    await pool.wait_all()

    assert left == 1


async def test_wait_one_without_a_task_is_refused(context: AioContext) -> None:
    with pytest.raises(RuntimeError, match="an AioTaskPool without a task is waited for"):
        await AioTaskPool(1).wait_one()


async def test_wait_all_and_wait_slot_of_an_empty_pool_return(context: AioContext) -> None:
    pool = AioTaskPool(1)

    await pool.wait_all()
    await pool.wait_slot()

    assert pool.empty


async def test_status_is_the_first_error_and_nothing_is_reported(
    context: AioContext, reported: list[dict[str, Any]]
) -> None:
    pool, tasks = AioTaskPool(3), Tasks()
    first, second = ValueError("first"), ValueError("second")
    for _ in range(3):
        await pool.start_task(tasks)

    third_future, second_future, first_future = list(tasks.busy)
    first_future.set_exception(first)
    second_future.set_exception(second)
    third_future.set_result(None)
    await pool.wait_all()
    await rounds(2)

    assert (pool.status, reported) == (first, [])


async def test_start_task_failing_in_place_is_for_the_status(context: AioContext) -> None:
    pool = AioTaskPool(1)

    async def fails() -> None:
        raise ValueError("broken")

    await pool.start_task(fails)
    await pool.start_task(fails)

    assert (str(pool.status), pool.empty) == ("broken", True)


async def test_cancel_who_waits_leaves_the_tasks_alone(context: AioContext) -> None:
    pool, tasks = AioTaskPool(1), Tasks()
    await pool.start_task(tasks)
    waiter = start(context, pool.wait_all())

    waiter.cancel()
    await rounds(2)
    busy = len(tasks.busy)
    tasks.busy[0].set_result(None)
    await pool.wait_all()

    assert (busy, pool.status) == (1, None)


async def test_task_that_ends_in_another_context_counts(context: AioContext, threads: Contexts) -> None:
    (other,) = await threads(1)
    pool = AioTaskPool(4)
    ended: list[int] = []

    async def task(number: int) -> None:
        await reschedule_self(other)
        ended.append(number)

    for number in range(100):
        await pool.start_task(partial(task, number))
    await pool.wait_all()

    assert sorted(ended) == list(range(100))


async def test_pool_of_no_tasks_is_refused(context: AioContext) -> None:
    with pytest.raises(ValueError, match="a pool of 0 tasks can do nothing"):
        AioTaskPool(0)


async def test_pool_without_a_context_is_refused() -> None:
    with pytest.raises(RuntimeError, match="an AioTaskPool is made in a thread with an AioContext"):
        AioTaskPool(1)
