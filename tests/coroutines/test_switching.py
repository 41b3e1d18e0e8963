# SPDX-License-Identifier: GPL-2.0-or-later
"""co_yield, enter, wake, schedule: who goes on, and in which order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncemu.coroutines import Coroutine, co_yield, coroutine_self, start
from asyncemu.loop import AioContext
from tests.coroutines.conftest import rounds

pytestmark = pytest.mark.both_loops


async def yields(times: int = 1, log: list[str] | None = None, name: str = "") -> str:
    for _ in range(times):
        await co_yield()
    if log is not None:
        log.append(name)
    return name


async def this_one() -> Coroutine[Any]:
    running = coroutine_self()
    assert running is not None
    return running


# ---- going on


async def test_wake_from_a_callback_goes_on_in_place(context: AioContext) -> None:
    coroutine = start(context, yields())
    seen: list[bool] = []

    def callback() -> None:
        coroutine.wake()
        seen.append(coroutine.done())

    context.schedule_oneshot(callback)
    await rounds(1)

    assert seen == [True]


async def test_wake_from_a_task_goes_on_in_place(context: AioContext) -> None:
    coroutine = start(context, yields())

    coroutine.wake()

    assert coroutine.done()


async def test_wake_from_a_coroutine_goes_on_when_that_yields_awaits_or_ends_in_the_order_of_the_calls(
    context: AioContext,
) -> None:
    log: list[str] = []
    woken = {name: start(context, yields(1, log, name)) for name in "abcdef"}

    async def waker() -> None:
        woken["b"].wake()
        woken["a"].wake()
        log.append("yields")
        await co_yield()
        woken["d"].wake()
        woken["c"].wake()
        log.append("awaits")
        await asyncio.sleep(0)
        woken["f"].wake()
        woken["e"].wake()
        log.append("ends")

    coroutine = start(context, waker())
    coroutine.enter()
    await coroutine

    assert log == ["yields", "b", "a", "awaits", "d", "c", "ends", "f", "e"]


async def test_wake_chain_those_that_one_wakes_come_right_behind_it(context: AioContext) -> None:
    log: list[str] = []
    a1, a2, b = (start(context, yields(1, log, name)) for name in ("a1", "a2", "b"))

    async def wakes() -> None:
        await co_yield()
        log.append("a")
        a1.wake()
        a2.wake()

    a = start(context, wakes())

    async def waker() -> None:
        a.wake()
        b.wake()

    start(context, waker())

    assert log == ["a", "a1", "a2", "b"]


async def test_wake_each_other_for_ever_needs_no_stack(context: AioContext) -> None:
    turns = 5000
    taken = 0
    pair: list[Coroutine[None]] = []

    async def body(other: int) -> None:
        nonlocal taken
        while taken < turns:
            await co_yield()
            taken += 1
            if not pair[other].done():
                pair[other].wake()

    pair.extend([start(context, body(1)), start(context, body(0))])
    pair[0].wake()
    left = [each for each in pair if not each.done()]
    for each in left:
        each.wake()

    assert [each.done() for each in pair] == [True, True]


async def test_wake_from_another_thread_goes_on_in_the_next_round(context: AioContext) -> None:
    coroutine = start(context, yields(1, None, "woken"))

    await asyncio.to_thread(coroutine.wake)

    assert await coroutine == "woken"


async def test_wake_from_another_thread_before_it_yields_is_not_lost(context: AioContext) -> None:
    async def body() -> str:
        await asyncio.sleep(0)
        this = await this_one()
        # Its thread is kept from going on until the other one has called.
        with_thread = asyncio.get_running_loop().run_in_executor(None, this.wake)
        while this._more is None or this._more.scheduled_by is None:
            pass
        await co_yield()
        await with_thread
        return "woken"

    assert await start(context, body()) == "woken"


async def test_schedule_enters_in_the_next_round(context: AioContext) -> None:
    coroutine = Coroutine(context, yields(0))

    coroutine.schedule(context)
    before = coroutine.done()
    await rounds(1)

    assert (before, coroutine.done()) == (False, True)


async def test_schedule_itself_then_yield_goes_on(context: AioContext) -> None:
    async def body() -> str:
        (await this_one()).schedule(context)
        await co_yield()
        return "went on"

    assert await start(context, body()) == "went on"


async def test_enter_if_inactive_enters_once(context: AioContext) -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def body() -> bool:
        nested = (await this_one()).enter_if_inactive()
        await co_yield()
        await gate
        return nested

    coroutine = Coroutine(context, body())
    answers = [coroutine.enter_if_inactive() for _ in range(3)]
    gate.set_result(None)
    nested = await coroutine

    assert (answers, nested, coroutine.enter_if_inactive()) == ([False] * 3, False, True)


async def test_enter_if_inactive_scheduled_is_left_alone(context: AioContext) -> None:
    coroutine = start(context, yields())
    coroutine.schedule(context)

    entered = coroutine.enter_if_inactive()
    before = coroutine.done()
    await rounds(1)

    assert (entered, before, coroutine.done()) == (False, False, True)


# ---- cancelled while it has yielded


async def test_cancel_yielded_raises_there_in_the_next_round(context: AioContext) -> None:
    coroutine = start(context, yields())

    answer, before = coroutine.cancel("reason"), coroutine.done()
    with pytest.raises(asyncio.CancelledError, match="reason"):
        await coroutine

    assert (answer, before) == (True, False)


async def test_cancel_yielded_twice_is_entered_once(context: AioContext, reported: list[dict[str, Any]]) -> None:
    coroutine = start(context, yields())

    coroutine.cancel()
    coroutine.cancel()
    with pytest.raises(asyncio.CancelledError):
        await coroutine
    await rounds(2)

    assert (coroutine.cancelling(), reported) == (2, [])


async def test_cancel_scheduled_raises_when_it_is_entered(context: AioContext, reported: list[dict[str, Any]]) -> None:
    coroutine = start(context, yields())

    coroutine.schedule(context)
    coroutine.cancel()
    with pytest.raises(asyncio.CancelledError):
        await coroutine
    await rounds(2)

    assert reported == []


async def test_cancel_yielded_from_another_thread_raises_there(context: AioContext) -> None:
    coroutine = start(context, yields())

    await asyncio.to_thread(coroutine.cancel)
    with pytest.raises(asyncio.CancelledError):
        await coroutine


async def test_cancel_itself_then_yield_raises_there(context: AioContext) -> None:
    async def body() -> None:
        (await this_one()).cancel("reason")
        await co_yield()

    with pytest.raises(asyncio.CancelledError, match="reason"):
        await start(context, body())


async def test_cancel_itself_then_await_keeps_the_message(context: AioContext) -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def body() -> None:
        (await this_one()).cancel("reason")
        await gate

    with pytest.raises(asyncio.CancelledError, match="reason"):
        await start(context, body())


async def test_cancel_swallowed_in_a_yield_may_yield_again(context: AioContext) -> None:
    async def body() -> str:
        try:
            await co_yield()
        except asyncio.CancelledError:
            await co_yield()
        return "went on"

    coroutine = start(context, body())
    coroutine.cancel()
    await rounds(2)
    before = coroutine.done()
    coroutine.enter()

    assert (before, coroutine.result()) == (False, "went on")


# ---- an on_done that raises


async def test_on_done_raises_who_awaits_and_who_was_woken_go_on(context: AioContext) -> None:
    woken = start(context, yields(1, None, "woken"))

    async def body() -> str:
        await co_yield()
        woken.wake()
        return "ended"

    def broken(_: object) -> None:
        raise ValueError("broken")

    coroutine = start(context, body(), broken)

    async def awaits() -> str:
        return await coroutine

    waiter = start(context, awaits())
    with pytest.raises(ValueError, match="broken"):
        coroutine.enter()

    assert (await waiter, await woken) == ("ended", "woken")


async def test_on_done_raises_of_one_that_was_woken_the_others_go_on(context: AioContext) -> None:
    def broken(_: object) -> None:
        raise ValueError("broken")

    first = start(context, yields(1, None, "first"), broken)
    second = start(context, yields(1, None, "second"))

    async def waker() -> None:
        first.wake()
        second.wake()

    with pytest.raises(ValueError, match="broken"):
        start(context, waker())

    assert (first.done(), await second) == (True, "second")
