# SPDX-License-Identifier: GPL-2.0-or-later
"""ChaosDriver: a filter that makes a good disk a bad one.

    { driver = "chaos", file = "disk", seed = 7, write-error = 0.01, torn-write = 0.01, reorder = true }

The same requests in the same order meet the same fate. With ``volatile-cache`` writes are held in memory until they are
flushed, and ``power_cut`` loses them, whole or in part: what a format or a guest must be able to live with.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random

from asyncemu.block.chaos.faults import Faults
from asyncemu.block.chaos.sectors import SECTOR, survivors
from asyncemu.block.chaos.volatile_cache import VolatileCache, overlay
from asyncemu.block.child import BlockChild
from asyncemu.block.filter import FilterDriver, FilterOptions
from asyncemu.block.flags import FUA, PERM_RESIZE, PERM_WRITE, STATUS_OFFSET_VALID, STATUS_RAW
from asyncemu.block.types import BlockStatus, Preallocation
from asyncemu.coroutines import CoMutex, CoSleep
from asyncemu.errors import ConfigError
from asyncemu.loop import Clock, ClockKind, MonotonicSource, home
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option
from asyncemu.size import Size

#: Longer than any test waits: a minute, in ns.
_LONGEST_STALL = 60_000_000_000

#: Bytes of zeroes that the cache holds; longer zero writes go through.
_ZEROES_HELD = 1 << 20


class ChaosOptions(FilterOptions):
    """Keys of the ``chaos`` driver. Probabilities are from 0 to 1."""

    seed: int = option(default=0, description="Decides what happens to which request.")
    errno: list[int] = option(default=[errno.EIO], min_length=1, description="Errors to choose from.")
    read_error: float = option(default=0.0, ge=0, le=1, description="Probability that a read fails.")
    write_error: float = option(default=0.0, ge=0, le=1, description="The same for a write.")
    write_zeroes_error: float = option(default=0.0, ge=0, le=1, description="The same for a write of zeroes.")
    discard_error: float = option(default=0.0, ge=0, le=1, description="The same for a discard.")
    flush_error: float = option(default=0.0, ge=0, le=1, description="The same for a flush.")
    torn_write: float = option(
        default=0.0, ge=0, le=1, description="Probability that some sectors of a write are written, and then it fails."
    )
    stall: float = option(default=0.0, ge=0, le=1, description="Probability that a request waits.")
    stall_ns: int = option(default=1_000_000, ge=0, le=_LONGEST_STALL, description="For so long, in nanoseconds.")
    reorder: bool = option(
        default=False, description="Requests that are done in one round of the loop end in another order."
    )
    volatile_cache: bool = option(default=False, description="Hold what is written until it is flushed.")
    cache_size: Size = option(default=32 << 20, description="Bytes to hold at most; the oldest are written back.")


class ChaosDriver(FilterDriver[ChaosOptions], name="chaos"):
    """Draws lots."""

    description = "Makes requests fail, stall and tear by chance, from a seed."

    async def open(self) -> int:
        """The child's size."""
        options = self.options
        if not all(0 < number < 4096 for number in options.errno):
            raise ConfigError("errno", "must be numbers of errors", "5 is EIO")
        self._random = random.Random(options.seed)
        errors = {
            "read": options.read_error,
            "write": options.write_error,
            "write zeroes": options.write_zeroes_error,
            "discard": options.discard_error,
            "flush": options.flush_error,
        }
        self._faults = Faults(self._random, errors, options.errno, options.stall, options.torn_write)
        #: What stalls are measured on; a simulation has another one.
        self.clock = Clock(ClockKind.REALTIME, MonotonicSource())
        self._stalled: set[CoSleep] = set()
        self._hurry = False
        #: Requests that are done, and end when the round is over.
        self._done: list[asyncio.Future[None]] = []
        size = await super().open()
        self._cache: VolatileCache | None = None
        if options.volatile_cache:
            self._cache = VolatileCache()
            self.write_flags |= FUA
            self.zero_flags |= FUA
            self.limits.request_alignment = max(SECTOR, self.file.node.limits.request_alignment)
        self._write_back_lock = CoMutex()
        self._size = size
        #: Counts power cuts: requests from before one fail.
        self._power_cuts = 0
        self._powered = True
        return size

    def child_permissions(self, child: BlockChild, permissions: int, shared: int) -> tuple[int, int]:
        """As any filter's; and the cache is written back when it likes, also behind the last parent."""
        permissions, shared = super().child_permissions(child, permissions, shared)
        if self.options.volatile_cache and not self.node.read_only:
            permissions |= PERM_WRITE | PERM_RESIZE
        return permissions, shared

    # ---- power

    @home
    async def power_cut(self) -> None:
        """The disk loses its power: of what was not flushed, chance decides. All requests fail until ``power_on``."""
        self._powered = False
        self._power_cuts += 1
        if self._cache is None:
            return
        async with self._write_back_lock:
            for offset, data in self._cache.lose(self._random):
                await self._write_below(offset, data)

    @home
    def power_on(self) -> None:
        """The disk works again, with what has survived."""
        self._powered = True

    # ---- requests

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        cuts, _ = await self._begin("read")
        if self._cache is None:
            await super().preadv(offset, buffers)
        else:
            length = buffers.nbytes
            # Both: what is written back meanwhile may be in neither the one nor what is read.
            before = self._cache.latest(offset, length)
            await super().preadv(offset, buffers)
            overlay(buffers, offset, {**before, **self._cache.latest(offset, length)})
        await self._end(cuts)

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        cuts, torn = await self._begin("write")
        if torn and buffers:
            for start, end in survivors(self._random, offset, buffers.nbytes):
                await self._write(start, buffers.slice(start - offset, end - start), flags)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        await self._write(offset, buffers, flags)
        await self._end(cuts)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        cuts, _ = await self._begin("write zeroes")
        cache = self._cache
        if cache is None:
            await super().write_zeroes(offset, length, flags)
        elif length <= _ZEROES_HELD:
            await self._hold(offset, bytes(length), flags)
        else:
            async with self._write_back_lock:
                await self._write_back(cache, list(cache.latest(offset, length)))
                await super().write_zeroes(offset, length, flags)
            self._size = max(self._size, self.file.size)
        await self._end(cuts)

    async def discard(self, offset: int, length: int) -> None:
        cuts, _ = await self._begin("discard")
        await super().discard(offset, length)
        await self._end(cuts)

    async def flush(self) -> None:
        """Write the cache back; the node flushes what is below."""
        cuts, _ = await self._begin("flush")
        if self._cache is not None:
            async with self._write_back_lock:
                await self._write_back(self._cache)
                if self.file.size != self._size and not self.file.node.read_only:
                    await self.file.truncate(self._size, exact=True)
        await self._end(cuts)

    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        """As below, once it is there."""
        if self._cache is not None:
            async with self._write_back_lock:
                await self._write_back(self._cache, list(self._cache.latest(offset, length)))
        return BlockStatus(STATUS_RAW | STATUS_OFFSET_VALID, length, offset, self.file.node)

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        cache = self._cache
        if cache is None:
            return await super().truncate(size, exact=exact, preallocation=preallocation, zero=zero)
        async with self._write_back_lock:
            cache.cut(size)
            # A size is as volatile as data are, but for what would come up again.
            if size < self.file.size or preallocation != "off" or not self.growable:
                await self.file.truncate(size, exact=True, preallocation=preallocation, zero=zero)
            self._size = size
        return size

    # ---- the volatile cache

    async def _write(self, offset: int, buffers: Buffers, flags: int) -> None:
        if self._cache is None:
            await super().pwritev(offset, buffers, flags)
        else:
            await self._hold(offset, buffers.tobytes(), flags)

    async def _hold(self, offset: int, data: bytes, flags: int) -> None:
        cache = self._cache
        assert cache is not None
        cache.write(offset, data)
        self._size = max(self._size, offset + len(data)) if self.node.may_grow else self._size
        if flags & FUA:
            async with self._write_back_lock:
                await self._write_back(cache, list(cache.latest(offset, len(data))), FUA)
        elif cache.nbytes > self.options.cache_size:
            async with self._write_back_lock:
                await self._write_back(cache, cache.oldest(cache.nbytes - self.options.cache_size // 2))

    async def _write_back(self, cache: VolatileCache, numbers: list[int] | None = None, flags: int = 0) -> None:
        """Make sectors safe, or all, in an order of chance. With the lock held: no version overtakes another."""
        runs = cache.runs(numbers)
        self._random.shuffle(runs)
        for start, end in runs:
            if not self._powered:
                raise OSError(errno.EIO, "no power")
            data, counts = cache.snapshot(start, end)
            await self._write_below(start, data, flags)
            cache.forget(start, counts)

    async def _write_below(self, offset: int, data: bytes, flags: int = 0) -> None:
        """What pads the last sector stays behind."""
        await self.file.pwrite(offset, memoryview(data)[: max(self._size - offset, 0)], flags)

    # ---- what happens to a request

    async def _begin(self, kind: str) -> tuple[int, bool]:
        """The number of power cuts until now, and whether the request is torn. OSError: it fails at its beginning."""
        cuts = self._power_cuts
        fault = self._faults.draw(kind)
        if fault.stalls and not self._hurry:
            sleep = CoSleep()
            self._stalled.add(sleep)
            try:
                await sleep.sleep_ns(self.clock, self.options.stall_ns)
            finally:
                self._stalled.discard(sleep)
        self._check_power(cuts)
        if fault.errno:
            await self._end(cuts)
            raise OSError(fault.errno, os.strerror(fault.errno))
        return cuts, fault.torn

    async def _end(self, cuts: int) -> None:
        """It is done: let it end, now or behind others."""
        if self.options.reorder:
            done = self.context.loop.create_future()
            self._done.append(done)
            if len(self._done) == 1:
                self.context.schedule_oneshot(self._end_all)
            await done
        self._check_power(cuts)

    def _end_all(self) -> None:
        done, self._done = self._done, []
        self._random.shuffle(done)
        for each in done:
            if not each.done():
                each.set_result(None)

    def _check_power(self, cuts: int) -> None:
        if not self._powered or cuts != self._power_cuts:
            raise OSError(errno.EIO, "no power")

    # ---- drain

    def drain_begin(self) -> None:
        """Requests that stall go on."""
        self._hurry = True
        for sleep in self._stalled:
            sleep.wake()

    def drain_end(self) -> None:
        """They stall again."""
        self._hurry = False
