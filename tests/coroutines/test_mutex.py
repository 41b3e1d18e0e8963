# SPDX-License-Identifier: GPL-2.0-or-later
"""CoMutex: one at a time; what happens to a hand-over that meets a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from asyncemu.coroutines import CoMutex, co_yield, start
from asyncemu.loop import AioContext
from tests.coroutines.conftest import rounds

pytestmark = pytest.mark.both_loops


async def holds(mutex: CoMutex, log: list[str], name: str) -> None:
    async with mutex:
        log.append(name)
        await co_yield()


async def test_lock_free_is_in_place(context: AioContext) -> None:
    mutex, log = CoMutex(), list[str]()

    coroutine = start(context, holds(mutex, log, "a"))

    assert (log, mutex.locked) == (["a"], True)
    assert coroutine.enter()
    assert not mutex.locked


async def test_lock_held_waits_in_the_order_of_arrival(context: AioContext) -> None:
    mutex, log = CoMutex(), list[str]()
    coroutines = [start(context, holds(mutex, log, name)) for name in "abc"]

    for coroutine in coroutines:
        coroutine.enter()
        await rounds(2)

    assert (log, mutex.locked) == (["a", "b", "c"], False)


async def test_lock_handed_over_is_never_free_in_between(context: AioContext) -> None:
    mutex, log = CoMutex(), list[str]()
    first, second = (start(context, holds(mutex, log, name)) for name in "ab")

    first.enter()
    third = start(context, holds(mutex, log, "c"))
    await rounds(2)
    second.enter()
    await rounds(2)
    third.enter()

    assert log == ["a", "b", "c"]


async def test_lock_in_tasks_works_as_well(context: AioContext) -> None:
    mutex, log = CoMutex(), list[str]()

    async def body(name: str) -> None:
        async with mutex:
            log.append(name)
            await asyncio.sleep(0)
            log.append(name)

    await asyncio.gather(*[body(name) for name in "abc"])

    assert "".join(log) == "aabbcc"


async def test_cancel_waiting_leaves_the_queue(context: AioContext) -> None:
    mutex, log = CoMutex(), list[str]()
    first, second, third = (start(context, holds(mutex, log, name)) for name in "abc")

    second.cancel()
    first.enter()
    await rounds(2)
    third.enter()

    assert (log, mutex.locked) == (["a", "c"], False)


async def test_cancel_handed_over_to_hands_it_on(context: AioContext) -> None:
    mutex, log = CoMutex(), list[str]()
    first, second, third = (start(context, holds(mutex, log, name)) for name in "abc")

    first.enter()
    second.cancel()
    await rounds(2)
    third.enter()

    assert (log, mutex.locked) == (["a", "c"], False)


async def test_cancel_the_only_one_handed_over_to_lets_go_of_it(context: AioContext) -> None:
    mutex, log = CoMutex(), list[str]()
    first, second = (start(context, holds(mutex, log, name)) for name in "ab")

    first.enter()
    second.cancel()
    await rounds(2)

    assert (log, mutex.locked) == (["a"], False)


async def test_closed_while_waiting_leaves_the_queue(context: AioContext) -> None:
    mutex = CoMutex()
    holder = start(context, holds(mutex, [], "a"))
    body = holds(mutex, [], "b")
    body.send(None)

    body.close()
    holder.enter()

    assert not mutex.locked


async def test_unlock_free_is_refused(context: AioContext) -> None:
    with pytest.raises(RuntimeError, match="a CoMutex is unlocked that is not locked"):
        CoMutex().unlock()


async def test_unlock_held_by_another_is_found(context: AioContext) -> None:
    mutex = CoMutex()
    coroutine = start(context, holds(mutex, [], "a"))

    with pytest.raises(AssertionError, match=r"a CoMutex is held by <Coroutine holds of test>, not by <Task "):
        mutex.unlock()
    coroutine.enter()


async def test_lock_twice_by_one_is_found(context: AioContext) -> None:
    mutex = CoMutex()

    async def body() -> None:
        async with mutex:
            await mutex.lock()

    with pytest.raises(RuntimeError, match=r"<Coroutine .*body of test> locks a CoMutex that it holds"):
        await start(context, body())


async def test_timeout_while_waiting_leaves_the_queue(context: AioContext) -> None:
    mutex = CoMutex()
    await mutex.lock()

    async def body() -> str:
        try:
            async with asyncio.timeout(0.001):
                await mutex.lock()
        except TimeoutError:
            return "expired"
        return "unreachable"

    assert await start(context, body()) == "expired"
    mutex.unlock()
    assert not mutex.locked
