# SPDX-License-Identifier: GPL-2.0-or-later
"""Reader: guest data, from wherever the mapping says.

The path of most requests, one run in clusters whose slice is in the cache, is one dictionary look-up, one array element
and the request to the data file: no lock, nothing awaited but that.
"""

from __future__ import annotations

import asyncio
import errno
from array import array
from functools import partial
from typing import TYPE_CHECKING, Final

from asyncemu.block.qcow2.compression import INLINE_SIZE, BadCompressedData, decompress
from asyncemu.block.qcow2.entries import (
    ALL_ALLOCATED,
    COMPRESSED,
    COMPRESSED_FLAG,
    NORMAL,
    UNALLOCATED_ALLOC,
    UNALLOCATED_PLAIN,
    ZERO_FLAG,
    allocated_bits,
)
from asyncemu.block.qcow2.geometry import OFFSET_MASK
from asyncemu.coroutines import AioTaskPool
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image
    from asyncemu.block.qcow2.mapping import Run

#: Parts of one request that are read, or written, at the same time. QEMU: QCOW2_MAX_WORKERS.
MAX_WORKERS: Final = 8


class Reader:
    """Of one image. Home context of the node."""

    def __init__(self, image: Image) -> None:
        self._image = image
        geometry = self._geometry = image.geometry
        # For the quick path, which has no time for attributes of attributes.
        self._epochs = image.refcounts.epochs
        self._tables = image.l2_cache.tables
        self._data_file = image.data_file
        self._cluster_bits = geometry.cluster_bits
        self._cluster_mask = geometry.cluster_mask
        self._cluster_size = geometry.cluster_size
        self._l1_shift = geometry.l1_shift
        self._l2 = image.l2_tables
        self._slice_mask = image.l2_tables.slice_mask
        self._extended = geometry.extended_l2
        # With a data file, host and guest offset must be the same.
        self._fixed = geometry.has_data_file
        # Whatever makes an entry one for the slow path.
        self._unusual = COMPRESSED_FLAG | geometry.misaligned | (0 if geometry.extended_l2 else ZERO_FLAG)

    def quick(self, offset: int, length: int) -> int:
        """Offset in the data file of bytes that are all there in a row, as far as that is known at once; else -1."""
        l1 = self._image.l1.entries
        index = offset >> self._l1_shift
        if index >= len(l1):
            return -1
        table = self._tables.get(self._l2.slice_offset(l1[index] & OFFSET_MASK, offset))
        if table is None:
            return -1
        table.used = True
        words: array[int] = table.payload
        at = offset >> self._cluster_bits & self._slice_mask
        if self._extended:
            return self._quick_extended(words, at, offset, length)
        entry = words[at]
        host = entry & OFFSET_MASK
        in_cluster = offset & self._cluster_mask
        if not host or entry & self._unusual or (self._fixed and host + in_cluster != offset):
            return -1
        left = in_cluster + length - self._cluster_size
        if left > 0:
            significant = OFFSET_MASK | COMPRESSED_FLAG | ZERO_FLAG
            expected, size = host, self._cluster_size
            if at + (left + self._cluster_mask >> self._cluster_bits) > self._slice_mask:
                return -1
            while left > 0:
                at += 1
                expected += size
                if words[at] & significant != expected:
                    return -1
                left -= size
        return host + in_cluster

    def _quick_extended(self, words: array[int], at: int, offset: int, length: int) -> int:
        """Within one cluster only."""
        entry, bitmap = words[2 * at], words[2 * at + 1]
        host = entry & OFFSET_MASK
        in_cluster = offset & self._cluster_mask
        if not host or entry & self._unusual or in_cluster + length > self._cluster_size or not length:
            return -1
        if self._fixed and host + in_cluster != offset:
            return -1
        bits = self._geometry.subcluster_bits
        wanted = allocated_bits(in_cluster >> bits, (in_cluster + length - 1 >> bits) + 1)
        if bitmap & wanted != wanted or bitmap >> 32 & bitmap & ALL_ALLOCATED:
            return -1
        return host + in_cluster

    async def read(self, offset: int, buffers: Buffers) -> None:
        """Fill ``buffers`` with guest data. Raises OSError, BlockError."""
        epochs = self._epochs
        epoch, running = epochs.current, epochs.running
        running[epoch] += 1
        try:
            length = buffers.nbytes
            host = self.quick(offset, length)
            if host >= 0 and not self._image.broken:
                data_file = self._data_file
                if data_file.debugged:
                    await data_file.debug_event("read_aio")
                await data_file.preadv(host, buffers)
            else:
                await self._read_runs(offset, buffers, length)
        finally:
            running[epoch] -= 1

    async def pread(self, offset: int, length: int) -> bytearray:
        """``length`` bytes of guest data."""
        data = bytearray(length)
        await self.read(offset, Buffers.of(data))
        return data

    async def _read_runs(self, offset: int, buffers: Buffers, length: int) -> None:
        image = self._image
        image.check_usable()
        pool: AioTaskPool | None = None
        try:
            while length and (pool is None or pool.status is None):
                run = await image.mapping.run(offset, length)
                done = run[2]
                if done == length:
                    part, rest = buffers, Buffers()
                else:
                    part, rest = buffers.split(done)
                if pool is None and done == length:
                    await self._read_run(run, offset, part)
                elif run[0] in (NORMAL, COMPRESSED) or image.backing is not None:
                    pool = pool or AioTaskPool(MAX_WORKERS)
                    await pool.start_task(partial(self._read_run, run, offset, part))
                else:
                    part.fill_zero()
                buffers = rest
                offset += done
                length -= done
        finally:
            if pool is not None:
                await wait_to_the_end(pool)
        if pool is not None and pool.status is not None:
            raise pool.status

    async def _read_run(self, run: Run, offset: int, buffers: Buffers) -> None:
        kind, host, _ = run
        if kind == NORMAL:
            data_file = self._data_file
            if data_file.debugged:
                await data_file.debug_event("read_aio")
            await data_file.preadv(host, buffers)
        elif kind == COMPRESSED:
            await self._read_compressed(host, offset & self._cluster_mask, buffers)
        elif kind in (UNALLOCATED_PLAIN, UNALLOCATED_ALLOC) and (backing := self._image.backing) is not None:
            if self._image.file.debugged:
                await self._image.file.debug_event("read_backing_aio")
            await backing.preadv(offset, buffers)
        else:
            buffers.fill_zero()

    async def _read_compressed(self, entry: int, in_cluster: int, buffers: Buffers) -> None:
        image, size = self._image, self._cluster_size
        offset, length = self._geometry.compressed_range(entry)
        if image.file.debugged:
            await image.file.debug_event("read_compressed")
        data = await image.file.pread(offset, length)
        kind = image.header.compression_type
        try:
            if size <= INLINE_SIZE:
                cluster = decompress(kind, data, size)
            else:
                cluster = await image.context.worker_pool.run(decompress, kind, data, size)
        except BadCompressedData as error:
            raise OSError(errno.EIO, f"compressed cluster at offset {offset} of the image: {error}") from error
        buffers.write(memoryview(cluster)[in_cluster:])


async def wait_to_the_end(pool: AioTaskPool) -> None:
    """Wait for all tasks, also when we are cancelled: they use our caller's buffers."""
    cancelled: asyncio.CancelledError | None = None
    while not pool.empty:
        try:
            await pool.wait_all()
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
