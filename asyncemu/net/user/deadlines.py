# SPDX-License-Identifier: GPL-2.0-or-later
"""Deadlines: one timer for all that waits for the guest's time: connections, transfers, table entries.

A connection's deadline moves with every segment. So nothing is taken out of the heap, and an entry that comes up too
early just asks its owner again: an owner has one entry that counts (``armed``), which is never too late.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final, Protocol

from asyncemu.loop import AioContext, Clock

#: Deadlines are rounded up to this, in ns, so that the timer fires once for many; RFC 6298, 4 leaves it to us.
GRAIN: Final = 4_000_000
#: So many stale entries are not worth a new heap (arbitrary).
STALE_ALLOWED: Final = 256


class Owner(Protocol):
    """Who waits. ``armed`` belongs to Deadlines, and is None at first."""

    armed: int | None

    def next_deadline(self) -> int | None:
        """In ns; None: it does not wait any more, or will call ``touch``."""

    def on_deadline(self, now: int) -> None:
        """It may be time."""


class Deadlines:
    """Home: ``context``. ``after`` is called when owners had their turn."""

    def __init__(self, context: AioContext, clock: Clock, after: Callable[[], None]) -> None:
        self.clock = clock
        self._heap: list[tuple[int, int, Owner]] = []
        self._order = 0
        self._armed = 0
        self._timer = context.timer(clock, self._fire)
        self._set: int | None = None
        self._after = after

    def __len__(self) -> int:
        return len(self._heap)

    def touch(self, owner: Owner) -> None:
        """What ``owner`` waits for may be sooner than it was."""
        deadline = owner.next_deadline()
        if deadline is None:
            return
        deadline = -(-deadline // GRAIN) * GRAIN
        armed = owner.armed
        if armed is not None and armed <= deadline:
            return
        if armed is None:
            self._armed += 1
        owner.armed = deadline
        heap = self._heap
        self._order += 1
        heapq.heappush(heap, (deadline, self._order, owner))
        if len(heap) > 2 * self._armed + STALE_ALLOWED:
            heap[:] = [entry for entry in heap if entry[2].armed == entry[0]]
            heapq.heapify(heap)
            self._armed = len(heap)
        if self._set is None or deadline < self._set:
            self._set = deadline
            self._timer.mod(deadline)

    def forget(self, owner: Owner) -> None:
        """It waits no more."""
        if owner.armed is not None:
            owner.armed = None
            self._armed -= 1

    def close(self) -> None:
        """Nobody waits any more."""
        self._timer.cancel()
        self._heap.clear()

    def _fire(self) -> None:
        self._set = None
        now = self.clock.now()
        heap = self._heap
        while heap and heap[0][0] <= now:
            deadline, _, owner = heapq.heappop(heap)
            if owner.armed != deadline:
                continue
            owner.armed = None
            self._armed -= 1
            due = owner.next_deadline()
            if due is not None and due <= now:
                owner.on_deadline(now)
            self.touch(owner)
        if heap and (self._set is None or heap[0][0] < self._set):
            self._set = heap[0][0]
            self._timer.mod(self._set)
        self._after()
