# SPDX-License-Identifier: GPL-2.0-or-later
"""Refcounts made anew, from what has been counted: new blocks and a new table, in clusters that nothing names.

Old and new ones never overlap, and the header is written last: a crash in between changes nothing.
QEMU: rebuild_refcount_structure. With the image's lock held.
"""

from __future__ import annotations

import errno
import os
import struct
from array import array
from typing import TYPE_CHECKING

from asyncemu.block.qcow2.check_counts import ReferenceCounts
from asyncemu.block.qcow2.check_report import CheckStopped, Report
from asyncemu.block.qcow2.constants import ENTRY_SIZE, MAX_REFCOUNT_TABLE_SIZE
from asyncemu.block.qcow2.header import REFCOUNT_TABLE_FIELDS_OFFSET
from asyncemu.block.qcow2.words import words_bytes, zero_words
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image


async def rebuild_refcounts(image: Image, counts: ReferenceCounts, report: Report) -> None:
    """The image uses them from now on. Raises CheckStopped."""
    image.refcounts.cache.forget_all()
    blocks, table_at, table = plan_refcounts(counts, report)
    bits = image.geometry.cluster_bits
    what = "ERROR writing refblock"
    try:
        for index, cluster in blocks.items():
            data = counts.codec.pack(counts.blocks[index], 0, counts.codec.size)
            await image.write_metadata(cluster << bits, data, 0)
        what = "ERROR writing reftable"
        await image.write_metadata(table_at << bits, words_bytes(table), 0)
        await image.file.flush()
        what = "ERROR setting reftable"
        clusters = image.geometry.clusters(len(table) * ENTRY_SIZE)
        fields = struct.pack(">QI", table_at << bits, clusters)
        await image.file.pwrite_sync(REFCOUNT_TABLE_FIELDS_OFFSET, fields)
    except (OSError, BlockError) as error:
        number = error.errno or errno.EIO
        report.error(f"{what}: {os.strerror(number)}")
        raise CheckStopped(number) from error
    image.set_header(refcount_table_offset=table_at << bits, refcount_table_clusters=clusters)
    refcounts = image.refcounts
    refcounts.table_offset, refcounts.table = table_at << bits, table
    refcounts.next_free = refcounts.free_byte_offset = 0
    refcounts.cache.forget_all()
    image.overlap.forget()


def plan_refcounts(counts: ReferenceCounts, report: Report) -> tuple[dict[int, int], int, array[int]]:
    """Where each block goes (index → cluster), where the table goes, and what is in it. They are counted, too."""
    geometry = counts.geometry
    blocks: dict[int, int] = {}
    table_at = table_clusters = 0
    while True:
        missing = [index for index in sorted(counts.blocks) if index not in blocks]
        for index in missing:
            # In the part of the file that it counts, as far as that is free.
            blocks[index] = counts.allocate(1, index << geometry.refcount_block_bits)
        needed = geometry.clusters((max(blocks) + 1) * ENTRY_SIZE)
        if needed << geometry.cluster_bits > MAX_REFCOUNT_TABLE_SIZE:
            report.error("ERROR allocating reftable: File too large")
            raise CheckStopped(errno.EFBIG)
        if needed != table_clusters:
            if table_clusters:
                counts.release(table_at, table_clusters)
            table_at, table_clusters = counts.allocate(needed), needed
        elif not missing:
            break
    table = zero_words(table_clusters << geometry.cluster_bits - 3)
    for index, cluster in blocks.items():
        table[index] = cluster << geometry.cluster_bits
    return blocks, table_at, table
