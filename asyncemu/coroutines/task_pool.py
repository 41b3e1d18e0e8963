# SPDX-License-Identifier: GPL-2.0-or-later
"""AioTaskPool: at most so many coroutines at a time, and the first error of them all. QEMU: AioTaskPool.

pool = AioTaskPool(16)
for cluster in clusters:
    if pool.status is not None:
        break
    await pool.start_task(partial(copy, cluster))
await pool.wait_all()
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Coroutine as PythonCoroutine
from functools import partial
from typing import Any

from asyncemu.coroutines.coroutine import Coroutine, start
from asyncemu.coroutines.waiter import Waiter
from asyncemu.loop import current_context, home


class AioTaskPool:
    """Made and used in one context; a task may move to another one and end there."""

    def __init__(self, max_busy_tasks: int) -> None:
        context = current_context()
        if context is None:
            raise RuntimeError("an AioTaskPool is made in a thread with an AioContext")
        if max_busy_tasks < 1:
            raise ValueError(f"a pool of {max_busy_tasks} tasks can do nothing")
        self.context = context
        self.max_busy_tasks = max_busy_tasks
        #: What the first task that failed has raised. QEMU: aio_task_pool_status.
        self.status: BaseException | None = None
        self._busy = 0
        self._waiters: list[Waiter] = []

    @home
    async def start_task(self, function: Callable[[], PythonCoroutine[Any, Any, object]]) -> None:
        """Wait for a slot, then begin ``function()`` in place. What it raises is for ``status``."""
        await self.wait_slot()
        self._busy += 1
        start(self.context, function(), self._ended)

    def _ended(self, task: Coroutine[Any]) -> None:
        if self.context.in_home():
            self._count(task)
        else:
            self.context.schedule_oneshot(partial(self._count, task))

    def _count(self, task: Coroutine[Any]) -> None:
        self._busy -= 1
        # Looked at in any case: a task's error is not to be reported as nobody's.
        error = task.error
        if self.status is None:
            self.status = error
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.wake()

    @home
    async def wait_one(self) -> None:
        """Return when one of the tasks has ended. RuntimeError when there is none."""
        if not self._busy:
            raise RuntimeError("an AioTaskPool without a task is waited for")
        waiter = Waiter()
        self._waiters.append(waiter)
        # Cancelled, it stays in the list until a task ends: being woken once more does nothing.
        await waiter.wait()

    @home
    async def wait_slot(self) -> None:
        """Return when fewer than ``max_busy_tasks`` are at work."""
        while self._busy >= self.max_busy_tasks:
            await self.wait_one()

    @home
    async def wait_all(self) -> None:
        """Return when none is at work."""
        while self._busy:
            await self.wait_one()

    @property
    def empty(self) -> bool:
        """Is none at work? QEMU: aio_task_pool_empty."""
        return self._busy == 0
