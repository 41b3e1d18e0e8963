# SPDX-License-Identifier: GPL-2.0-or-later
"""Freed clusters, between the moment when the last mapping is gone in memory and the one when they may be used again.

A cluster that a table does not name any more must not be used for something else until
1. that table is on disk and flushed: after a crash the old one would still name the cluster, with foreign data in it;
2. no request is in flight that found the cluster before: a read would give foreign data, and a late write hurt them.

So its refcount goes down only then. Meanwhile it is as if it were in use, for the allocator and for a crash, which at
worst leaves a leak. QEMU orders its two caches instead (refcounts after L2 tables) and may use such a cluster at once.

Who waits for (2): requests take turns on two counters, as in sleepable RCU. A batch may be used once both counters have
been seen at zero, one after the other, with new requests counted on the other one.
"""

from __future__ import annotations

from typing import Final

# Why clusters are freed decides whether the file below hears of it. QEMU: QCOW2_DISCARD_*.
DISCARD_NEVER: Final = 0
DISCARD_ALWAYS: Final = 1
DISCARD_REQUEST: Final = 2
DISCARD_SNAPSHOT: Final = 3
DISCARD_OTHER: Final = 4


class FreedRange:
    """``count`` clusters from ``first`` on lose one reference each."""

    __slots__ = ("count", "first", "reason")

    def __init__(self, first: int, count: int, reason: int) -> None:
        self.first = first
        self.count = count
        #: DISCARD_*.
        self.reason = reason


class RequestEpochs:
    """Requests in flight, as far as they have looked at the mapping.

    epoch = epochs.current; epochs.running[epoch] += 1 ... finally: epochs.running[epoch] -= 1
    """

    __slots__ = ("current", "running")

    def __init__(self) -> None:
        self.current = 0
        self.running = [0, 0]


class FreedClusters:
    """Three stages: fresh (the table is not on disk), stable (it is), waiting (for the requests of one counter)."""

    def __init__(self, epochs: RequestEpochs) -> None:
        self._epochs = epochs
        self._fresh: list[FreedRange] = []
        self._stable: list[FreedRange] = []
        self._waiting: list[FreedRange] = []
        #: Clusters that only a flush can make usable.
        self.fresh_clusters = 0

    def add(self, first: int, count: int, reason: int) -> None:
        """The tables in memory name these clusters one time less."""
        self.fresh_clusters += count
        if self._fresh:
            last = self._fresh[-1]
            if last.first + last.count == first and last.reason == reason:
                last.count += count
                return
        self._fresh.append(FreedRange(first, count, reason))

    def take_fresh(self) -> list[FreedRange]:
        """All of the first stage, for whoever writes and flushes the tables as they are now."""
        taken, self._fresh = self._fresh, []
        self.fresh_clusters = 0
        return taken

    def put_back(self, ranges: list[FreedRange]) -> None:
        """The tables could not be written."""
        self._fresh = ranges + self._fresh
        self.fresh_clusters += sum(freed.count for freed in ranges)

    def now_stable(self, ranges: list[FreedRange]) -> None:
        """The tables are on disk."""
        self._stable += ranges

    @property
    def any_stable(self) -> bool:
        """Might ``take_usable`` give any?"""
        return bool(self._stable or self._waiting)

    @property
    def any_fresh(self) -> bool:
        """Is there anything that a flush would make stable?"""
        return bool(self._fresh)

    def take_usable(self) -> list[FreedRange]:
        """Those that no request in flight can know."""
        epochs = self._epochs
        usable: list[FreedRange] = []
        for _ in range(2):
            if epochs.running[1 - epochs.current]:
                break
            usable += self._waiting
            self._waiting, self._stable = self._stable, []
            epochs.current = 1 - epochs.current
        return usable
