# SPDX-License-Identifier: GPL-2.0-or-later
"""Sleeping on a machine's clock, and not for longer than so long. QEMU: qemu_co_sleep_ns, qemu_co_timeout.

A coroutine that sleeps on VIRTUAL sleeps on while the machine is stopped, and in a test for as long as the test says
(testing/fake_clock.py); asyncio.sleep knows neither.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Coroutine as PythonCoroutine
from typing import Any, TypeVar

from asyncemu.coroutines.coroutine import Coroutine, start
from asyncemu.coroutines.waiter import Waiter
from asyncemu.loop import AioContext, Clock, any_thread, current_context

ResultT = TypeVar("ResultT")


class CoSleep:
    """A sleep that others may end. QEMU: QemuCoSleep."""

    __slots__ = ("_waiter",)

    def __init__(self) -> None:
        #: Set and reset by the sleeper only, so that a late ``wake`` cannot miss the next sleep or take it away.
        self._waiter: Waiter | None = None

    @any_thread
    async def sleep_ns(self, clock: Clock, ns: int) -> None:
        """Return ``ns`` from now, never earlier, or when woken. RuntimeError when somebody sleeps here already."""
        context = _context()
        if self._waiter is not None:
            raise RuntimeError("a CoSleep has one sleeper at a time")
        waiter = self._waiter = Waiter()
        timer = context.timer(clock, waiter.wake)
        timer.mod(clock.now() + ns)
        try:
            await waiter.wait()
        finally:
            timer.cancel()
            self._waiter = None

    @any_thread
    def wake(self) -> None:
        """End the sleep; nothing when nobody sleeps: the next sleep is not shorter. QEMU: qemu_co_sleep_wake."""
        waiter = self._waiter
        if waiter is not None:
            waiter.wake()


async def co_sleep_ns(clock: Clock, ns: int) -> None:
    """Return ``ns`` from now on ``clock``, never earlier. In a thread with an AioContext. QEMU: qemu_co_sleep_ns."""
    await CoSleep().sleep_ns(clock, ns)


async def co_timeout(
    entry: Callable[[], PythonCoroutine[Any, Any, ResultT]],
    ns: int,
    clock: Clock,
    clean: Callable[[ResultT], object] | None = None,
) -> ResultT:
    """What ``entry()`` returns or raises; TimeoutError when that takes longer than ``ns`` (0: no limit).

    For what cannot be cancelled: ``entry()`` goes on all the same, as it does when the caller is cancelled, and its
    result, which nobody is there for any more, goes to ``clean`` (in the context where it ends), an exception to the
    loop's exception handler. QEMU: qemu_co_timeout.
    """
    if ns == 0:
        return await entry()
    sleep = CoSleep()
    #: Taken by the first: the entry that ends, or the caller that leaves. They may be in two threads.
    first = threading.Lock()

    def ended(coroutine: Coroutine[ResultT]) -> None:
        if first.acquire(False):
            sleep.wake()
        else:
            _clean(coroutine, clean)

    coroutine = start(_context(), entry(), ended)
    try:
        if not coroutine.done():
            await sleep.sleep_ns(clock, ns)
    except BaseException:
        if not first.acquire(False):
            _clean(coroutine, clean)
        raise
    if first.acquire(False):
        raise TimeoutError(f"{coroutine.get_name()} takes longer than {ns} ns")
    return coroutine.result()


def _clean(coroutine: Coroutine[ResultT], clean: Callable[[ResultT], object] | None) -> None:
    if isinstance(coroutine.error, Exception):
        message = f"{coroutine.get_name()} failed after its timeout"
        _context().loop.call_exception_handler({"message": message, "exception": coroutine.error})
    elif coroutine.error is None and clean is not None:
        clean(coroutine.result())


def _context() -> AioContext:
    context = current_context()
    if context is None:
        raise RuntimeError("only a thread with an AioContext has timers")
    return context
