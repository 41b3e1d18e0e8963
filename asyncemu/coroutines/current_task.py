# SPDX-License-Identifier: GPL-2.0-or-later
"""Which task asyncio believes to be running: ours, while one of our coroutines runs.

asyncio's functions for this forbid to enter a task while another one runs, which is what entering in place is. Up to
Python 3.13 the table behind them is at hand; from 3.14 on each thread has a place of its own, and a function to swap.

``current_tasks[loop]`` is the task; there is no entry when there is none. The loop's thread only.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

if sys.version_info < (3, 14):
    from asyncio.tasks import _current_tasks as current_tasks  # type: ignore[attr-defined]
else:
    from asyncio.tasks import _swap_current_task

    class _CurrentTasks:
        """The table's form over the function."""

        def __contains__(self, loop: asyncio.AbstractEventLoop) -> bool:
            return asyncio.current_task(loop) is not None

        def __getitem__(self, loop: asyncio.AbstractEventLoop) -> Any:
            return asyncio.current_task(loop)

        def __setitem__(self, loop: asyncio.AbstractEventLoop, task: Any) -> None:
            _swap_current_task(loop, task)

        def __delitem__(self, loop: asyncio.AbstractEventLoop) -> None:
            _swap_current_task(loop, None)

    current_tasks = _CurrentTasks()

__all__ = ["current_tasks"]
