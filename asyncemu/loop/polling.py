# SPDX-License-Identifier: GPL-2.0-or-later
"""AdaptivePolling: looking for work without a system call for a while, before the loop goes to sleep.

What it saves is the sleep: the system call, the scheduler, and the eventfd of whoever would have rung. What it costs is
CPU, and in an interpreter with a GIL it may cost others more than it gains. So:

- How long is learnt from the sleeps: see poll_time.py. A context with a descriptor that can't be polled never polls, or
  that descriptor would wait.
- What a vCPU thread of this process rings is not polled: to ring, that thread needs the GIL that we would hold. And
  nothing is polled while such a thread is in the guest: it will want the GIL at its next exit.
- Every few µs the GIL is offered. If getting it back takes long, another thread of this process is at work and the
  polling was in its way: it ends, and rests for a while that doubles each time.
- It polls only in a round of the loop in which nothing was done: coroutines that go on step by step never wait for it.

Home only.
"""

from __future__ import annotations

import ctypes
from time import monotonic_ns
from typing import TYPE_CHECKING, Final, Protocol

from asyncemu.loop.poll_time import PollParameters, PollTime
from asyncemu.loop.vcpu_threads import any_in_guest
from asyncemu.tracing import tracer

if TYPE_CHECKING:
    from asyncemu.loop.context import AioContext

#: How long to poll between two offers of the GIL, ns. An offer is a system call that costs half a microsecond.
OFFER_EVERY: Final = 4_000
#: The GIL was away for longer than this, ns: somebody used it. An offer that nobody takes returns within 2 µs.
CONTENDED: Final = 15_000

#: Through CDLL, which gives the GIL up during the call; os.sched_yield of Python 3.11 keeps it.
offer_gil: Final = ctypes.CDLL(None).sched_yield


class Pollable(Protocol):
    """Something in memory that shows when there is work: a completion ring, a virtqueue."""

    #: Does a vCPU thread of this process make the work?
    rung_by_vcpu: bool

    def poll(self) -> bool:
        """Is there work? Looks at memory only: no system call."""

    def poll_ready(self) -> None:
        """Do it. Called when ``poll`` said yes."""


class AdaptivePolling:
    """Of one context, which calls ``woken`` and ``left`` around each of its callbacks while polling is on."""

    def __init__(self, context: AioContext) -> None:
        self._context = context
        self.time = PollTime()
        self._pollables: list[Pollable] = []
        self._polled: list[Pollable] = []
        #: When the loop was last left to itself; 0: not since the last callback.
        self._idle_since = 0
        self._armed = False
        self._activity_seen = 0
        # Statistics.
        self.polls = 0
        self.hits = 0
        self.contended = 0

    def set_parameters(self, parameters: PollParameters) -> None:
        """From now on; begins anew."""
        self.time.set_parameters(parameters)
        self._idle_since = 0

    def add(self, pollable: Pollable) -> None:
        """Poll it too."""
        self._pollables.append(pollable)
        self._polled = [each for each in self._pollables if not each.rung_by_vcpu]

    def remove(self, pollable: Pollable) -> None:
        """Leave it alone."""
        self._pollables.remove(pollable)
        self._polled = [each for each in self._pollables if not each.rung_by_vcpu]

    # ---- around each callback of the context

    def woken(self) -> None:
        """The loop calls a handler: if it slept before, learn from how long."""
        if self._idle_since:
            self.time.slept(monotonic_ns() - self._idle_since)
            self._idle_since = 0

    def left(self) -> None:
        """A callback has ended; the loop may go to sleep."""
        self._idle_since = now = monotonic_ns()
        if not self._armed and self._may_poll(now):
            self._armed = True
            self._activity_seen = self._context.activity
            self._context.loop.call_soon(self._quiet, context=self._context.variables)

    def _may_poll(self, now: int) -> bool:
        return bool(self._polled and self.time.may_begin(now) and self._context.all_pollable() and not any_in_guest())

    # ---- polling

    def _quiet(self) -> None:
        """Once round the loop since the last callback: was anything done meanwhile?"""
        self._armed = False
        context = self._context
        start = monotonic_ns()
        if context.polling is not self or not self._may_poll(start):
            return
        if context.activity != self._activity_seen:
            self._activity_seen = context.activity
            self._armed = True
            context.loop.call_soon(self._quiet, context=context.variables)
            return
        context.bottom_halves.will_look = True
        try:
            pollable = self._spin(start)
            if tracer.on:
                tracer.span("poll", "hit" if pollable else "miss", start)
            if pollable is not None:
                self.hits += 1
                self.time.caught()
                context.activity += 1
                self._idle_since = 0
                pollable.poll_ready()
                self.left()
            else:
                # Counted from the beginning of the polling: that is when sleeping would have begun.
                self._idle_since = start
        finally:
            context.bottom_halves.settle()

    def _spin(self, start: int) -> Pollable | None:
        """Who has work; None when the time is up or the context has work of another kind."""
        self.polls += 1
        polled, incoming = self._polled, self._context.bottom_halves.incoming
        end = start + self.time.poll_ns
        deadline = self._context.next_deadline()
        if deadline is not None:
            end = min(end, deadline)
        offer_at = start + OFFER_EVERY
        while True:
            for pollable in polled:
                if pollable.poll():
                    return pollable
            now = monotonic_ns()
            if now >= end or incoming:
                return None
            if now >= offer_at:
                offer_gil()
                offer_at = monotonic_ns()
                if offer_at - now > CONTENDED:
                    self.contended += 1
                    self.time.contended(offer_at)
                    return None
                offer_at += OFFER_EVERY
