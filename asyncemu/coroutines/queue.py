# SPDX-License-Identifier: GPL-2.0-or-later
"""CoQueue: coroutines that wait for something to happen, first come first served. QEMU: CoQueue.

    async with mutex:                       async with mutex:
        while not ready:                        ready = True
            await queue.wait(mutex)             queue.next()

What it guarantees:
- to wait is to be in the queue, in one step, before the mutex is let go of: a wake-up made with the mutex held is not
  lost;
- the mutex is held again when ``wait`` returns, and when it raises, too;
- a cancelled waiter that ``next`` had chosen passes its turn on to the one behind it.

Wakers may be in any thread; nobody they wake runs before the next round, so none runs inside of them.
"""

from __future__ import annotations

import asyncio
from collections import deque

from asyncemu.coroutines.mutex import CoMutex
from asyncemu.coroutines.waiter import Waiter
from asyncemu.loop import any_thread


class _QueueWaiter(Waiter):
    """In the queue."""

    __slots__ = ("everybody",)

    def __init__(self) -> None:
        super().__init__()
        #: Woken with all the others: if it does not take its turn, it is nobody else's.
        self.everybody = False


class CoQueue:
    """For coroutines and tasks of any context."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: deque[_QueueWaiter] = deque()

    @any_thread
    async def wait(self, mutex: CoMutex | None = None, *, front: bool = False) -> None:
        """Let go of ``mutex``, which the caller holds, return when woken, holding it again. QEMU: qemu_co_queue_wait.

        ``front``: be the next one (CO_QUEUE_WAIT_FRONT). Cancelled, it raises once it has the mutex again.
        """
        waiter = _QueueWaiter()
        if front:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        if mutex is not None:
            mutex.unlock()
        cancelled: asyncio.CancelledError | None = None
        try:
            await waiter.wait()
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:  # the coroutine is closed: it can't wait for the mutex
            self._give_up(waiter)
            raise
        while mutex is not None:
            try:
                await mutex.lock()
                break
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            self._give_up(waiter)
            raise cancelled

    def _give_up(self, waiter: _QueueWaiter) -> None:
        try:
            self._waiters.remove(waiter)
        except ValueError:
            if not waiter.everybody:
                self.next()

    @any_thread
    def next(self) -> bool:
        """Wake the one that has waited longest; False when nobody waits. QEMU: qemu_co_queue_next."""
        try:
            first = self._waiters.popleft()
        except IndexError:
            return False
        first.wake()
        return True

    @any_thread
    def restart_all(self) -> None:
        """Wake all that wait now, in their order. QEMU: qemu_co_queue_restart_all."""
        # Those that wait again at once are behind these, and not meant.
        for _ in range(len(self._waiters)):
            try:
                first = self._waiters.popleft()
            except IndexError:  # the rest has been cancelled, or another thread wakes it
                return
            first.everybody = True
            first.wake()

    #: The same from outside of coroutines. QEMU: qemu_co_enter_next, qemu_co_enter_all.
    enter_next = next
    enter_all = restart_all

    @property
    def empty(self) -> bool:
        """Does nobody wait? QEMU: qemu_co_queue_empty."""
        return not self._waiters
