# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls into the home of what may move meanwhile, and calls that are not given up halfway.

Guarantee of move.py that this stands on: the ``context`` of a node or BlockBackend is changed in the thread that was
its home until then, between two callbacks. So who finds itself at home stays there up to its next ``await``, and no two
threads ever hold themselves to be the home of one object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Coroutine as PythonCoroutine
from typing import Any, Final, Protocol, TypeVar, cast

from asyncemu.coroutines import Coroutine
from asyncemu.loop import AioContext, current_context

ResultT = TypeVar("ResultT")


class HasContext(Protocol):
    """A node, a BlockBackend."""

    context: AioContext


#: It was somebody else's home when we arrived.
_GONE: Final = object()


async def at_home(target: HasContext, function: Callable[[], PythonCoroutine[Any, Any, ResultT]]) -> ResultT:
    """Await ``function()`` in the home of ``target``, wherever that is by then. From any context.

    Cancelled, it cancels that and waits for its end: a request has left its buffers alone.
    """
    while True:
        context = target.context
        if context.in_home():
            return await function()
        result = await call_to_end(context, lambda context=context: _if_home(target, context, function))  # type: ignore[misc]
        if result is not _GONE:
            return cast(ResultT, result)


async def _if_home(
    target: HasContext, context: AioContext, function: Callable[[], PythonCoroutine[Any, Any, object]]
) -> object:
    return await function() if target.context is context else _GONE


async def to_end(body: PythonCoroutine[Any, Any, ResultT]) -> ResultT:
    """Await ``body``, which a cancellation of the caller does not reach; it is raised when ``body`` has ended."""
    context = current_context()
    if context is None:  # closed: the program ends
        return await body
    running = Coroutine(context, body)
    running.enter()
    return await _ended(running, cancels=False)


async def call_to_end(context: AioContext, function: Callable[[], PythonCoroutine[Any, Any, ResultT]]) -> ResultT:
    """As AioContext.call; cancelled, it cancels ``function()`` and waits until that has ended, wherever it runs."""
    if context.in_home():
        return await function()
    if context.closed:
        raise RuntimeError(f"{context!r} is closed")
    running = Coroutine(context, function())
    running.schedule(context)
    return await _ended(running, cancels=True)


async def _ended(running: Coroutine[ResultT], *, cancels: bool) -> ResultT:
    cancellation: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await running
        except asyncio.CancelledError as error:
            if running.done() and running.error is error:
                break
            cancellation = error
            if cancels:
                running.cancel()
        except BaseException:
            break
    failure = running.error
    if cancellation is not None:
        raise cancellation from failure
    if failure is not None:
        raise failure
    return running.result()
