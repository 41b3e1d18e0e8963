# SPDX-License-Identifier: GPL-2.0-or-later
"""Counting the clusters of persistent bitmaps: directory, tables, data. QEMU: qcow2_check_bitmaps_refcounts."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from asyncemu.block.qcow2.bitmaps import read_bitmaps
from asyncemu.block.qcow2.check_counts import ReferenceCounts
from asyncemu.block.qcow2.check_report import CheckStopped, Report
from asyncemu.block.qcow2.constants import ENTRY_SIZE
from asyncemu.block.qcow2.errors import BadImage
from asyncemu.block.qcow2.geometry import OFFSET_MASK
from asyncemu.block.qcow2.words import words_from
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: Bits of a bitmap table entry: reserved ones, and "all bits are set" where there is no cluster.
_RESERVED: Final = 0xFF00_0000_0000_01FE
_ALL_ONES: Final = 1

#: Bytes of the tables of all bitmaps beyond the file's size: they may overlap.
_FURTHER_BYTES: Final = 16 << 20


async def count_bitmaps(image: Image, counts: ReferenceCounts, report: Report) -> None:
    """Raises CheckStopped: a directory or a table is damaged."""
    extension = image.area.extensions.bitmaps
    if extension is None:
        return
    counts.count(extension.directory_offset, extension.directory_size)
    try:
        bitmaps = await read_bitmaps(image)
    except (BadImage, OSError, BlockError) as error:
        report.counts.corruptions += 1
        raise CheckStopped(errno.EINVAL) from error
    allowance = counts.file_size + _FURTHER_BYTES
    for bitmap in bitmaps:
        length = bitmap.table_size * ENTRY_SIZE
        counts.count(bitmap.table_offset, length)
        # Behind the end of the file there are zeroes, which name nothing.
        length = max(min(length, counts.file_size - bitmap.table_offset), 0) // ENTRY_SIZE * ENTRY_SIZE
        allowance -= length
        if allowance < 0:
            report.error("ERROR: bitmap tables overlap too often to be counted")
            raise CheckStopped(errno.EFBIG)
        await _count_table(image, counts, report, bitmap.table_offset, length)


async def _count_table(image: Image, counts: ReferenceCounts, report: Report, offset: int, length: int) -> None:
    if not length:
        return
    mask = image.geometry.cluster_mask
    try:
        entries = words_from(await image.file.pread(offset, length))
    except (OSError, BlockError) as error:
        report.counts.corruptions += 1
        raise CheckStopped(error.errno or errno.EIO) from error
    for entry in entries:
        host = entry & OFFSET_MASK
        if entry & _RESERVED or (host and (entry & _ALL_ONES or host & mask)):
            report.counts.corruptions += 1
            raise CheckStopped(errno.EINVAL)
    for entry in entries:
        if entry & OFFSET_MASK:
            counts.count(entry & OFFSET_MASK, image.geometry.cluster_size)
