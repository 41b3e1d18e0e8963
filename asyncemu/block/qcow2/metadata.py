# SPDX-License-Identifier: GPL-2.0-or-later
"""MetadataWriter: in which order changed tables reach the disk, so that a crash leaves leaks at worst.

    refcounts → flush → L2 tables → flush → L1 entries → flush → freed clusters lose their refcount, in memory

- An L2 entry must not name a cluster that is not counted yet, nor one whose data are not there yet (what was there
  before, flushed long ago, would be gone). Only new mappings need that flush; ``new_mapping`` asks for it.
- An L1 entry must not name an L2 table that is not there yet.
- A refcount must not go down while a table on disk names the cluster: freed.py.
A step that has nothing to do needs no flush before it.

Everything is taken at one instant and written from copies: what changes meanwhile is for the next round, and nobody who
changes tables has to wait. One round runs at a time; it may need no lock of others, as they may hold theirs and wait
for a round. With lazy refcounts, once the image is marked dirty, refcounts stay in memory: who opens it after a crash
counts anew. QEMU: qcow2_cache_set_dependency, qcow2_cache_depends_on_flush, qcow2_write_caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.qcow2 import overlap
from asyncemu.block.qcow2.table_cache import Table, TableCache
from asyncemu.coroutines import CoMutex
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: Bytes of tables in one write.
_MAX_WRITE: Final = 1 << 20


class _Copy:
    """What a table was when the round began."""

    __slots__ = ("data", "end", "start", "table")

    def __init__(self, cache: TableCache[Any], table: Table[Any]) -> None:
        self.table = table
        self.start, self.end = table.changed_start, table.changed_end
        self.data = cache.codec.pack(table.payload, self.start, self.end)
        table.changed_start = table.changed_end = 0
        table.writing = True


class MetadataWriter:
    """Home context of the node."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._round = CoMutex()
        self._new_mapping = False

    def new_mapping(self) -> None:
        """An L2 entry in memory names a cluster that it did not name before."""
        self._new_mapping = True

    @property
    def needed(self) -> bool:
        """Has anything changed that is not in the file?"""
        image = self._image
        return bool(
            image.l2_cache.changed_tables()
            or image.l1.changed_start != image.l1.changed_end
            or image.refcounts.cache.changed_tables()
            or image.refcounts.freed.any_fresh
        )

    async def write(self, *, refcounts_too: bool = False) -> None:
        """All that has changed goes to the file, in order; the last step is not flushed.

        ``refcounts_too``: also when the image is marked dirty. Raises OSError; what could not be written counts as
        changed, still.
        """
        image = self._image
        freed = image.refcounts.freed
        async with self._round:
            counts = [] if image.header.dirty and not refcounts_too else _copies(image.refcounts.cache)
            slices = _copies(image.l2_cache)
            l1_start, l1_offset, l1_data = image.l1.take_changed()
            l1_table = image.l1
            new_mapping, self._new_mapping = self._new_mapping, False
            ranges = freed.take_fresh()
            try:
                await self._write_tables(counts, overlap.REFCOUNT_BLOCK, "refblock_update_part")
                if slices:
                    if new_mapping:
                        await self._flush()
                        new_mapping = False
                    await self._write_tables(slices, overlap.ACTIVE_L2, "l2_update")
                if l1_data:
                    await self._flush()
                    await image.write_metadata(l1_offset, l1_data, overlap.ACTIVE_L1, "l1_update")
                    l1_data = b""
                if ranges:
                    await self._flush()
                    freed.now_stable(ranges)
                    ranges = []
            finally:
                # Empty, but for an error or a cancellation.
                _put_back(counts)
                _put_back(slices)
                if l1_data and image.l1 is l1_table:
                    l1_table.mark(l1_start, l1_start + len(l1_data) // 8)
                if ranges:
                    freed.put_back(ranges)
                self._new_mapping = self._new_mapping or new_mapping

    async def write_refcounts(self) -> None:
        """Only the refcount blocks, which need no order: the cache has no room."""
        async with self._round:
            counts = _copies(self._image.refcounts.cache)
            try:
                await self._write_tables(counts, overlap.REFCOUNT_BLOCK, "refblock_update_part")
            finally:
                _put_back(counts)

    async def _flush(self) -> None:
        image = self._image
        if image.data_file is not image.file:
            await image.data_file.flush()
        await image.file.flush()

    async def _write_tables(self, copies: list[_Copy], own_kind: int, event: str) -> None:
        """Write and remove from the list, those that are neighbours in the file at once."""
        while copies:
            group = _neighbours(copies)
            first = group[0]
            await self._image.write_metadata(
                first.table.offset + first.start, Buffers.of(*(copy.data for copy in group)), own_kind, event
            )
            for copy in group:
                copy.table.writing = False
            del copies[: len(group)]


def _copies(cache: TableCache[Any]) -> list[_Copy]:
    return [_Copy(cache, table) for table in cache.changed_tables()]


def _neighbours(copies: Sequence[_Copy]) -> Sequence[_Copy]:
    count, total = 1, len(copies[0].data)
    while count < len(copies):
        last, following = copies[count - 1], copies[count]
        total += len(following.data)
        if last.table.offset + last.end != following.table.offset + following.start or total > _MAX_WRITE:
            break
        count += 1
    return copies[:count]


def _put_back(copies: list[_Copy]) -> None:
    for copy in copies:
        copy.table.writing = False
        copy.table.mark(copy.start, copy.end)
