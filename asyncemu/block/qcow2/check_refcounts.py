# SPDX-License-Identifier: GPL-2.0-or-later
"""Refcount table and blocks: are they where they can be, and do they say what has been counted?

QEMU: check_refblocks, compare_refcounts.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.qcow2.check_counts import MAX_CLUSTERS, ReferenceCounts
from asyncemu.block.qcow2.check_report import Report
from asyncemu.block.qcow2.constants import MAX_OFFSET
from asyncemu.block.qcow2.freed import DISCARD_ALWAYS
from asyncemu.block.qcow2.geometry import REFCOUNT_OFFSET_MASK
from asyncemu.block.qcow2.table_cache import Table
from asyncemu.errors import BlockError, ConfigError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: Bits 0 to 8 of a refcount table entry must be zero.
_RESERVED: Final = 0x1FF


async def check_blocks(image: Image, counts: ReferenceCounts, report: Report, *, fix: bool) -> bool:
    """Count the refcount blocks. True: the refcounts must be made anew."""
    geometry = image.geometry
    rebuild = False
    for index, entry in enumerate(image.refcounts.table):
        if not entry:
            continue
        offset = entry & REFCOUNT_OFFSET_MASK
        if entry & _RESERVED:
            report.corruption(f"ERROR refcount table entry {index} has reserved bits set")
            rebuild = True
        elif offset & geometry.cluster_mask:
            report.corruption(f"ERROR refcount block {index} is not cluster aligned; refcount table entry corrupted")
            rebuild = True
        elif offset >> geometry.cluster_bits >= counts.clusters:
            verb = "Repairing" if fix else "ERROR"
            report.corruption(f"{verb} refcount block {index} is outside image")
            if fix and not await _lengthen(image, counts, report, offset):
                rebuild = True
        else:
            counts.count(offset, geometry.cluster_size)
            references = counts.get(offset >> geometry.cluster_bits)
            if references != 1:
                report.corruption(f"ERROR refcount block {index} refcount={references}")
                rebuild = True
    return rebuild


async def _lengthen(image: Image, counts: ReferenceCounts, report: Report, offset: int) -> bool:
    """Make the file so long that the block at ``offset`` is in it, as zeroes. False: it can't be."""
    size = image.geometry.cluster_size
    end = offset + size
    try:
        if end > MAX_OFFSET:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if end >> image.geometry.cluster_bits > MAX_CLUSTERS:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        await image.file.truncate(end)
    except (OSError, BlockError, ConfigError) as error:
        number = errno.EINVAL if isinstance(error, ConfigError) else error.errno or errno.EIO
        report.say(f"ERROR could not resize image: {os.strerror(number)}")
        return False
    counts.file_size = max(counts.file_size, image.file.size)
    counts.clusters = max(counts.clusters, image.geometry.clusters(counts.file_size))
    report.fixed()
    counts.count(offset, size)
    return True


class Comparison:
    """Of the image's refcounts with what has been counted."""

    def __init__(self, image: Image, counts: ReferenceCounts, report: Report) -> None:
        self._image = image
        self._counts = counts
        self._report = report
        #: A cluster that is in use has refcount 0: refcounts must be made anew.
        self.rebuild = False
        #: The last cluster that is in use, or said to be.
        self.highest = 0
        #: Runs of clusters [first, end).
        self._freed: list[tuple[int, int]] = []

    async def run(self, *, fix_leaks: bool, fix_errors: bool) -> None:
        """Compare, and set right."""
        image, counts, entries = self._image, self._counts, self._image.geometry.refcount_block_entries
        self.rebuild, self.highest = False, 0
        table = image.refcounts.table
        indexes = {index for index, entry in enumerate(table) if entry & REFCOUNT_OFFSET_MASK}
        for index in sorted(indexes.union(counts.blocks)):
            end = min(entries, counts.clusters - index * entries)
            if end <= 0:
                break
            try:
                block = await image.refcounts.block_of(index * entries)
            except (OSError, BlockError) as error:
                self._unreadable(index * entries, end, error)
                continue
            self._compare_block(index * entries, end, block, fix_leaks, fix_errors)
            await asyncio.sleep(0)

    def _unreadable(self, base: int, count: int, error: OSError | BlockError) -> None:
        text = os.strerror(error.errno or errno.EIO)
        for cluster in range(base, base + count):
            self._report.error(f"Can't get refcount for cluster {cluster}: {text}")

    def _compare_block(self, base: int, end: int, block: Table[Any] | None, fix_leaks: bool, fix_errors: bool) -> None:
        codec = self._counts.codec
        counted = self._counts.blocks.get(base >> self._image.geometry.refcount_block_bits)
        stored = None if block is None else block.payload
        for payload in (stored, counted):
            if payload is not None:
                last = codec.last_used(payload, end)
                if last >= 0:
                    self.highest = max(self.highest, base + last)
        if stored == counted:
            return
        right = _values(codec.values(counted, 0, end) if counted is not None else None, end)
        said = _values(codec.values(stored, 0, end) if stored is not None else None, end)
        if right == said:
            return
        for index in range(end):
            if said[index] != right[index]:
                self._differs(base + index, block, said[index], right[index], fix_leaks, fix_errors)

    def _differs(
        self, cluster: int, block: Table[Any] | None, stored: int, counted: int, fix_leaks: bool, fix_errors: bool
    ) -> None:
        report, result = self._report, self._report.counts
        if not stored:
            self.rebuild = True
        fixes = block is not None and bool(stored) and (fix_leaks if stored > counted else fix_errors)
        verb = "Repairing" if fixes else "ERROR" if stored < counted else "Leaked"
        report.say(f"{verb} cluster {cluster} refcount={stored} reference={counted}")
        if fixes and block is not None:
            self._set(cluster, block, counted)
            if stored > counted:
                result.leaks_fixed += 1
            else:
                result.corruptions_fixed += 1
        elif stored < counted:
            result.corruptions += 1
        else:
            result.leaks += 1

    def _set(self, cluster: int, block: Table[Any], value: int) -> None:
        codec, index = self._counts.codec, cluster & self._image.geometry.refcount_block_entries - 1
        codec.put(block.payload, index, value)
        block.mark(*codec.byte_range(index, index + 1))
        if not value:
            refcounts = self._image.refcounts
            refcounts.next_free = min(refcounts.next_free, cluster)
            refcounts.free_byte_offset = 0
            self._image.forget_tables(cluster << self._image.geometry.cluster_bits, self._image.geometry.cluster_size)
            if self._freed and self._freed[-1][1] == cluster:
                self._freed[-1] = self._freed[-1][0], cluster + 1
            else:
                self._freed.append((cluster, cluster + 1))

    async def discard_freed(self) -> None:
        """Storage of clusters that turned out to be free goes back to the host."""
        image, bits = self._image, self._image.geometry.cluster_bits
        freed, self._freed = self._freed, []
        if DISCARD_ALWAYS in image.discard_reasons:
            for first, end in freed:
                await image.discard_clusters(first << bits, end - first << bits)


def _values(values: Iterable[int] | None, count: int) -> list[int]:
    return [0] * count if values is None else list(values)
