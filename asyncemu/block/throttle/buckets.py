# SPDX-License-Identifier: GPL-2.0-or-later
"""Leaky buckets: may a request pass now, or when? QEMU: util/throttle.c, include/qemu/throttle.h.

Theory of operation. What passes is poured into a bucket, which leaks at the rate of the limit; while it is fuller than
its size nothing passes, and how long that takes follows from the rate. A request that begins when the bucket is not too
full passes whole, so large ones are never cut, and what they take too much, the next ones wait for. The size is what a
burst may take: ``maximum`` units a second for ``burst_length`` seconds; without a burst limit, a tenth of a second's
worth, for otherwise each second request would wait. Bursts longer than a second have a second, small bucket that leaks
at their own rate, so that not all of them passes at once.

No I/O and no clock: the time is an argument.
"""

from __future__ import annotations

from typing import Final

from asyncemu.block.throttle.config import (
    BPS_READ,
    BPS_TOTAL,
    BPS_WRITE,
    IOPS_READ,
    IOPS_TOTAL,
    IOPS_WRITE,
    BucketLimit,
    ThrottleConfig,
)

SECOND_NS: Final = 1_000_000_000

#: Directions: indices of what there is for each.
READ: Final = 0
WRITE: Final = 1
DIRECTIONS: Final = (READ, WRITE)

#: What part of a second's worth passes at once where no burst is asked for, and of a burst's second.
_AT_ONCE: Final = 10

#: By direction.
_BYTES: Final = ((BPS_TOTAL, BPS_READ), (BPS_TOTAL, BPS_WRITE))
_REQUESTS: Final = ((IOPS_TOTAL, IOPS_READ), (IOPS_TOTAL, IOPS_WRITE))


class LeakyBucket:
    """One limit, and what has passed. Levels are in its units: bytes, or requests."""

    __slots__ = ("burst_level", "level", "limit")

    def __init__(self, limit: BucketLimit) -> None:
        self.limit = limit
        self.level = 0.0
        #: Of the small bucket of long bursts.
        self.burst_level = 0.0

    def leak(self, elapsed_ns: int) -> None:
        """So much time has passed."""
        limit = self.limit
        self.level = max(self.level - limit.average * elapsed_ns / SECOND_NS, 0.0)
        if limit.burst_length > 1:
            self.burst_level = max(self.burst_level - limit.maximum * elapsed_ns / SECOND_NS, 0.0)

    def add(self, units: float) -> None:
        """So many units pass."""
        self.level += units
        if self.limit.burst_length > 1:
            self.burst_level += units

    def wait_ns(self) -> int:
        """Until the next request may pass; 0: at once."""
        limit = self.limit
        if not limit.average:
            return 0
        if limit.maximum:
            extra = self.level - limit.maximum * limit.burst_length
        else:
            extra = self.level - limit.average / _AT_ONCE
        if extra > 0:
            return int(extra * SECOND_NS / limit.average)
        if limit.burst_length > 1:
            extra = self.burst_level - limit.maximum / _AT_ONCE
            if extra > 0:
                return int(extra * SECOND_NS / limit.maximum)
        return 0


class ThrottleState:
    """All buckets of a group; those without a limit stay empty."""

    def __init__(self, config: ThrottleConfig, now_ns: int) -> None:
        self.config = config
        self.buckets = [LeakyBucket(limit) for limit in config.buckets]
        self._leaked_until = now_ns
        self._limited = [bucket for bucket in self.buckets if bucket.limit.average]
        #: By direction.
        self._of_bytes = [self._limited_of(indices) for indices in _BYTES]
        self._of_requests = [self._limited_of(indices) for indices in _REQUESTS]

    def _limited_of(self, indices: tuple[int, int]) -> list[LeakyBucket]:
        return [self.buckets[index] for index in indices if self.buckets[index].limit.average]

    def wait_ns(self, direction: int, now_ns: int) -> int:
        """How long from ``now_ns`` on the next request of ``direction`` has to wait; 0: it may pass."""
        elapsed = now_ns - self._leaked_until
        self._leaked_until = now_ns
        if elapsed > 0:
            for bucket in self._limited:
                bucket.leak(elapsed)
        longest = 0
        for buckets in (self._of_bytes[direction], self._of_requests[direction]):
            for bucket in buckets:
                wait = bucket.wait_ns()
                if wait > longest:
                    longest = wait
        return longest

    def account(self, direction: int, length: int) -> None:
        """A request of ``length`` bytes passes."""
        for bucket in self._of_bytes[direction]:
            bucket.add(length)
        if self._of_requests[direction]:
            size = self.config.iops_size
            requests = length / size if size and length > size else 1.0
            for bucket in self._of_requests[direction]:
                bucket.add(requests)
