# SPDX-License-Identifier: GPL-2.0-or-later
"""What a body does to its own Coroutine: who am I, suspend me, let me go on elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from types import coroutine
from typing import Any

from asyncemu.coroutines.coroutine import Coroutine
from asyncemu.coroutines.place import caller
from asyncemu.coroutines.suspension import YIELD, Move
from asyncemu.loop import AioContext


def coroutine_self() -> Coroutine[Any] | None:
    """The Coroutine that is running in this thread; None outside of any. QEMU: qemu_coroutine_self."""
    try:
        running = asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None
    return running if isinstance(running, Coroutine) else None


def in_coroutine() -> bool:
    """Is the caller inside a Coroutine? QEMU: qemu_in_coroutine."""
    return coroutine_self() is not None


@coroutine
def co_yield() -> Generator[Any, None, None]:
    """Suspend until somebody enters or wakes this coroutine. QEMU: qemu_coroutine_yield.

    Cancelled, it raises CancelledError; who would have entered it then must not.
    """
    yield YIELD


@coroutine
def reschedule_self(context: AioContext) -> Generator[Any, None, None]:
    """Go on in ``context``, this coroutine's home from then on. QEMU: aio_co_reschedule_self.

    At once when it is there already. What belongs to the old loop must not reach over the move: an ``asyncio.timeout``
    or a TaskGroup that is open. RuntimeError outside of a Coroutine.
    """
    running = coroutine_self()
    if running is None:
        raise RuntimeError("only a Coroutine can move to another context; use AioContext.call")
    if running.context is not context:
        yield Move(context, caller())
