# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls into homes that move, and calls that are not given up halfway."""

from __future__ import annotations

import asyncio

import pytest

from asyncemu.block.homes import at_home, call_to_end, to_end
from asyncemu.coroutines import start
from asyncemu.loop import AioContext, IOThread, current_context


class Thing:
    """Has a home."""

    def __init__(self, context: AioContext) -> None:
        self.context = context

    async def where(self) -> AioContext | None:
        return current_context()


class Held:
    """A coroutine that waits to be let go, and notes what it gets through."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.done: list[str] = []

    async def run(self) -> str:
        self.done.append("began")
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.done.append("cancelled")
            await asyncio.sleep(0)
            self.done.append("cleaned up")
            raise
        self.done.append("ended")
        return "result"


async def test_at_home_runs_there(context: AioContext, iothreads: list[IOThread]) -> None:
    for home in (context, iothreads[0].aio_context):
        thing = Thing(home)
        assert await at_home(thing, thing.where) is home


async def test_at_home_follows_who_has_moved_on_the_way(context: AioContext, iothreads: list[IOThread]) -> None:
    first, second = (thread.aio_context for thread in iothreads)
    thing = Thing(first)

    # Both are on their way into the old home at once; the one that moves it comes first.
    first.schedule_oneshot(lambda: setattr(thing, "context", second))
    assert await at_home(thing, thing.where) is second


async def test_at_home_raises_what_the_function_raises(context: AioContext, iothreads: list[IOThread]) -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await at_home(Thing(iothreads[0].aio_context), fail)


async def test_to_end_gives_the_result(context: AioContext) -> None:
    held = Held()
    held.gate.set()
    assert await to_end(held.run()) == "result"


async def test_to_end_cancelled_the_body_goes_on_and_then_it_is_raised(context: AioContext) -> None:
    held = Held()
    waiting = start(context, to_end(held.run()))
    waiting.cancel()
    await asyncio.sleep(0)
    before = waiting.done(), held.done.copy()
    waiting.cancel()
    held.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (before, held.done) == ((False, ["began"]), ["began", "ended"])


async def test_to_end_body_that_fails_raises(context: AioContext) -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await to_end(fail())


async def test_to_end_cancelled_body_that_fails_is_the_cause(context: AioContext) -> None:
    held = Held()

    async def fail() -> None:
        await held.run()
        raise ValueError("no")

    waiting = start(context, to_end(fail()))
    waiting.cancel()
    held.gate.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await waiting
    assert isinstance(caught.value.__cause__, ValueError)


async def test_call_to_end_gives_the_result(context: AioContext, iothreads: list[IOThread]) -> None:
    for home in (context, iothreads[0].aio_context):
        thing = Thing(home)
        assert await call_to_end(home, thing.where) is home


async def test_call_to_end_cancelled_waits_until_it_has_cleaned_up(
    context: AioContext, iothreads: list[IOThread]
) -> None:
    home = iothreads[0].aio_context
    held: list[Held] = []

    async def run() -> str:
        held.append(Held())
        return await held[0].run()

    waiting = start(context, call_to_end(home, run))
    # Behind what has begun there.
    await home.call(lambda: asyncio.sleep(0))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert held[0].done == ["began", "cancelled", "cleaned up"]


async def test_call_to_end_of_a_closed_context_raises(context: AioContext) -> None:
    thread = IOThread(context, "gone")
    await thread.start()
    await thread.stop()
    thing = Thing(thread.aio_context)
    with pytest.raises(RuntimeError, match="is closed"):
        await call_to_end(thing.context, thing.where)
