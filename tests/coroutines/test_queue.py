# SPDX-License-Identifier: GPL-2.0-or-later
"""CoQueue: first come first served, and no wake-up is lost to one that has gone away."""

from __future__ import annotations

import asyncio

import pytest

from asyncemu.coroutines import CoMutex, CoQueue, Coroutine, start
from asyncemu.loop import AioContext
from tests.coroutines.conftest import Contexts, ends, rounds

pytestmark = pytest.mark.both_loops


async def waits(queue: CoQueue, log: list[str], name: str, *, front: bool = False) -> None:
    await queue.wait(front=front)
    log.append(name)


async def test_next_wakes_in_the_order_of_arrival(context: AioContext) -> None:
    queue, log = CoQueue(), list[str]()
    coroutines = [start(context, waits(queue, log, name)) for name in "abc"]

    answers = [queue.next() for _ in range(4)]
    await ends(coroutines)

    assert (answers, log, queue.empty) == ([True, True, True, False], ["a", "b", "c"], True)


async def test_next_in_place_runs_nobody(context: AioContext) -> None:
    queue, log = CoQueue(), list[str]()
    coroutine = start(context, waits(queue, log, "a"))

    queue.enter_next()
    before = list(log)
    await coroutine

    assert (before, log) == ([], ["a"])


async def test_wait_front_is_next(context: AioContext) -> None:
    queue, log = CoQueue(), list[str]()
    coroutines = [start(context, waits(queue, log, name, front=name == "c")) for name in "abc"]

    queue.enter_all()
    await ends(coroutines)

    assert log == ["c", "a", "b"]


async def test_restart_all_those_that_wait_again_are_not_meant(context: AioContext) -> None:
    queue, log = CoQueue(), list[str]()

    async def body(name: str) -> None:
        await waits(queue, log, name)
        await waits(queue, log, name)

    coroutines = [start(context, body(name)) for name in "ab"]
    queue.restart_all()
    await rounds(3)
    once = list(log)
    queue.restart_all()
    await ends(coroutines)

    assert (once, log) == (["a", "b"], ["a", "b", "a", "b"])


async def test_wait_in_tasks_works_as_well(context: AioContext) -> None:
    queue, log = CoQueue(), list[str]()
    tasks = [asyncio.ensure_future(waits(queue, log, name)) for name in "ab"]
    await rounds(1)

    queue.restart_all()
    await asyncio.gather(*tasks)

    assert log == ["a", "b"]


async def test_wait_lets_go_of_the_mutex_and_has_it_again(context: AioContext) -> None:
    queue, mutex = CoQueue(), CoMutex()
    seen: list[bool] = []

    async def body() -> None:
        async with mutex:
            await queue.wait(mutex)
            mutex.assert_locked()
            seen.append(mutex.locked)

    coroutine = start(context, body())
    seen.append(mutex.locked)
    queue.next()
    await coroutine

    assert (seen, mutex.locked) == ([False, True], False)


async def test_cancel_waiting_has_the_mutex_again_when_it_raises(context: AioContext) -> None:
    queue, mutex = CoQueue(), CoMutex()
    log: list[str] = []

    async def body() -> None:
        async with mutex:
            try:
                await queue.wait(mutex)
            finally:
                mutex.assert_locked()
                log.append("has it")

    coroutine = start(context, body())
    await mutex.lock()
    coroutine.cancel("first")
    await rounds(3)
    coroutine.cancel("second")  # while it waits for the mutex
    await rounds(3)
    log.append("lets go")
    mutex.unlock()
    with pytest.raises(asyncio.CancelledError, match="second"):
        await coroutine

    assert (log, mutex.locked, queue.empty) == (["lets go", "has it"], False, True)


async def test_cancel_waiting_is_skipped(context: AioContext) -> None:
    queue, log = CoQueue(), list[str]()
    first, second = (start(context, waits(queue, log, name)) for name in "ab")

    first.cancel()
    queue.next()  # the first is in the queue still
    await second

    assert (log, queue.empty) == (["b"], True)


async def test_cancel_woken_passes_its_turn_on(context: AioContext) -> None:
    queue, log = CoQueue(), list[str]()
    first, second = (start(context, waits(queue, log, name)) for name in "ab")

    queue.next()
    first.cancel()
    await second

    assert (log, queue.empty) == (["b"], True)


async def test_cancel_woken_while_it_waits_for_the_mutex_passes_its_turn_on(context: AioContext) -> None:
    queue, mutex = CoQueue(), CoMutex()

    async def body() -> str:
        async with mutex:
            await queue.wait(mutex)
        return "woken"

    first, second = start(context, body()), start(context, body())
    await mutex.lock()
    queue.next()
    await rounds(3)
    first.cancel()
    await rounds(3)
    mutex.unlock()

    assert await second == "woken"
    assert isinstance(first.error, asyncio.CancelledError)


async def test_cancel_woken_with_all_leaves_those_that_came_later_asleep(context: AioContext) -> None:
    queue, log = CoQueue(), list[str]()
    first = start(context, waits(queue, log, "a"))

    queue.restart_all()
    first.cancel()
    later = start(context, waits(queue, log, "later"))
    await rounds(5)
    before = list(log)
    queue.next()
    await later

    assert (before, log) == ([], ["later"])


async def test_closed_waiting_leaves_the_queue(context: AioContext) -> None:
    queue = CoQueue()
    body = queue.wait()
    body.send(None)

    body.close()

    assert queue.empty


async def test_producer_and_consumers_over_contexts_lose_no_wake_up(context: AioContext, threads: Contexts) -> None:
    queue, mutex = CoQueue(), CoMutex()
    items: list[int] = []
    got: list[int] = []
    count = 300

    async def consumer() -> None:
        for _ in range(count):
            async with mutex:
                while not items:
                    await queue.wait(mutex)
                got.append(items.pop(0))

    async def producer() -> None:
        for item in range(3 * count):
            async with mutex:
                items.append(item)
                queue.next()

    contexts = [context, *await threads(2)]
    coroutines = [Coroutine(each, consumer()) for each in contexts]
    coroutines.append(Coroutine(contexts[1], producer()))
    for coroutine in coroutines:
        coroutine.schedule(coroutine.context)
    await ends(coroutines)

    assert got == list(range(3 * count))
