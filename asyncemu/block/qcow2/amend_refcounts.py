# SPDX-License-Identifier: GPL-2.0-or-later
"""Refcounts of another width: new blocks and a new table beside the old ones, and one write that changes over.

QEMU: qcow2_change_refcount_order, with its messages. With the image's lock held, and all on disk.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from typing import TYPE_CHECKING

from asyncemu.block.driver import Progress
from asyncemu.block.qcow2.check_counts import ReferenceCounts
from asyncemu.block.qcow2.check_report import CheckStopped, Report
from asyncemu.block.qcow2.constants import ENTRY_SIZE
from asyncemu.block.qcow2.geometry import REFCOUNT_OFFSET_MASK, Geometry
from asyncemu.block.qcow2.refcount_codec import refcount_codec
from asyncemu.block.qcow2.repair import plan_refcounts
from asyncemu.block.qcow2.table_cache import TableCache
from asyncemu.block.qcow2.words import words_bytes
from asyncemu.errors import BlockError, ConfigError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image


async def change_refcount_width(image: Image, order: int, progress: Progress) -> None:
    """Refcounts have ``1 << order`` bits from now on. ConfigError: one does not fit, or there is no room."""
    header = image.header.replaced(refcount_order=order)
    geometry = Geometry(header)
    codec = refcount_codec(geometry.cluster_size, order)
    report = Report("")
    counts = ReferenceCounts(geometry, codec, image.file.size, report)
    try:
        await _copy_counts(image, counts, progress)
        blocks, table_at, table = plan_refcounts(counts, report)
    except CheckStopped as error:
        text = f"Failed to allocate the new reftable: {os.strerror(error.errno)}"
        raise ConfigError("refcount_bits", text) from error
    _uncount_old(image, counts)
    bits = geometry.cluster_bits
    clusters = geometry.clusters(len(table) * ENTRY_SIZE)
    what = "Failed to write refblock"
    try:
        for index, cluster in blocks.items():
            await image.write_metadata(cluster << bits, codec.pack(counts.blocks[index], 0, codec.size), 0)
        what = "Failed to write the new reftable"
        await image.write_metadata(table_at << bits, words_bytes(table), 0)
        what = "Failed to flush the refblock cache"
        await image.file.flush()
        what = "Failed to update the qcow2 header"
        await image.update_area(
            image.area.replaced(
                refcount_order=order, refcount_table_offset=table_at << bits, refcount_table_clusters=clusters
            )
        )
        await image.file.flush()
    except (OSError, BlockError) as error:
        raise ConfigError("refcount_bits", f"{what}: {os.strerror(error.errno or errno.EIO)}") from error
    for name in Geometry.__slots__:
        setattr(image.geometry, name, getattr(geometry, name))
    refcounts = image.refcounts
    refcounts.codec = codec
    refcounts.cache = TableCache(
        image.file, codec, refcounts.cache.capacity, "refblock_load", image.metadata.write_refcounts
    )
    refcounts.table_offset, refcounts.table = table_at << bits, table
    refcounts.next_free = refcounts.free_byte_offset = 0
    image.overlap.forget()


async def _copy_counts(image: Image, counts: ReferenceCounts, progress: Progress) -> None:
    """All refcounts of the image."""
    refcounts, entries = image.refcounts, image.geometry.refcount_block_entries
    maximum, width = counts.codec.maximum, counts.geometry.refcount_bits
    empty: set[int] = set()
    for index in range(len(refcounts.table)):
        progress(index, len(refcounts.table))
        try:
            block = await refcounts.block_of(index * entries)
        except (OSError, BlockError) as error:
            text = f"Failed to retrieve refblock: {os.strerror(error.errno or errno.EIO)}"
            raise ConfigError("refcount_bits", text) from error
        if block is None:
            continue
        # A damaged table may name one empty block very often.
        end = 0 if block.offset in empty else refcounts.codec.last_used(block.payload, entries) + 1
        if not end:
            empty.add(block.offset)
        cluster = index * entries
        for value, run in itertools.groupby(refcounts.codec.values(block.payload, 0, end)):
            count = sum(1 for _ in run)
            if value > maximum:
                text = (
                    f"Cannot decrease refcount entry width to {width} bits: Cluster at offset "
                    f"{cluster << counts.geometry.cluster_bits:#x} has a refcount of {value}"
                )
                raise ConfigError("refcount_bits", text)
            if value:
                counts.add(cluster, count, value)
            cluster += count
        await asyncio.sleep(0)


def _uncount_old(image: Image, counts: ReferenceCounts) -> None:
    """The old blocks and the old table are not used any more; the new ones are in other clusters."""
    bits = counts.geometry.cluster_bits
    refcounts = image.refcounts
    old = [(entry & REFCOUNT_OFFSET_MASK) >> bits for entry in refcounts.table if entry & REFCOUNT_OFFSET_MASK]
    old += range(refcounts.table_offset >> bits, (refcounts.table_offset >> bits) + refcounts.table_clusters)
    for cluster in old:
        if counts.get(cluster):
            counts.release(cluster, 1)
