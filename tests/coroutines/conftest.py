# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of coroutines share: contexts in threads of their own, and an eye on the loop's exception handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest

from asyncemu.coroutines import Coroutine
from asyncemu.loop import AioContext, IOThread

ResultT = TypeVar("ResultT")
Contexts = Callable[[int], Awaitable[list[AioContext]]]


async def rounds(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def settled(contexts: list[AioContext]) -> None:
    """Return when whatever was scheduled in ``contexts``, and what that scheduled in turn, has run."""
    for _ in range(3):
        for context in contexts:
            await context.call(lambda: rounds(3))
        await rounds(3)


async def in_context(context: AioContext, function: Callable[[], ResultT]) -> ResultT:
    """``function()`` as a callback of ``context``."""

    async def call() -> ResultT:
        return function()

    return await context.call(call)


async def ends(coroutines: list[Coroutine[Any]]) -> None:
    """All have ended; what one raised is raised."""
    for coroutine in coroutines:
        await coroutine


@pytest.fixture
async def reported() -> AsyncIterator[list[dict[str, Any]]]:
    """What reaches the loop's exception handler."""
    loop = asyncio.get_running_loop()
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    yield contexts
    loop.set_exception_handler(None)


@pytest.fixture
async def threads(context: AioContext) -> AsyncIterator[Contexts]:
    """Make so many contexts, each in an IOThread."""
    made: list[IOThread] = []

    async def make(count: int) -> list[AioContext]:
        new = [IOThread(context, f"io{number}") for number in range(count)]
        for thread in new:
            await thread.start()
            made.append(thread)
        return [thread.aio_context for thread in new]

    yield make
    for thread in made:
        await thread.stop()
