# SPDX-License-Identifier: GPL-2.0-or-later
"""Making an image empty: all reads come from the backing file again. QEMU: qcow2_make_empty.

Where nothing else is in the file (snapshots, bitmaps), it becomes what a new image is, and as short. The image is
marked dirty meanwhile: after a crash its refcounts are counted anew.
"""

from __future__ import annotations

import struct
from array import array
from typing import TYPE_CHECKING, Final

from asyncemu.block.qcow2.constants import CRYPT_LUKS, ENTRY_SIZE
from asyncemu.block.qcow2.discard import discard_clusters
from asyncemu.block.qcow2.freed import DISCARD_SNAPSHOT, FreedClusters
from asyncemu.block.qcow2.l1_table import L1Table
from asyncemu.block.qcow2.table_budget import check_l2_tables
from asyncemu.block.qcow2.words import zero_words

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: Where l1_table_offset, refcount_table_offset and refcount_table_clusters are in the header.
_TABLE_FIELDS_OFFSET: Final = 40

#: Clusters before the L1 table: header, refcount table, refcount block.
_FIRST_CLUSTERS: Final = 3


async def make_empty(image: Image) -> None:
    """No request is in flight. OSError, BlockError."""
    await image.begin_write()
    geometry = image.geometry
    l1_clusters = geometry.clusters(len(image.l1.entries) * ENTRY_SIZE)
    simple = (
        geometry.version >= 3
        and not image.snapshots.snapshots
        and image.area.extensions.bitmaps is None
        and _FIRST_CLUSTERS + l1_clusters <= geometry.refcount_block_entries
        and image.header.crypt_method != CRYPT_LUKS
        and not geometry.has_data_file
    )
    if simple:
        async with image.lock:
            try:
                await _start_anew(image, _FIRST_CLUSTERS + l1_clusters)
            except BaseException:
                # Neither the old tables nor the new ones: whoever opens it next repairs it. QEMU: bs->drv is NULL.
                image.broken = True
                image.ready_to_write = False
                raise
        return
    check_l2_tables(image, image.l1.entries)
    async with image.lock:
        await discard_clusters(image, 0, geometry.round_up(image.header.size), DISCARD_SNAPSHOT, full=True)
    await image.flush_caches()


async def _start_anew(image: Image, clusters: int) -> None:
    """``clusters`` in use: the first three and the L1 table behind them. With the lock held."""
    file, size = image.file, image.geometry.cluster_size
    await image.metadata.write(refcounts_too=True)
    await image.mark_dirty()
    if file.debugged:
        await file.debug_event("l1_update")
    await file.write_zeroes(image.l1.offset, image.geometry.round_up(len(image.l1.entries) * ENTRY_SIZE))
    await file.flush()
    image.l1 = L1Table(image.l1.offset, zero_words(len(image.l1.entries)))
    if file.debugged:
        await file.debug_event("empty_image_prepare")
    await file.write_zeroes(size, (clusters - 1) * size)
    await file.flush()
    fields = struct.pack(">QQI", _FIRST_CLUSTERS * size, size, 1)
    await file.pwrite_sync(_TABLE_FIELDS_OFFSET, fields)
    image.set_header(l1_table_offset=_FIRST_CLUSTERS * size, refcount_table_offset=size, refcount_table_clusters=1)
    image.l1.offset = _FIRST_CLUSTERS * size
    await _reset_refcounts(image, clusters)
    await image.mark_clean()
    await file.truncate(clusters * size)


async def _reset_refcounts(image: Image, clusters: int) -> None:
    """One block, for what is in use now."""
    size, refcounts = image.geometry.cluster_size, image.refcounts
    image.l2_cache.forget_all()
    refcounts.cache.forget_all()
    refcounts.freed = FreedClusters(refcounts.epochs)
    refcounts.table_offset = size
    refcounts.table = array("Q", [2 * size]) + zero_words(size // ENTRY_SIZE - 1)
    refcounts.next_free = clusters
    refcounts.free_byte_offset = 0
    image.overlap.forget()
    block = await refcounts.cache.create(2 * size)
    refcounts.codec.add(block.payload, 0, clusters, 1)
    await image.metadata.write_refcounts()
    await image.file.flush()
    await image.file.pwrite_sync(size, struct.pack(">Q", 2 * size))
