# SPDX-License-Identifier: GPL-2.0-or-later
"""BottomHalf: work that a context does in its next round, asked for from any thread."""

from __future__ import annotations

import asyncio
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

    __slots__ = ("_callback", "_deleted", "_handle", "_pending", "context", "name")

    def __init__(self, context: AioContext, callback: Callable[[], object], name: str) -> None:
        self.context = context
        self.name = name
        self._callback = callback
        self._pending = False
        self._deleted = False
        self._handle: asyncio.Handle | None = None

    @any_thread
    def schedule(self) -> None:
        """Run the callback once, in the context's next round."""
        if self._pending or self._deleted:
            return
        # Two threads that both get here schedule it twice, and _run finds _pending False the second time.
        self._pending = True
        self.context.enqueue(self._run)

    @any_thread
    def schedule_idle(self) -> None:
        """Run the callback when the context has had nothing else to do for a while: within 10 ms, as in QEMU."""
        if self._pending or self._deleted:
            return
        self._pending = True
        self.context.enqueue_idle(self._run)

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
        if self._pending:
            # Cleared first: a schedule() made while the callback runs counts for the next round.
            self._pending = False
            self._callback()

    def __repr__(self) -> str:
        return f"<BottomHalf {self.name} of {self.context.name}>"
