# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said when a coroutine is entered, woken or scheduled where it may not be: both places, by name and line."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest

from asyncemu.coroutines import Coroutine, CoroutineMisuse, co_yield, coroutine_self, start
from asyncemu.coroutines.place import describe
from asyncemu.loop import AioContext
from tests.coroutines.conftest import rounds

pytestmark = pytest.mark.both_loops


def place(below: int) -> str:
    """How a message names the line that is so many below the caller's."""
    frame = sys._getframe(1)
    return describe((frame.f_code, frame.f_lineno + below))


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


async def test_schedule_twice_names_both_places(context: AioContext) -> None:
    coroutine = start(context, yields())

    first, second = place(1), place(3)
    coroutine.schedule(context)
    with pytest.raises(CoroutineMisuse) as raised:
        coroutine.schedule(context)
    await coroutine

    assert str(raised.value) == f"yields was scheduled by {first}, and again by {second}"


async def test_wake_twice_names_both_places(context: AioContext) -> None:
    coroutine = start(context, yields())
    messages: list[str] = []

    async def waker() -> None:
        expected = f"yields was scheduled by {place(1)}, and again by {place(3)}"
        coroutine.wake()
        with pytest.raises(CoroutineMisuse) as raised:
            coroutine.wake()
        messages.extend([expected, str(raised.value)])

    await start(context, waker())

    assert messages[0] == messages[1]
    assert coroutine.done()


async def test_schedule_twice_from_two_threads_one_is_refused(context: AioContext) -> None:
    coroutine = start(context, yields())
    refused: list[CoroutineMisuse] = []
    both = threading.Barrier(2)

    def wake() -> None:
        both.wait()
        try:
            coroutine.wake()
        except CoroutineMisuse as error:
            refused.append(error)

    threads = [threading.Thread(target=wake) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()  # the loop does not turn meanwhile
    await coroutine

    assert len(refused) == 1


async def test_enter_scheduled_names_both_places(context: AioContext) -> None:
    coroutine = start(context, yields())

    first, second = place(1), place(3)
    coroutine.schedule(context)
    with pytest.raises(CoroutineMisuse) as raised:
        coroutine.enter()
    await coroutine

    assert str(raised.value) == f"yields was scheduled by {first}, and then entered by {second}"


async def test_enter_itself_names_both_places(context: AioContext) -> None:
    async def body() -> tuple[str, str]:
        again = place(2)
        with pytest.raises(CoroutineMisuse) as raised:
            (await this_one()).enter()
        return again, str(raised.value)

    coroutine = Coroutine(context, body())
    first = place(1)
    coroutine.enter()
    again, message = await coroutine

    assert message == f"{body.__qualname__} was entered by {first}, and again entered by {again}"


async def test_enter_one_that_awaits_names_what_it_awaits(context: AioContext) -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def body() -> None:
        await gate

    coroutine = start(context, body())
    again = place(2)
    with pytest.raises(CoroutineMisuse) as raised:
        coroutine.enter()
    what = repr(gate)
    gate.set_result(None)
    await coroutine

    assert str(raised.value) == f"{body.__qualname__} awaits {what}, and was entered by {again}"


async def test_enter_ended_is_refused(context: AioContext) -> None:
    coroutine = start(context, yields(0))

    again = place(2)
    with pytest.raises(CoroutineMisuse) as raised:
        coroutine.enter()

    assert str(raised.value) == f"yields has ended, and was then entered by {again}"


async def test_wake_one_that_awaits_from_a_coroutine_is_refused_and_it_goes_on(context: AioContext) -> None:
    """Not noticed before the waker's next suspension, it would be run in the middle of its await."""
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def body() -> str:
        return await gate

    coroutine = start(context, body())

    async def waker() -> None:
        with pytest.raises(CoroutineMisuse, match=r"body awaits <Future pending.*, and was entered by .*waker"):
            coroutine.wake()

    await start(context, waker())
    gate.set_result("gate's")

    assert await coroutine == "gate's"


async def test_wake_itself_is_refused(context: AioContext) -> None:
    async def body() -> None:
        with pytest.raises(CoroutineMisuse, match=r"was entered by .*, and again entered by .*body"):
            (await this_one()).wake()

    await start(context, body())


async def test_scheduled_then_awaiting_is_reported_and_it_goes_on(
    context: AioContext, reported: list[dict[str, Any]]
) -> None:
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    places: list[str] = []

    async def body() -> str:
        this = await this_one()
        places.append(place(1))
        this.schedule(context)
        return await gate

    coroutine = start(context, body())
    what = repr(gate)
    await rounds(1)
    gate.set_result("gate's")

    assert await coroutine == "gate's"
    assert [str(each["exception"]) for each in reported] == [
        f"{body.__qualname__} awaits {what}, and was entered by {places[0]}"
    ]


async def test_await_itself_is_refused(context: AioContext) -> None:
    async def body() -> None:
        await (await this_one())

    with pytest.raises(RuntimeError, match=r"<Coroutine .*body of test> awaits itself"):
        await start(context, body())
