# SPDX-License-Identifier: GPL-2.0-or-later
"""BottomHalfQueue: a context's bottom halves that wait for their round, and what wakes the context for them.

One round takes all that is waiting when it begins, in one callback of the loop, however many there are: what a bottom
half schedules is in the next round (QEMU's slices of aio_bh_poll). A round costs one ``call_soon``.

From other threads. ``hand_in`` appends to a deque (one step under the GIL) and rings an eventfd, unless the context
will look at the deque anyway. It will look when

- it has been rung and has not listened yet, or
- a round is asked of the loop: it begins with a look, or
- it is in a callback of ours (a round, a handler, a timer): ``settle`` looks at the end of each.

``will_look`` says so. Why no wake-up is lost: a thread appends first and looks at ``will_look`` second; ``settle``
clears it first and looks at the deque second. Under the GIL all threads see these steps in one order, so one of the two
sees the other. QEMU has notify_me and notified for this (aio_notify).

After ``close`` nobody looks: each ``hand_in`` empties the deque by itself, what is in it is dropped, and what has moved
to another context is sent after it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from asyncemu.loop.bottom_half import BottomHalf
from asyncemu.loop.event_notifier import EventNotifier
from asyncemu.loop.markers import any_thread
from asyncemu.tracing import tracer

if TYPE_CHECKING:
    from asyncemu.loop.context import AioContext

#: An idle bottom half runs within this time even when nothing else makes a round (QEMU: 10 ms). Seconds.
IDLE_DELAY: Final = 0.010


def _gone() -> None:
    """In the place of a bottom half that has moved away."""


class BottomHalfQueue:
    """Belongs to one AioContext; its home is that context's thread."""

    def __init__(self, context: AioContext) -> None:
        self.context = context
        self.thread_ident = context.thread_ident
        #: Is a round asked of the loop?
        self.armed = False
        self.next_round: list[BottomHalf] = []
        self._running: list[BottomHalf] = []
        self._idle: list[BottomHalf] = []
        self._idle_timer: asyncio.TimerHandle | None = None
        self.incoming: deque[BottomHalf] = deque()
        self.will_look = False
        self._doorbell = EventNotifier()
        self._closing = threading.Lock()
        self._closed = False
        # Statistics: rounds and bottom halves run; eventfd writes made and spared, which threads count without a lock.
        self.rounds = 0
        self.run = 0
        self.wakeups = 0
        self.wakeups_elided = 0
        context.loop.add_reader(self._doorbell.fd, self._hear)

    # ---- any thread

    @any_thread
    def hand_in(self, bottom_half: BottomHalf) -> None:
        """From another thread: let the context take ``bottom_half`` over, waking it if it may be asleep."""
        self.incoming.append(bottom_half)
        if self.will_look:
            self.wakeups_elided += 1
            return
        self.will_look = True
        self.wakeups += 1
        # close() takes it too: a late ring must not reach a descriptor that somebody else got meanwhile.
        with self._closing:
            if not self._closed:
                self._doorbell.set()
                return
        self.will_look = False
        self._drop_incoming()

    # ---- home

    def arm(self) -> None:
        """Have the loop run a round."""
        self.armed = True
        self.will_look = True
        self.context.loop.call_soon(self._round, context=self.context.variables)

    def add_idle(self, bottom_half: BottomHalf) -> None:
        """Run with the next round, or after IDLE_DELAY."""
        if bottom_half not in self._idle:
            self._idle.append(bottom_half)
            if self._idle_timer is None:
                self._idle_timer = self.context.loop.call_later(IDLE_DELAY, self._idle_due)

    def settle(self) -> None:
        """At the end of each callback of ours: from here on the loop may sleep, so look once more."""
        while not self.armed:
            self.will_look = False
            if not self.incoming or self._closed:
                return
            self.will_look = True
            self._take_incoming()
            if self.next_round:
                self.arm()

    def _take_incoming(self) -> None:
        """Put what other threads have handed in behind what the next round has.

        Why a scheduling is never lost: a thread sets ``asked`` first and looks at ``incoming`` second; here
        ``incoming`` is cleared first and ``asked`` is looked at second, when the round comes.
        """
        incoming = self.incoming
        # Bounded by what is there now: a thread that keeps ringing can't keep us.
        for _ in range(len(incoming)):
            bottom_half = incoming.popleft()
            bottom_half.incoming = False
            if bottom_half.queue is not self:  # it has moved meanwhile
                if bottom_half.asked:
                    bottom_half.schedule()
            elif not bottom_half.listed:
                bottom_half.listed = True
                self.next_round.append(bottom_half)

    def forget(self, bottom_half: BottomHalf) -> None:
        """It is about to move away: take it out of every list. If it has been handed in, it is sent after it."""
        if bottom_half in self._idle:
            self._idle.remove(bottom_half)
        if bottom_half.listed:
            bottom_half.listed = False
            for waiting in (self.next_round, self._running):
                if bottom_half in waiting:
                    waiting[waiting.index(bottom_half)] = BottomHalf(self, _gone, "gone")

    def _hear(self) -> None:
        if self._closed:
            return
        self._doorbell.test_and_clear()
        self.context.woken()
        # At once: these have waited for a thread to wake up already.
        self._run_round()

    def _round(self) -> None:
        self.armed = False
        self._run_round()

    def _idle_due(self) -> None:
        self._idle_timer = None
        self.context.woken()
        self._run_round()

    def _run_round(self) -> None:
        if self._closed:
            return
        self.will_look = True
        self.context.activity += 1
        if self.incoming:
            self._take_incoming()
        taken, self.next_round = self.next_round, []
        if self._idle:
            taken += self._take_idle()
        self.rounds += 1
        self.run += len(taken)
        self._running = taken
        waiting = iter(taken)
        traced = tracer.on
        try:
            for bottom_half in waiting:
                bottom_half.listed = False
                if bottom_half.asked:
                    # Cleared first: a schedule() made while the callback runs counts for the next round.
                    bottom_half.asked = False
                    try:
                        if traced:
                            start = monotonic_ns()
                            bottom_half.callback()
                            tracer.span(bottom_half.category, bottom_half.name, start)
                        else:
                            bottom_half.callback()
                    except (KeyboardInterrupt, SystemExit):
                        raise
                    except BaseException as error:
                        message = f"bottom half of {self.context.name}"
                        self.context.loop.call_exception_handler({"message": message, "exception": error})
        except BaseException:
            # Should the loop go on, so does what was behind the one that ended it.
            self.next_round = [*waiting, *self.next_round]
            if self.next_round and not self.armed:
                self.arm()
            raise
        finally:
            self._running = []
            self.context.settle()

    def _take_idle(self) -> list[BottomHalf]:
        idle, self._idle = self._idle, []
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        # One that was hurried is in this round already.
        idle = [bottom_half for bottom_half in idle if not bottom_half.listed]
        for bottom_half in idle:
            bottom_half.listed = True
        return idle

    def close(self) -> None:
        """Stop listening; what is queued is dropped, and so is what comes later, from any thread."""
        # Nobody's from now on, or home would ask for rounds; and the kernel may give the number to a new thread.
        self.thread_ident = 0
        self.context.loop.remove_reader(self._doorbell.fd)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self.next_round = []
        self._running.clear()  # also what is behind the bottom half that closes the context
        self._idle = []
        self.armed = False
        with self._closing:
            self._closed = True
            self._doorbell.close()
        self.will_look = False
        self._drop_incoming()

    def _drop_incoming(self) -> None:
        """Any thread, when closed."""
        while True:
            try:
                bottom_half = self.incoming.popleft()
            except IndexError:
                return
            bottom_half.incoming = False
            if bottom_half.queue is not self and bottom_half.asked:
                bottom_half.schedule()
