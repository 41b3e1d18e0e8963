# SPDX-License-Identifier: GPL-2.0-or-later
"""Counting what L1 and L2 tables name, active and of snapshots, with all that is wrong in them.

Snapshots share L2 tables. A table that is named again is not looked at again: what was found in it is found once more,
and its references are added at the end, for all times at once. What is read is bounded by the size of the file but for
tables that overlap; a check of an image where these are too many is given up.
QEMU: check_refcounts_l1, check_refcounts_l2.
"""

from __future__ import annotations

import asyncio
import errno
import struct
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncemu.block.qcow2 import overlap
from asyncemu.block.qcow2.check_counts import ReferenceCounts
from asyncemu.block.qcow2.check_report import CheckStopped, Report
from asyncemu.block.qcow2.constants import ENTRY_SIZE
from asyncemu.block.qcow2.entries import (
    ALL_ALLOCATED,
    ALL_ZEROES,
    COMPRESSED,
    COPIED,
    NORMAL,
    UNALLOCATED_PLAIN,
    ZERO_ALLOC,
    ZERO_FLAG,
    cluster_kind,
)
from asyncemu.block.qcow2.geometry import OFFSET_MASK
from asyncemu.block.qcow2.words import words_from
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: Bits of entries that must be zero.
L1_RESERVED: Final = 0x7F00_0000_0000_01FF
L2_RESERVED: Final = 0x3F00_0000_0000_01FE

#: Bytes of tables that may be read beyond what a sound image of the file's size has.
_FURTHER_BYTES: Final = 16 << 20


class _Found(NamedTuple):
    """What one look at an L2 table has given."""

    lines: tuple[str, ...]
    corruptions: int
    #: Clusters: allocated, fragmented, compressed.
    allocated: int
    fragmented: int
    compressed: int


