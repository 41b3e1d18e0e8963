# SPDX-License-Identifier: GPL-2.0-or-later
"""Refcounts: which clusters of the file are in use, and where the next free ones are.

qcow2.txt, "Host cluster management". Free clusters are looked for from the first that may be free, so that files stay
dense; ``next_free`` is where. New blocks and a larger table are refcount_growth.py's.
All coroutines here are called with the image's lock held.
"""

from __future__ import annotations

import asyncio
import errno
import os
from array import array
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.qcow2.constants import ENTRY_SIZE, MAX_OFFSET
from asyncemu.block.qcow2.errors import c_hex
from asyncemu.block.qcow2.freed import DISCARD_NEVER, FreedClusters, FreedRange, RequestEpochs
from asyncemu.block.qcow2.geometry import MAX_DATA_OFFSET, REFCOUNT_OFFSET_MASK
from asyncemu.block.qcow2.refcount_codec import RefcountRange, refcount_codec
from asyncemu.block.qcow2.table_cache import Table, TableCache
from asyncemu.block.qcow2.words import words_from
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: Bytes of freed clusters that wait for a flush before an allocation asks for one.
_MAX_FRESH: Final = 64 << 20

#: Blocks that a search looks at before it lets others run.
_BLOCKS_IN_A_ROW: Final = 64


