# SPDX-License-Identifier: GPL-2.0-or-later
"""RateLimit: so many units a second, for background jobs. QEMU: include/qemu/ratelimit.h.

Theory of operation. Time is cut into slices, each with a quota. Work is never cut: what exceeds the quota is done, and
makes the slice so much longer that the rate over it is right; who did it waits until the slice is over. A slice that is
over before the next work arrives takes what it has not used along: there are no bursts.

The core does no I/O and takes the time as an argument; ``wait`` is the core with a clock.
"""

from __future__ import annotations

import threading
from typing import Final

from asyncemu.coroutines.sleep import co_sleep_ns
from asyncemu.loop import Clock, any_thread

#: Of block jobs: long enough that most work fits, short enough that nobody sees it stutter. ns. QEMU:
#: BLOCK_JOB_SLICE_TIME.
SLICE_NS: Final = 100_000_000

SECOND_NS: Final = 1_000_000_000


class RateLimit:
    """Without a limit until ``set_speed``."""

    def __init__(self) -> None:
        self._section = threading.Lock()
        self._slice_ns = SLICE_NS
        #: Units a slice; 0: no limit.
        self._quota = 0
        self._start = self._end = 0
        self._dispatched = 0

    @any_thread
    def set_speed(self, units_per_s: int, slice_ns: int = SLICE_NS) -> None:
        """From the next work on; 0: no limit. The least limit is one unit a slice. QEMU: ratelimit_set_speed."""
        if units_per_s < 0 or slice_ns <= 0:
            raise ValueError(f"{units_per_s} units a second in slices of {slice_ns} ns")
        with self._section:
            self._slice_ns = slice_ns
            self._quota = max(1, units_per_s * slice_ns // SECOND_NS) if units_per_s else 0

    @any_thread
    def calculate_delay(self, units: int, now_ns: int) -> int:
        """Account for ``units``, done at ``now_ns``: how many ns to wait before there is more. 0 at the least."""
        with self._section:
            if not self._quota:
                return 0
            if self._end < now_ns:
                self._start, self._end = now_ns, now_ns + self._slice_ns
                self._dispatched = 0
            self._dispatched += units
            if self._dispatched < self._quota:
                return 0
            self._end = self._start + self._dispatched * self._slice_ns // self._quota
            return max(0, self._end - now_ns)

    @any_thread
    async def wait(self, units: int, clock: Clock) -> None:
        """Account for ``units`` just done, and sleep on ``clock`` for as long as that takes."""
        delay = self.calculate_delay(units, clock.now())
        if delay:
            await co_sleep_ns(clock, delay)
