# SPDX-License-Identifier: GPL-2.0-or-later
"""NullDriver: a disk that is not there, to measure what lies above it. QEMU's ``null-co``."""

from __future__ import annotations

from asyncemu.block.driver import BlockDriver, BlockDriverOptions
from asyncemu.loop import Clock, ClockKind, MonotonicSource
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option
from asyncemu.size import Size


class NullOptions(BlockDriverOptions):
    """Keys of the ``null-co`` driver; QEMU's names."""

    size: Size = option(default=1 << 30, description="Size of the disk.")
    read_zeroes: bool = option(
        default=False, description="Reads give zeroes; otherwise they leave the buffers as they are."
    )
    latency_ns: int = option(default=0, ge=0, description="Time that a request takes, in nanoseconds.")


class NullDriver(BlockDriver[NullOptions], name="null-co"):
    """Takes every request and does nothing."""

    description = "A disk that is not there, to measure what lies above it."

    async def open(self) -> int:
        """The size in bytes."""
        self._clock = Clock(ClockKind.REALTIME, MonotonicSource())
        return int(self.options.size)

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        if self.options.read_zeroes:
            buffers.fill_zero()
        await self._pass_time()

    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        await self._pass_time()

    async def flush(self) -> None:
        await self._pass_time()

    async def discard(self, offset: int, length: int) -> None:
        await self._pass_time()

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        await self._pass_time()

    async def _pass_time(self) -> None:
        if not self.options.latency_ns:
            return
        over = self.context.loop.create_future()
        timer = self.context.timer(self._clock, lambda: over.set_result(None))
        timer.mod(self._clock.now() + self.options.latency_ns)
        try:
            await over
        finally:
            timer.cancel()
