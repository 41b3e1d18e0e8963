# SPDX-License-Identifier: GPL-2.0-or-later
"""Coroutines that change their home while others wait for them, wake and cancel them."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from asyncemu.coroutines import (
    Coroutine,
    CoroutineMisuse,
    co_yield,
    coroutine_self,
    reschedule_self,
    start,
)
from asyncemu.loop import AioContext, current_context
from tests.coroutines.conftest import Contexts, ends, in_context, rounds, settled

variable: ContextVar[str] = ContextVar("variable", default="unset")


async def test_reschedule_self_goes_on_in_the_other_thread(context: AioContext, threads: Contexts) -> None:
    (other,) = await threads(1)

    async def body() -> list[tuple[AioContext | None, int]]:
        seen = [(current_context(), threading.get_ident())]
        for target in (other, other, context):
            await reschedule_self(target)
            seen.append((current_context(), threading.get_ident()))
        return seen

    seen = await start(context, body())

    assert [each for each, _ in seen] == [context, other, other, context]
    assert [ident for _, ident in seen] == [each.thread_ident for each in (context, other, other, context)]


async def test_reschedule_self_in_a_task_is_refused(context: AioContext) -> None:
    with pytest.raises(RuntimeError, match=r"only a Coroutine can move to another context; use AioContext.call"):
        await reschedule_self(context)


async def test_reschedule_self_again_and_again_with_variables_of_its_own(threads: Contexts) -> None:
    """The other thread may go on before this one is out of the step: the context variables must be free by then."""
    contexts = await threads(2)

    async def body(number: int) -> str:
        await asyncio.sleep(0)
        variable.set(f"own {number}")
        for step in range(300):
            await reschedule_self(contexts[step % 2])
        return variable.get()

    coroutines = [Coroutine(contexts[0], body(number)) for number in range(8)]
    for coroutine in coroutines:
        coroutine.schedule(coroutine.context)
    await ends(coroutines)

    assert [coroutine.result() for coroutine in coroutines] == [f"own {number}" for number in range(8)]


async def test_schedule_yielded_into_another_context_moves_it(context: AioContext, threads: Contexts) -> None:
    (other,) = await threads(1)

    async def body() -> AioContext | None:
        await asyncio.sleep(0)
        await co_yield()
        return current_context()

    coroutine = start(context, body())
    await rounds(1)
    coroutine.schedule(other)

    assert await coroutine is other
    assert coroutine.context is other


async def test_schedule_itself_into_another_context_then_yield_moves_it(context: AioContext, threads: Contexts) -> None:
    (other,) = await threads(1)

    async def body() -> AioContext | None:
        this = coroutine_self()
        assert this is not None
        this.schedule(other)
        await co_yield()
        return current_context()

    assert await start(context, body()) is other


async def test_schedule_by_a_third_thread_moves_it(context: AioContext, threads: Contexts) -> None:
    (other,) = await threads(1)

    async def body() -> AioContext | None:
        await co_yield()
        return current_context()

    coroutine = start(context, body())
    await asyncio.to_thread(coroutine.schedule, other)

    assert await coroutine is other


async def test_schedule_into_another_context_one_that_awaits_is_reported_at_home(
    context: AioContext, threads: Contexts, reported: list[dict[str, Any]]
) -> None:
    (other,) = await threads(1)
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def body() -> str:
        return await gate

    coroutine = start(context, body())
    coroutine.schedule(other)
    await rounds(2)
    gate.set_result("gate's")

    assert await coroutine == "gate's"
    assert coroutine.context is context
    assert [type(each["exception"]) for each in reported] == [CoroutineMisuse]


async def test_wake_then_move_those_woken_go_on_in_the_old_home(context: AioContext, threads: Contexts) -> None:
    (other,) = await threads(1)

    async def sleeper() -> AioContext | None:
        await co_yield()
        return current_context()

    for _ in range(100):
        woken = start(context, sleeper())

        async def waker(woken: Coroutine[Any]) -> AioContext | None:
            woken.wake()
            await reschedule_self(other)
            return current_context()

        mover = start(context, waker(woken))
        assert woken.result() is context
        assert await mover is other


# ---- awaiting over contexts


async def test_await_one_that_moves_away_gives_its_result(context: AioContext, threads: Contexts) -> None:
    (other,) = await threads(1)

    async def body(number: int) -> int:
        await reschedule_self(other)
        return number

    for number in range(200):
        assert await start(context, body(number)) == number


async def test_await_from_two_contexts_gives_both_the_result(context: AioContext, threads: Contexts) -> None:
    first, second = await threads(2)
    coroutine = await in_context(first, lambda: start(first, co_yield()))

    async def awaits() -> str:
        await coroutine
        return "went on"

    waiters = [start(context, awaits()), await in_context(second, lambda: start(second, awaits()))]
    coroutine.wake()

    assert [await waiter for waiter in waiters] == ["went on", "went on"]


async def test_await_one_that_moves_away_and_raises_raises_and_nothing_is_reported(
    context: AioContext, threads: Contexts, reported: list[dict[str, Any]]
) -> None:
    (other,) = await threads(1)

    async def body() -> None:
        await reschedule_self(other)
        raise ValueError("broken")

    for _ in range(50):
        with pytest.raises(ValueError, match="broken"):
            await start(context, body())
    await settled([other])

    assert reported == []


async def test_error_elsewhere_that_nobody_asks_for_is_reported_where_it_began(
    context: AioContext, threads: Contexts, reported: list[dict[str, Any]]
) -> None:
    (other,) = await threads(1)

    async def body() -> None:
        await reschedule_self(other)
        raise ValueError("broken")

    start(context, body())
    await settled([other])

    assert [str(each["exception"]) for each in reported] == ["broken"]


# ---- cancelling over contexts


async def test_cancel_from_another_context_while_it_awaits_there(threads: Contexts) -> None:
    (other,) = await threads(1)

    async def body() -> None:
        await asyncio.get_running_loop().create_future()

    coroutine = await in_context(other, lambda: start(other, body()))
    coroutine.cancel("reason")

    with pytest.raises(asyncio.CancelledError, match="reason"):
        await coroutine


async def test_cancel_just_moved_raises_where_it_arrives(context: AioContext, threads: Contexts) -> None:
    (other,) = await threads(1)
    arrived: list[AioContext | None] = []

    async def body() -> None:
        try:
            await reschedule_self(other)
            await co_yield()
        finally:
            arrived.append(current_context())

    coroutine = start(context, body())
    coroutine.cancel()

    with pytest.raises(asyncio.CancelledError):
        await coroutine
    assert arrived == [other]


async def test_cancel_one_that_never_stays_follows_it(threads: Contexts) -> None:
    """Cancelled by all threads while it moves on and on, awaits and yields in between: it is raised in it."""
    contexts = await threads(3)

    async def body() -> int:
        heard = 0
        while heard < 20:
            for context in contexts:
                try:
                    await reschedule_self(context)
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    heard += 1
        return heard

    coroutine = Coroutine(contexts[0], body())
    coroutine.schedule(contexts[0])

    async def cancels() -> None:
        while coroutine.cancel():
            await asyncio.sleep(0)

    cancellers = [Coroutine(context, cancels()) for context in contexts]
    for canceller in cancellers:
        canceller.schedule(canceller.context)
    await ends(cancellers)

    assert 20 <= await coroutine <= coroutine.cancelling()


# ---- asyncio in the new home


async def test_timeout_opened_after_a_move_expires(context: AioContext, threads: Contexts) -> None:
    (other,) = await threads(1)

    async def body() -> str:
        await reschedule_self(other)
        try:
            async with asyncio.timeout(0.001):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return "expired"
        return "unreachable"

    coroutine = start(context, body())

    assert (await coroutine, coroutine.cancelling()) == ("expired", 0)


async def test_queue_gather_and_task_group_after_a_move_work(context: AioContext, threads: Contexts) -> None:
    (other,) = await threads(1)

    async def body() -> list[Any]:
        await asyncio.sleep(0)
        await reschedule_self(other)
        queue: asyncio.Queue[int] = asyncio.Queue()
        got = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.put_nowait(1)
        gathered = await asyncio.gather(got, asyncio.sleep(0, 2))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, 3))
        await reschedule_self(context)
        return [*gathered, task.result(), await asyncio.sleep(0, 4)]

    assert await start(context, body()) == [1, 2, 3, 4]


async def test_task_group_after_a_move_failing_child_cancels_the_body(context: AioContext, threads: Contexts) -> None:
    (other,) = await threads(1)

    async def broken() -> None:
        raise ValueError("broken")

    async def body() -> None:
        await reschedule_self(other)
        async with asyncio.TaskGroup() as group:
            group.create_task(broken())
            await asyncio.get_running_loop().create_future()

    coroutine = start(context, body())
    with pytest.raises(ExceptionGroup) as raised:
        await coroutine

    assert raised.group_contains(ValueError, match="broken")
    assert coroutine.cancelling() == 0