class Refcounts:
    """The refcount table, in memory as a whole, and its blocks, in a cache. Home context of the node."""

    def __init__(self, image: Image, cache_tables: int) -> None:
        self._image = image
        geometry = self._geometry = image.geometry
        header = image.header
        self.codec = refcount_codec(geometry.cluster_size, geometry.refcount_order)
        #: Bytes of the file.
        self.table_offset = header.refcount_table_offset
        self.table: array[int] = array("Q")
        self.cache: TableCache[Any] = TableCache(
            image.file, self.codec, cache_tables, "refblock_load", image.metadata.write_refcounts
        )
        self.epochs = RequestEpochs()
        self.freed = FreedClusters(self.epochs)
        #: Cluster index: there is no free one before it.
        self.next_free = 0
        #: Where the next compressed cluster goes, bytes of the file; 0: into a new cluster.
        self.free_byte_offset = 0

    async def open(self) -> None:
        """Read the table."""
        image = self._image
        length = image.header.refcount_table_clusters * self._geometry.cluster_size
        if length:
            if image.file.debugged:
                await image.file.debug_event("reftable_load")
            self.table = words_from(await image.file.pread(self.table_offset, length))

    # ---- blocks

    async def block_of(self, cluster: int) -> Table[Any] | None:
        """The block with the refcount of ``cluster``; None: there is none, the refcount is 0."""
        index = cluster >> self._geometry.refcount_block_bits
        if index >= len(self.table):
            return None
        offset = self.table[index] & REFCOUNT_OFFSET_MASK
        if not offset:
            return None
        if offset & self._geometry.cluster_mask:
            raise await self._image.corruption(
                f"Refblock offset {c_hex(offset)} unaligned (reftable index: {c_hex(index)})"
            )
        if offset > MAX_OFFSET - self._geometry.cluster_size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self.cache.tables.get(offset) or await self.cache.load(offset)

    async def get(self, cluster: int) -> int:
        """The refcount of a cluster."""
        block = await self.block_of(cluster)
        if block is None:
            return 0
        return self.codec.get(block.payload, cluster & self._geometry.refcount_block_entries - 1)

    async def add(self, first: int, count: int, addend: int) -> None:
        """Change the refcounts of ``count`` clusters, whose blocks exist. RefcountRange: one can't be that.

        In memory. In case of an error some have been changed and some not: the caller knows what that means.
        """
        entries = self._geometry.refcount_block_entries
        end = first + count
        while first < end:
            block = await self._block_to_change(first)
            start = first & entries - 1
            stop = min(entries, start + end - first)
            if block is None:
                raise RefcountRange(first, addend)
            self.codec.add(block.payload, start, stop, addend)
            block.mark(*self.codec.byte_range(start, stop))
            first += stop - start

    async def _block_to_change(self, cluster: int) -> Table[Any] | None:
        """``block_of``, with the event that QEMU passes whether or not a block has to be made."""
        if self._image.file.debugged:
            await self._image.file.debug_event("refblock_alloc")
        return await self.block_of(cluster)

    # ---- allocation

    async def allocate(self, length: int, max_offset: int = MAX_DATA_OFFSET) -> int:
        """Offset of so many contiguous bytes, in whole clusters, with refcount 1. OSError, EFBIG past ``max_offset``.

        QEMU: qcow2_alloc_clusters.
        """
        image = self._image
        if image.file.debugged:
            await image.file.debug_event("cluster_alloc")
        await self.reuse_freed()
        count = self._geometry.clusters(length)
        while True:
            first = await self.find_free(count)
            if first + count - 1 > (max_offset - 1) >> self._geometry.cluster_bits:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            if await self.take(first, count):
                return first << self._geometry.cluster_bits

    async def reuse_freed(self) -> None:
        """Freed clusters that may be used again are free now; a flush sees to that when there are too many others."""
        freed = self.freed
        if freed.fresh_clusters << self._geometry.cluster_bits > _MAX_FRESH:
            await self._image.metadata.write()
        if freed.any_stable:
            await self.settle()

    async def find_free(self, count: int) -> int:
        """The first of ``count`` clusters in a row that are free, from ``next_free`` on, which is behind them then."""
        entries = self._geometry.refcount_block_entries
        codec = self.codec
        start = position = self.next_free
        turns = 0
        # A damaged table may name one block for all clusters: it is searched once.
        full: set[int] = set()
        while position < start + count:
            base = position & ~(entries - 1)
            stop = min(start + count, base + entries)
            block = await self.block_of(position)
            if block is None:
                position = stop
                continue
            used = (
                base if block.offset in full else base + codec.first_used(block.payload, position - base, stop - base)
            )
            if used >= stop:
                position = stop
                continue
            # The run ends here; the next one begins at the next free cluster.
            free = entries if block.offset in full else codec.first_free(block.payload, used - base, entries)
            if used == base and free == entries:
                full.add(block.offset)
            start = position = base + free
            turns += 1
            if turns % _BLOCKS_IN_A_ROW == 0:
                await asyncio.sleep(0)
        self.next_free = position
        return start

    async def take(self, first: int, count: int) -> bool:
        """Give free clusters refcount 1. False: a block had to be made, which may be where they are; search again."""
        entries = self._geometry.refcount_block_entries
        position, end = first, first + count
        while position < end:
            block = await self._block_to_change(position)
            if block is None:
                from asyncemu.block.qcow2.refcount_growth import make_block

                try:
                    # Behind these clusters, so that they are still free for the caller.
                    await make_block(self, self._image, position)
                finally:
                    if position > first:
                        await self.add(first, position - first, -1)
                    self.next_free = min(self.next_free, first)
                return False
            start = position & entries - 1
            stop = min(entries, start + end - position)
            self.codec.add(block.payload, start, stop, 1)
            block.mark(*self.codec.byte_range(start, stop))
            position += stop - start
        return True

    async def allocate_at(self, offset: int, count: int) -> int:
        """How many of ``count`` clusters from ``offset`` on were free, in a row; they have refcount 1 now.

        QEMU: qcow2_alloc_clusters_at.
        """
        first = offset >> self._geometry.cluster_bits
        while True:
            free = 0
            while free < count and not await self.get(first + free):
                free += 1
            if not free or await self.take(first, free):
                return free

    async def allocate_bytes(self, size: int) -> int:
        """Offset of ``size`` bytes, at most a cluster, for compressed data: behind that of the previous one.

        Each compressed cluster counts in each host cluster that it touches. QEMU: qcow2_alloc_bytes.
        """
        image, geometry = self._image, self._geometry
        if image.file.debugged:
            await image.file.debug_event("cluster_alloc_bytes")
        limit = min(geometry.compressed_offset_mask + 1, MAX_DATA_OFFSET)
        offset = self.free_byte_offset
        if offset:
            refcount = await self.get(offset >> geometry.cluster_bits)
            if refcount == geometry.refcount_max or not refcount:
                # Nothing more can be counted there, or the data that was there has been freed meanwhile.
                offset = 0
        room = -offset & geometry.cluster_mask
        if not offset or room < size:
            new = await self.allocate(geometry.cluster_size, limit)
            if not new:
                raise await image.corruption("Preventing invalid allocation of compressed cluster at offset 0")
            if not offset or geometry.round_up(offset) != new:
                offset = new
                # The new cluster has its one reference.
                await self._count_bytes(offset, size, skip=new)
            else:
                await self._count_bytes(offset, size, skip=new)
        else:
            await self._count_bytes(offset, size, skip=-1)
        end = offset + size
        self.free_byte_offset = end if end & geometry.cluster_mask else 0
        return offset

    async def _count_bytes(self, offset: int, size: int, skip: int) -> None:
        """One reference more for the clusters of these bytes, but not for the one at ``skip``."""
        geometry = self._geometry
        for at in range(geometry.round_down(offset), offset + size, geometry.cluster_size):
            if at != skip:
                await self.add(at >> geometry.cluster_bits, 1, 1)

    # ---- freeing

    def free(self, offset: int, length: int, reason: int) -> None:
        """The tables in memory don't name these bytes any more: each of their clusters loses a reference, later.

        ``reason``: DISCARD_*. See freed.py.
        """
        geometry = self._geometry
        first = offset >> geometry.cluster_bits
        self.freed.add(first, (offset + length - 1 >> geometry.cluster_bits) - first + 1, reason)

    async def release(self, offset: int, length: int) -> None:
        """Clusters lose a reference that no table has ever named on disk, nor any request: now."""
        geometry = self._geometry
        first = offset >> geometry.cluster_bits
        await self._lose([FreedRange(first, geometry.clusters(offset + length) - first, DISCARD_NEVER)])

    async def settle(self) -> None:
        """Those that were freed and that nobody can know any more lose their reference."""
        usable = self.freed.take_usable()
        if usable:
            if self._image.file.debugged:
                await self._image.file.debug_event("cluster_free")
            await self._lose(usable)

    async def _lose(self, ranges: list[FreedRange]) -> None:
        entries = self._geometry.refcount_block_entries
        for freed in ranges:
            position, end = freed.first, freed.first + freed.count
            while position < end:
                stop = min(end, (position | entries - 1) + 1)
                try:
                    await self.add(position, stop - position, -1)
                except (RefcountRange, OSError, BlockError) as error:
                    # A leak, or one reference too few before: an image that was damaged already.
                    self._image.say(f"qcow2_free_clusters failed: {os.strerror(error.errno or errno.EIO)}")
                else:
                    await self._unused(position, stop, freed.reason)
                position = stop

    async def _unused(self, start: int, end: int, reason: int) -> None:
        """Clusters [start, end), of one block, lost a reference: what is without any is free."""
        image, geometry = self._image, self._geometry
        block = await self.block_of(start)
        if block is None:
            return
        base = start & ~(geometry.refcount_block_entries - 1)
        while start < end:
            start = base + self.codec.first_free(block.payload, start - base, end - base)
            if start == end:
                return
            stop = base + self.codec.first_used(block.payload, start - base, end - base)
            self.next_free = min(self.next_free, start)
            offset, length = start << geometry.cluster_bits, stop - start << geometry.cluster_bits
            image.forget_tables(offset, length)
            if offset <= self.free_byte_offset < offset + length:
                self.free_byte_offset = 0
            if reason in image.discard_reasons:
                await image.discard_clusters(offset, length)
            start = stop

    # ---- what others ask

    @property
    def table_clusters(self) -> int:
        """Clusters of the refcount table."""
        return len(self.table) * ENTRY_SIZE >> self._geometry.cluster_bits
