# SPDX-License-Identifier: GPL-2.0-or-later
"""BottomHalf: work that a context does in its next round, asked for from any thread. QEMU: QEMUBH.

    PENDING     it is to run; ``cancel`` and ``delete`` take that back, running it does too
    DELETED     it will never run again
    one-shot    ``AioContext.schedule_oneshot``: made, scheduled and forgotten in one go
    idle        ``schedule_idle``: no reason to wake up at once; runs with the next round, 10 ms from now at the latest

Where it lies while it is pending is the business of bottom_half_queue.py.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING

from asyncemu.loop.markers import any_thread, home

if TYPE_CHECKING:
    from asyncemu.loop.bottom_half_queue import BottomHalfQueue
    from asyncemu.loop.context import AioContext


def _nothing() -> None:
    """What a deleted bottom half does."""


class BottomHalf:
    """Create with ``AioContext.bh_new``.

    Guarantees: scheduled twice before it runs, it runs once; scheduled from a bottom half (itself included), it runs in
    the next round; after ``cancel`` or ``delete`` returns at home it does not run, also when called from its own
    callback; everything the scheduling thread wrote before ``schedule`` is seen by the callback; those that one thread
    schedules run in the order in which it did.
    """

    __slots__ = ("asked", "callback", "category", "incoming", "listed", "name", "queue")

    def __init__(self, queue: BottomHalfQueue, callback: Callable[[], object], name: str, category: str = "bh") -> None:
        self.queue = queue
        self.name = name
        #: What traces call it: one of tracing.categories.
        self.category = category
        self.callback = callback
        #: Scheduled and not run yet? Set by any thread, cleared at home or by ``cancel``.
        self.asked = False
        #: Is it in a list of its queue's? Touched at home only, so that it is in one list at most.
        self.listed = False
        #: Is it among what other threads have handed in? Two of them may both find that it is not: home drops the
        #: second entry. That it is never missing is shown at ``BottomHalfQueue._take_incoming``.
        self.incoming = False

    @property
    def context(self) -> AioContext:
        """Where it runs."""
        return self.queue.context

    @any_thread
    def schedule(self) -> None:
        """Run the callback once, in the context's next round."""
        self.asked = True
        queue = self.queue
        if get_ident() != queue.thread_ident:
            if not self.incoming:
                self.incoming = True
                queue.hand_in(self)
        elif not self.listed:
            self.listed = True
            queue.next_round.append(self)
            if not queue.armed:
                queue.arm()

    @any_thread
    def schedule_idle(self) -> None:
        """Run the callback with the context's next round, whatever causes that, or in 10 ms; ``schedule`` hurries it.

        From another thread it is as ``schedule``: handing it in wakes the context anyway.
        """
        queue = self.queue
        if get_ident() != queue.thread_ident:
            self.schedule()
        else:
            self.asked = True
            if not self.listed:
                queue.add_idle(self)

    @any_thread
    def cancel(self) -> None:
        """Forget a scheduling that has not run yet. QEMU: qemu_bh_cancel."""
        self.asked = False

    @any_thread
    def delete(self) -> None:
        """Cancel, and do nothing on every later ``schedule``. QEMU: qemu_bh_delete."""
        self.callback = _nothing
        self.asked = False

    @property
    def pending(self) -> bool:
        """Scheduled and not run yet?"""
        return self.asked and self.callback is not _nothing

    @home
    def move(self, context: AioContext) -> None:
        """Run in ``context`` from now on; a scheduling that has not run yet goes along. Any thread may schedule it
        meanwhile.
        """
        # In this order: as soon as the queue is the new one, its thread lists the bottom half.
        self.queue.forget(self)
        self.queue = context.bottom_halves
        if self.asked:
            self.schedule()

    def __repr__(self) -> str:
        return f"<BottomHalf {self.name} of {self.context.name}>"
