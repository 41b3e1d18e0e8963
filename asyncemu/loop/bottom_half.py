# SPDX-License-Identifier: GPL-2.0-or-later
"""BottomHalf: work that a context does in its next round, asked for from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncemu.loop.markers import any_thread

if TYPE_CHECKING:
    from asyncemu.loop.context import AioContext


class BottomHalf:
    """QEMU's QEMUBH on call_soon.

    Guarantees: scheduled twice before it runs, it runs once; scheduled from a bottom half (itself included), it runs in
    the next round; after ``cancel`` or ``delete`` returns at home it does not run, also when called from its own
    callback; everything the scheduling thread wrote before ``schedule`` is seen by the callback.
    Create with ``AioContext.bh_new``.
    """

    __slots__ = ("_callback", "_deleted", "_pending", "_queued", "_queued_idle", "context", "name")

    def __init__(self, context: AioContext, callback: Callable[[], object], name: str) -> None:
        self.context = context
        self.name = name
        self._callback = callback
        self._pending = False
        self._deleted = False
        # Held while _run, or _run_idle, lies in the context's queue: acquire(False) is a test-and-set, so that however
        # many threads schedule at once, and after a cancel, there is one entry. With two of them a bottom half that
        # schedules itself would run twice a round for ever.
        self._queued = threading.Lock()
        self._queued_idle = threading.Lock()

    @any_thread
    def schedule(self) -> None:
        """Run the callback once, in the context's next round."""
        if self._deleted:
            return
        # Before the look at the lock: _run frees it before it looks at _pending, so one of the two sees the other.
        self._pending = True
        if self._queued.acquire(False):
            self.context.enqueue(self._run)

    @any_thread
    def schedule_idle(self) -> None:
        """Run the callback within 10 ms, as QEMU's idle bottom halves; a ``schedule`` meanwhile hurries it."""
        if self._deleted:
            return
        self._pending = True
        if self._queued_idle.acquire(False):
            self.context.enqueue_idle(self._run_idle)

    @any_thread
    def cancel(self) -> None:
        """Forget a scheduling that has not run yet."""
        self._pending = False

    @any_thread
    def delete(self) -> None:
        """Cancel, and ignore every later ``schedule``."""
        self._deleted = True
        self._pending = False

    @property
    def pending(self) -> bool:
        """Scheduled and not run yet?"""
        return self._pending

    def _run(self) -> None:
        self._queued.release()
        if self._pending:
            # Cleared first: a schedule() made while the callback runs counts for the next round.
            self._pending = False
            self._callback()

    def _run_idle(self) -> None:
        self._queued_idle.release()
        if self._pending:
            self._pending = False
            self._callback()

    def __repr__(self) -> str:
        return f"<BottomHalf {self.name} of {self.context.name}>"
