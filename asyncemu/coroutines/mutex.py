# SPDX-License-Identifier: GPL-2.0-or-later
"""CoMutex: one coroutine at a time, whichever context it is in. QEMU: CoMutex.

    async with mutex: ...            or: await mutex.lock() ... mutex.unlock()

FIFO between all contexts: whoever unlocks hands the lock to the one that has waited longest, without letting go of it.
How that is right without a lock of its own: ``_held`` is let go only when nobody is seen waiting, and whoever begins to
wait looks once more whether it has been let go. If both notice each other, ``_held`` (a test-and-set) decides who hands
over. To arrive is to find ``_waiters`` empty, or to append to it; nobody overtakes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable
from types import TracebackType
from typing import Any

from asyncemu.coroutines.waiter import GRANTED, Waiter
from asyncemu.loop import any_thread
from asyncemu.loop.markers import DEBUG


class CoMutex:
    """For coroutines and tasks of any context. Not for plain threads; not recursive."""

    __slots__ = ("_held", "_holder", "_waiters")

    def __init__(self) -> None:
        self._held = threading.Lock()
        self._waiters: deque[Waiter] = deque()
        #: Whose it is; known in debug runs only, where misuse is looked for.
        self._holder: asyncio.Task[Any] | None = None

    @any_thread
    def lock(self) -> Awaitable[None]:
        """Await it, in place: the mutex is yours then. Cancelled while waiting, it is not.

        With a limit in time: ``asyncio.timeout``; ``wait_for`` would have it awaited by another task.
        """
        if not self._waiters and self._held.acquire(False):
            if DEBUG:
                self._holder = asyncio.current_task()
            return GRANTED
        return self._wait()

    async def _wait(self) -> None:
        if DEBUG and self._holder is not None and self._holder is asyncio.current_task():
            raise RuntimeError(f"{self._holder!r} locks a CoMutex that it holds")
        waiter = Waiter()
        self._waiters.append(waiter)
        if self._held.acquire(False):
            # It was let go while we came, by somebody who did not see us.
            self._hand_over()
        try:
            await waiter.wait()
        except BaseException:
            try:
                self._waiters.remove(waiter)
            except ValueError:
                # It has been handed to us meanwhile.
                self._hand_over()
            raise
        if DEBUG:
            self._holder = asyncio.current_task()

    @any_thread
    def unlock(self) -> None:
        """Give it to the one that has waited longest. RuntimeError when it is not locked."""
        if DEBUG and self._held.locked():
            self.assert_locked()
            self._holder = None
        if self._waiters:
            self._hand_over()
            return
        try:
            self._held.release()
        except RuntimeError:
            raise RuntimeError("a CoMutex is unlocked that is not locked") from None
        if self._waiters and self._held.acquire(False):
            self._hand_over()

    def _hand_over(self) -> None:
        """With ``_held`` held: to the first in line, or let go of it when there is nobody."""
        while True:
            try:
                first = self._waiters.popleft()
            except IndexError:
                # Those who waited have been cancelled.
                self._held.release()
                if not self._waiters or not self._held.acquire(False):
                    return
            else:
                first.wake()
                return

    @property
    def locked(self) -> bool:
        """Does anybody hold it?"""
        return self._held.locked()

    @any_thread
    def assert_locked(self) -> None:
        """In debug runs: AssertionError unless the caller holds it. QEMU: qemu_co_mutex_assert_locked."""
        if DEBUG and self._holder is not asyncio.current_task():
            raise AssertionError(f"a CoMutex is held by {self._holder!r}, not by {asyncio.current_task()!r}")

    __aenter__ = lock

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Awaitable[None]:
        self.unlock()
        return GRANTED
