# SPDX-License-Identifier: GPL-2.0-or-later
"""AdaptivePolling: looking for work without a system call for a while, before the loop goes to sleep.

What it saves is the sleep: the system call, the scheduler, and the eventfd of whoever would have rung. What it costs is
CPU, and in an interpreter with a GIL it may cost others more than it gains. So:

- As QEMU (kvm's halt_poll_ns): after each sleep, ``poll_ns`` grows when the event came within ``poll-max-ns`` (from
  4 µs, times ``poll-grow``), shrinks when it took longer, and stays when polling would have caught it. The time that
  handlers take does not count. Zero means no polling at all. A context with a descriptor that can't be polled never
  polls, or that descriptor would wait.
- What a vCPU thread of this process rings is not polled: to ring, that thread needs the GIL that we would hold. And
  nothing is polled while such a thread is in the guest: it will want the GIL at its next exit.
- Every few µs the GIL is offered. If getting it back takes long, another thread of this process is at work and the
  polling was in its way: it ends, and rests for a while that doubles each time.
- It polls only in a round of the loop in which nothing was done: coroutines that go on step by step never wait for it.

Home only, but for ``set_parameters``.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from time import monotonic_ns
from typing import TYPE_CHECKING, Final, Protocol

from asyncemu.loop.vcpu_threads import any_in_guest
from asyncemu.tracing import tracer

if TYPE_CHECKING:
    from asyncemu.loop.context import AioContext

#: Where growing begins, ns: QEMU's.
FIRST_POLL: Final = 4_000
#: How long to poll between two offers of the GIL, ns. An offer is a system call that costs half a microsecond.
OFFER_EVERY: Final = 4_000
#: The GIL was away for longer than this, ns: somebody used it. An offer that nobody takes returns within 2 µs.
CONTENDED: Final = 15_000
#: Rest after the GIL was contended, ns: the first, and the longest.
FIRST_REST: Final = 1_000_000
LONGEST_REST: Final = 1_000_000_000

#: Through CDLL, which gives the GIL up during the call; os.sched_yield of Python 3.11 keeps it.
_offer_gil: Final = ctypes.CDLL(None).sched_yield


class Pollable(Protocol):
    """Something in memory that shows when there is work: a completion ring, a virtqueue."""

    #: Does a vCPU thread of this process make the work?
    rung_by_vcpu: bool

    def poll(self) -> bool:
        """Is there work? Looks at memory only: no system call."""

    def poll_ready(self) -> None:
        """Do it. Called when ``poll`` said yes."""


@dataclass(frozen=True, slots=True)
class PollParameters:
    """QEMU's names. ``max_ns`` 0: never poll; ``grow`` 0: times 2; ``shrink`` 0: to nothing at once."""

    max_ns: int = 0
    grow: int = 0
    shrink: int = 0


class AdaptivePolling:
    """Of one context."""

    def __init__(self, context: AioContext) -> None:
        self._context = context
        self.parameters = PollParameters()
        #: How long the next polling is to be; 0: none.
        self.poll_ns = 0
        self._pollables: list[Pollable] = []
        self._polled: list[Pollable] = []
        #: When the loop was last left to itself.
        self._idle_since = 0
        self._armed = False
        self._activity_seen = 0
        self._rest_until = 0
        self._rest = FIRST_REST
        # Statistics.
        self.polls = 0
        self.hits = 0
        self.contended = 0

    def set_parameters(self, parameters: PollParameters) -> None:
        """From now on; begins anew. Any thread."""
        self.parameters = parameters
        self.poll_ns = 0
        self._rest_until = 0

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
            self._learn(monotonic_ns() - self._idle_since)
            self._idle_since = 0

    def left(self) -> None:
        """A callback has ended; the loop may go to sleep."""
        self._idle_since = monotonic_ns()
        if self.poll_ns and not self._armed and self._may_poll(self._idle_since):
            self._armed = True
            self._activity_seen = self._context.activity
            self._context.loop.call_soon(self._quiet)

    def _learn(self, block_ns: int) -> None:
        parameters = self.parameters
        if block_ns <= self.poll_ns:
            return
        if block_ns > parameters.max_ns:
            self.poll_ns = self.poll_ns // parameters.shrink if parameters.shrink else 0
        elif self.poll_ns < parameters.max_ns:
            self.poll_ns = min(self.poll_ns * (parameters.grow or 2) or FIRST_POLL, parameters.max_ns)

    def _may_poll(self, now: int) -> bool:
        return bool(self._polled) and now >= self._rest_until and self._context.all_pollable() and not any_in_guest()

    # ---- polling

    def _quiet(self) -> None:
        """Once round the loop since the last callback: was anything done meanwhile?"""
        activity = self._context.activity
        if activity != self._activity_seen:
            self._activity_seen = activity
            self._context.loop.call_soon(self._quiet)
            return
        self._armed = False
        start = monotonic_ns()
        pollable = self._spin(start)
        if tracer.on:
            tracer.span("poll", "hit" if pollable else "miss", start)
        if pollable is None:
            # Counted from the beginning of the polling: that is when sleeping would have begun.
            self._idle_since = start
            self._context.bottom_halves.settle()
            return
        self.hits += 1
        self._rest = FIRST_REST
        self._idle_since = 0
        try:
            pollable.poll_ready()
        finally:
            self._context.settle()

    def _spin(self, start: int) -> Pollable | None:
        """Who has work; None when the time is up or the context has work of another kind."""
        self.polls += 1
        context, polled = self._context, self._polled
        queue = context.bottom_halves
        queue.will_look = True
        end = start + self.poll_ns
        deadline = context.next_deadline()
        if deadline is not None:
            end = min(end, deadline)
        offer_at = start + OFFER_EVERY
        while True:
            for pollable in polled:
                if pollable.poll():
                    return pollable
            now = monotonic_ns()
            if now >= end or queue.incoming:
                return None
            if now >= offer_at:
                _offer_gil()
                offer_at = monotonic_ns()
                if offer_at - now > CONTENDED:
                    self._rest_for_others(offer_at)
                    return None
                offer_at += OFFER_EVERY

    def _rest_for_others(self, now: int) -> None:
        self.contended += 1
        self._rest_until = now + self._rest
        self._rest = min(2 * self._rest, LONGEST_REST)
