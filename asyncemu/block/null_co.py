# SPDX-License-Identifier: GPL-2.0-or-later
"""NullDriver: a disk that is not there, to measure what lies above it. QEMU's ``null-co``.

As there, discards do nothing at once, and zeroes are written as any data.
"""

from __future__ import annotations

from asyncemu.block.driver import BlockDriver, BlockDriverOptions
from asyncemu.block.flags import FUA, STATUS_OFFSET_VALID, STATUS_ZERO
from asyncemu.block.types import BlockStatus
from asyncemu.coroutines import co_sleep_ns
from asyncemu.loop import Clock, ClockKind, MonotonicSource
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option
from asyncemu.size import Size


class NullOptions(BlockDriverOptions):
    """Keys of the ``null-co`` and ``null-aio`` drivers; QEMU's names."""

    size: Size = option(default=1 << 30, description="Size of the disk.")
    read_zeroes: bool = option(
        default=False, description="Reads give zeroes; otherwise they leave the buffers as they are."
    )
    latency_ns: int = option(default=0, ge=0, description="Time that a request takes, in nanoseconds.")


class NullDriver(BlockDriver[NullOptions], name="null-co"):
    """Takes every request and does nothing."""

    description = "A disk that is not there, to measure what lies above it."
    protocol = "null-co"
    write_flags = FUA

    async def open(self) -> int:
        """The size in bytes."""
        self._clock = Clock(ClockKind.REALTIME, MonotonicSource())
        if not self.options.is_given("size") and not self.options.is_given("read_zeroes"):
            self.exact_filename = f"{self.name}://"
        return int(self.options.size)

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        if self.options.read_zeroes:
            buffers.fill_zero()
        await self._complete()

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        await self._complete()

    async def flush(self) -> None:
        await self._complete()

    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        """Zeroes, or nothing in particular."""
        zero = STATUS_ZERO if self.options.read_zeroes else 0
        return BlockStatus(STATUS_OFFSET_VALID | zero, length, offset, self.node)

    async def allocated_size(self) -> int:
        """None."""
        return 0

    async def _complete(self) -> None:
        """At once, or when its time is over."""
        if self.options.latency_ns:
            await self._pass_time()

    async def _pass_time(self) -> None:
        await co_sleep_ns(self._clock, self.options.latency_ns)
