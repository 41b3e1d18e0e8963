# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiter: one wait of one coroutine, which any thread may end. What the locks of this folder are made of.

    waiter = Waiter()              in the context that will wait
    queue.append(waiter)           from here on another thread may wake it
    await waiter.wait()

Why it may be woken before it waits: the wake-up from another thread arrives as a bottom half at home, after the
coroutine that made it has suspended; one from home leaves a future behind that is done.

Works in a Coroutine and in a plain Task, whichever loop it is on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Final

from asyncemu.loop import AioContext, any_thread, current_context


class Waiter:
    """Made in the context that waits. Woken more than once is once."""

    __slots__ = ("_context", "_future", "_loop")

    def __init__(self) -> None:
        self._context: AioContext | None = current_context()
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    @any_thread
    def wait(self) -> Awaitable[None]:
        """Await it, where it was made: until woken. Cancelled, a wake-up that is under way then does nothing."""
        return self._future

    @any_thread
    def wake(self) -> None:
        """Let it go on in its own context; in the next round at the earliest."""
        context = self._context
        if context is None:
            # Closed, it has nobody left who waits; as a context that is closed.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake_at_home)
        elif context.in_home():
            self._wake_at_home()
        else:
            context.schedule_oneshot(self._wake_at_home)

    def _wake_at_home(self) -> None:
        if not self._future.done():
            self._future.set_result(None)


class _NoLoop:
    """A future must have a loop, also one that is done and never asks it for anything."""

    def get_debug(self) -> bool:
        """asyncio asks for that."""
        return False


def _granted() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.Future(loop=_NoLoop())  # type: ignore[arg-type]
    future.set_result(None)
    return future


#: What a lock that is free answers with: awaited, it is done at once, in C. A coroutine for it would cost three times
#: as much. Any thread, any loop.
GRANTED: Final = _granted()
