# SPDX-License-Identifier: GPL-2.0-or-later
"""DelayDriver: a slow disk. Ours; QEMU has none.

Each request waits before it goes on, for a time of its kind plus a random part. The random numbers come from a seed, in
the order in which requests come: the same requests wait for the same times. In a drained section nobody waits.
"""

from __future__ import annotations

import random

from asyncemu.block.driver import BlockDriverOptions
from asyncemu.block.filter import FilterDriver, FilterOptions
from asyncemu.block.types import Reopening
from asyncemu.coroutines import CoSleep
from asyncemu.loop import Clock, ClockKind, MonotonicSource
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option

#: Longer than anybody waits for a disk: an hour, in ns.
_LONGEST = 3_600_000_000_000


class DelayOptions(FilterOptions):
    """Keys of the ``delay`` driver. Times in ns."""

    read_ns: int = option(default=0, ge=0, le=_LONGEST, description="Time that a read waits, in nanoseconds.")
    write_ns: int = option(default=0, ge=0, le=_LONGEST, description="The same for a write.")
    write_zeroes_ns: int = option(default=0, ge=0, le=_LONGEST, description="The same for a write of zeroes.")
    discard_ns: int = option(default=0, ge=0, le=_LONGEST, description="The same for a discard.")
    flush_ns: int = option(default=0, ge=0, le=_LONGEST, description="The same for a flush.")
    jitter_ns: int = option(
        default=0, ge=0, le=_LONGEST, description="Up to so much longer, at random, for requests that wait at all."
    )
    seed: int = option(default=0, description="Of the random numbers.")


class DelayDriver(FilterDriver[DelayOptions], name="delay"):
    """Sleeps, then passes requests on."""

    description = "Makes each request wait, as a slow disk does."

    async def open(self) -> int:
        """The child's size."""
        self._random = random.Random(self.options.seed)
        self._sleepers: set[CoSleep] = set()
        self._hurry = False
        #: What the times are measured on; a simulation has another one.
        self.clock = Clock(ClockKind.REALTIME, MonotonicSource())
        return await super().open()

    async def prepare_reopen(self, options: BlockDriverOptions) -> Reopening | None:
        """All may change; the random numbers go on."""
        return None

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        await self._wait(self.options.read_ns)
        await super().preadv(offset, buffers)

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        await self._wait(self.options.write_ns)
        await super().pwritev(offset, buffers, flags)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        await self._wait(self.options.write_zeroes_ns)
        await super().write_zeroes(offset, length, flags)

    async def discard(self, offset: int, length: int) -> None:
        await self._wait(self.options.discard_ns)
        await super().discard(offset, length)

    async def flush(self) -> None:
        """The node flushes what is below."""
        await self._wait(self.options.flush_ns)

    def drain_begin(self) -> None:
        """Those that wait go on."""
        self._hurry = True
        for sleeper in self._sleepers:
            sleeper.wake()

    def drain_end(self) -> None:
        """Requests wait again."""
        self._hurry = False

    async def _wait(self, ns: int) -> None:
        if not ns:
            return
        if self.options.jitter_ns:
            ns += self._random.randint(0, self.options.jitter_ns)
        if self._hurry:
            return
        sleep = CoSleep()
        self._sleepers.add(sleep)
        try:
            await sleep.sleep_ns(self.clock, ns)
        finally:
            self._sleepers.discard(sleep)