class TableWalk:
    """Over all tables, once."""

    def __init__(self, image: Image, counts: ReferenceCounts, report: Report, *, fix: bool) -> None:
        self._image = image
        self._geometry = image.geometry
        self._counts = counts
        self._report = report
        self._fix = fix
        self._times = 1
        self._found: dict[int, _Found] = {}
        #: L2 table → how often it was named again.
        self._again: dict[int, int] = {}
        # Each table is looked at twice at most.
        self._allowance = 3 * counts.file_size + _FURTHER_BYTES
        #: Bits that a data cluster's entry has not, less its offset.
        self._unusual = ~(OFFSET_MASK & ~self._geometry.misaligned | COPIED)

    async def l1_table(
        self, offset: int, entries: int, *, active: bool, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Count the table, and what it names."""
        report, counts, geometry = self._report, self._counts, self._geometry
        if not entries:
            return
        counts.count(offset, entries * ENTRY_SIZE)
        table = words_from(await self._read(offset, entries * ENTRY_SIZE, "check_refcounts_l1"))
        for index, entry in enumerate(table):
            if not entry:
                continue
            if progress is not None:
                progress(index, entries)
            if entry & L1_RESERVED:
                report.corruption(f"ERROR found L1 entry with reserved bits set: {entry:x}")
            l2_offset = entry & OFFSET_MASK
            counts.count(l2_offset, geometry.cluster_size)
            if l2_offset & geometry.misaligned:
                report.corruption(f"ERROR l2_offset={l2_offset:x}: Table is not cluster aligned; L1 entry corrupted")
            await self._l2_table(l2_offset, active)

    async def finish(self) -> None:
        """The references of tables that were named again."""
        self._report.muted = True
        try:
            for offset, times in self._again.items():
                self._times = times
                await self._look(offset, active=False)
        finally:
            self._report.muted = False
            self._times = 1
            self._again.clear()

    async def _read(self, offset: int, length: int, who: str) -> bytearray:
        """A table; what is behind the end of the file is left out: there are zeroes."""
        length = max(min(length, self._counts.file_size - offset), 0) // 8 * 8
        self._allowance -= length
        if self._allowance < 0:
            self._report.muted = False
            self._report.error("ERROR: L1 and L2 tables overlap too often to be counted")
            raise CheckStopped(errno.EFBIG)
        if not length:
            return bytearray()
        try:
            return await self._image.file.pread(offset, length)
        except (OSError, BlockError) as error:
            self._report.error(f"ERROR: I/O error in {who}")
            raise CheckStopped(error.errno or errno.EIO) from error

    async def _l2_table(self, offset: int, active: bool) -> None:
        result = self._report.counts
        found = self._found.get(offset)
        if found is not None:
            self._again[offset] = self._again.get(offset, 0) + 1
            result.corruptions += found.corruptions
            for line in found.lines:
                self._report.say(line)
        else:
            lines, before = len(self._report.lines), (result.corruptions, result.corruptions_fixed, result.check_errors)
            found = await self._look(offset, active)
            if before[1:] != (result.corruptions_fixed, result.check_errors):
                # It is another one now: the next time it is looked at again.
                self._add_fragments(found, active)
                return
            found = found._replace(lines=tuple(self._report.lines[lines:]), corruptions=result.corruptions - before[0])
            self._found[offset] = found
        self._add_fragments(found, active)

    def _add_fragments(self, found: _Found, active: bool) -> None:
        if active:
            result = self._report.counts
            result.allocated_clusters += found.allocated
            result.fragmented_clusters += found.fragmented
            result.compressed_clusters += found.compressed

    async def _look(self, offset: int, active: bool) -> _Found:
        """Count and examine all entries of one table."""
        geometry, step = self._geometry, self._geometry.entry_words
        words = words_from(await self._read(offset, geometry.cluster_size, "check_refcounts_l2"))
        allocated = fragmented = compressed = following = 0
        index, end = 0, len(words) // step
        if words.count(0) == len(words):
            index = end
        while index < end:
            entry = words[index * step]
            if not (entry & self._unusual) and entry & OFFSET_MASK and step == 1:
                count = self._count_run(words, index, entry)
                host = entry & OFFSET_MASK
                allocated += count
                fragmented += bool(following) and host != following
                following = host + count * geometry.cluster_size
                index += count
                continue
            bitmap = words[index * step + 1] if step == 2 else 0
            if entry or bitmap:
                kind = cluster_kind(geometry, entry)
                if kind == COMPRESSED:
                    counted = self._compressed(index, entry, bitmap)
                    allocated, fragmented, compressed = allocated + counted, fragmented + counted, compressed + counted
                else:
                    if entry & L2_RESERVED:
                        self._report.corruption(f"ERROR found l2 entry with reserved bits set: {entry:x}")
                    if kind in (NORMAL, ZERO_ALLOC):
                        if await self._data_cluster(offset, index, entry, bitmap, active):
                            host = entry & OFFSET_MASK
                            allocated += 1
                            fragmented += bool(following) and host != following
                            following = host + geometry.cluster_size
                    elif kind == UNALLOCATED_PLAIN and bitmap & ALL_ALLOCATED:
                        self._report.corruption("ERROR: Unallocated cluster has non-zero subcluster allocation map")
            index += 1
        await asyncio.sleep(0)
        return _Found((), 0, allocated, fragmented, compressed)

    def _count_run(self, words: array[int], index: int, entry: int) -> int:
        """Data clusters in a row, from ``index`` on."""
        size = self._geometry.cluster_size
        first, end = index, len(words)
        expected = entry
        while index < end and words[index] == expected:
            index += 1
            expected += size
        if not self._geometry.has_data_file:
            counts, host, count = self._counts, entry & OFFSET_MASK, index - first
            if host + count * size <= counts.file_size:
                counts.add(host >> self._geometry.cluster_bits, count, self._times)
            else:
                for at in range(host, host + count * size, size):
                    counts.count(at, size, self._times)
        return index - first

    def _compressed(self, index: int, entry: int, bitmap: int) -> int:
        """1: it is one, and counted."""
        report, geometry = self._report, self._geometry
        if entry & COPIED:
            report.corruption(
                f"ERROR: coffset={entry & geometry.compressed_offset_mask:#x}: copied flag must never be set for "
                "compressed clusters"
            )
            entry &= ~COPIED
        if geometry.has_data_file:
            report.corruption(f"ERROR compressed cluster {index} with data file, entry={entry:#x}")
            return 0
        if bitmap:
            report.corruption(
                f"ERROR compressed cluster {index} with non-zero subcluster allocation bitmap, entry={entry:#x}"
            )
            return 0
        self._counts.count(*geometry.compressed_range(entry), self._times)
        return 1

    async def _data_cluster(self, table: int, index: int, entry: int, bitmap: int, active: bool) -> bool:
        """False: it was none, and has been repaired."""
        report, geometry = self._report, self._geometry
        host = entry & OFFSET_MASK
        if bitmap >> 32 & bitmap:
            report.corruption(f"ERROR offset={host:x}: Allocated cluster has corrupted subcluster allocation bitmap")
        if host & geometry.misaligned:
            has_data = bitmap & ALL_ALLOCATED if geometry.extended_l2 else not entry & ZERO_FLAG
            if has_data:
                report.corruption(f"ERROR offset={host:x}: Data cluster is not properly aligned; L2 entry corrupted.")
            else:
                verb = "Repairing" if self._fix else "ERROR"
                report.corruption(
                    f"{verb} offset={host:x}: Preallocated cluster is not properly aligned; L2 entry corrupted."
                )
                if self._fix and not report.muted and await self._make_zero(table, index, bitmap, active):
                    return False
        if not geometry.has_data_file:
            self._counts.count(host, geometry.cluster_size, self._times)
        return True

    async def _make_zero(self, table: int, index: int, bitmap: int, active: bool) -> bool:
        """The entry has no data: it becomes a zero cluster's. False: it can't be written."""
        report, image = self._report, self._image
        if self._geometry.extended_l2:
            data = struct.pack(">QQ", 0, (bitmap | bitmap << 32) & ALL_ZEROES)
        else:
            data = struct.pack(">Q", ZERO_FLAG)
        own = overlap.ACTIVE_L2 if active else overlap.INACTIVE_L2
        position = table + index * len(data)
        if image.overlap.hit(position, len(data), own):
            try:
                await image.write_metadata(position, data, own)
            except BlockError as error:
                report.error("ERROR: Overlap check failed")
                raise CheckStopped(errno.EIO) from error
        try:
            await image.file.pwrite_sync(position, data)
        except (OSError, BlockError) as error:
            report.error(f"ERROR: Failed to overwrite L2 table entry: {_text(error)}")
            return False
        report.fixed()
        return True


def _text(error: OSError | BlockError) -> str:
    import os

    return os.strerror(error.errno or errno.EIO)
