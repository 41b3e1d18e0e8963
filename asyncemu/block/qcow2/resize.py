# SPDX-License-Identifier: GPL-2.0-or-later
"""Another size of the disk.

Shrinking gives back, in this order, the clusters that are cut off, the L2 tables that map nothing any more, refcount
blocks that count nothing, and the end of the file. The size in the header changes last.
QEMU: qcow2_co_truncate, with its messages; but what an image that was shrunk has in its last cluster behind its end is
not seen again when it grows.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING

from asyncemu.block.qcow2 import overlap
from asyncemu.block.qcow2.discard import discard_clusters
from asyncemu.block.qcow2.entries import COMPRESSED, NORMAL
from asyncemu.block.qcow2.features import DATA_FILE_RAW
from asyncemu.block.qcow2.freed import DISCARD_ALWAYS
from asyncemu.block.qcow2.geometry import OFFSET_MASK, REFCOUNT_OFFSET_MASK
from asyncemu.block.qcow2.header import SIZE_OFFSET
from asyncemu.block.qcow2.preallocation import preallocate_metadata, preallocate_storage
from asyncemu.block.qcow2.table_budget import check_l2_tables
from asyncemu.block.qcow2.words import words_bytes
from asyncemu.block.qcow2.zero import zeroize
from asyncemu.block.types import Preallocation
from asyncemu.errors import BlockError, ConfigError
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image


async def truncate(image: Image, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
    """Make the disk ``size`` bytes; nothing is in flight behind the smaller size. ConfigError, with QEMU's texts."""
    if size % 512:
        raise ConfigError("size", "The new size must be a multiple of 512")
    await image.begin_write()
    old = image.header.size
    if image.snapshots.snapshots and image.geometry.version < 3:
        raise ConfigError("size", "Can't resize a v2 image which has snapshots")
    if image.area.extensions.bitmaps is not None:
        raise ConfigError("size", "Cannot resize qcow2 with persistent bitmaps that were not loaded into memory")
    if size < old and preallocation != "off":
        raise ConfigError("preallocation", "Preallocation can't be used for shrinking an image")
    if size < old or image.geometry.l1_entries(size) != image.geometry.l1_entries(old):
        await _drop_vm_state(image)
    if size < old:
        await _shrink(image, size, old, exact)
    else:
        await _grow(image, size, old, exact, preallocation, zero)
    if preallocation != "off":
        try:
            await image.metadata.write()
            await image.file.flush()
        except (OSError, BlockError) as error:
            raise failed("Failed to flush the preallocated area to disk", error) from error
    try:
        await image.file.pwrite_sync(SIZE_OFFSET, struct.pack(">Q", size))
    except (OSError, BlockError) as error:
        raise failed("Failed to update the image size", error) from error
    image.set_header(size=size)
    image.size_changed()
    return size


async def _drop_vm_state(image: Image) -> None:
    """What a snapshot that was applied has left behind the end of the disk: it would be elsewhere, or guest data.

    QEMU keeps it: it leaks, or comes to light.
    """
    start, end = image.vm_state_offset, len(image.l1.entries) << image.geometry.l1_shift
    try:
        check_l2_tables(image, image.l1.entries)
        async with image.lock:
            await discard_clusters(image, start, end, DISCARD_ALWAYS, full=True)
    except (OSError, BlockError) as error:
        raise failed("Failed to discard VM state", error) from error


# ---- longer


async def _grow(image: Image, size: int, old: int, exact: bool, preallocation: Preallocation, zero: bool) -> None:
    geometry = image.geometry
    try:
        async with image.lock:
            await image.l2_tables.grow_l1(geometry.l1_entries(size), exact=True)
    except (OSError, BlockError) as error:
        raise failed("Failed to grow the L1 table", error) from error
    if preallocation == "off":
        if image.external_data is not None:
            raw = bool(image.header.autoclear_features & DATA_FILE_RAW)
            await image.external_data.truncate(size, exact=exact or raw)
    elif preallocation == "metadata" or geometry.has_data_file:
        await preallocate_metadata(image, old, size, preallocation)
    else:
        await preallocate_storage(image, old, size, preallocation)
    storage = preallocation in ("falloc", "full")
    if size > old:
        await _zero_new_bytes(image, size, old, zero and not (storage and image.backing is None))


async def _zero_new_bytes(image: Image, size: int, old: int, whole: bool) -> None:
    """``whole``: there may be other bytes in a backing file. In any case the rest of the last cluster is cleared."""
    geometry = image.geometry
    first = min(size, (old + geometry.subcluster_size - 1) & ~(geometry.subcluster_size - 1))
    if whole and first < size:
        try:
            async with image.lock:
                await zeroize(image, first, geometry.round_up(size), 0)
        except (OSError, BlockError) as error:
            raise failed("Failed to zero out new clusters", error) from error
    try:
        position, end = old, min(size, geometry.round_up(old))
        while position < end:
            kind, _, length = await image.mapping.run(position, end - position)
            if kind in (NORMAL, COMPRESSED) or (whole and position < first):
                await image.writer.write(position, Buffers.of(bytes(length)))
            position += length
        if whole or old & geometry.cluster_mask:
            # Zeroes of earlier requests, too, before the header says that these bytes are part of the disk.
            await image.metadata.write()
            await image.file.flush()
    except (OSError, BlockError) as error:
        raise failed("Failed to zero out the new area", error) from error


def failed(problem: str, error: OSError | BlockError) -> ConfigError:
    """As QEMU's error_setg_errno."""
    return ConfigError("size", f"{problem}: {os.strerror(error.errno or errno.EIO)}")


# ---- shorter


async def _shrink(image: Image, size: int, old: int, exact: bool) -> None:
    geometry = image.geometry
    try:
        async with image.lock:
            await discard_clusters(image, geometry.round_up(size), old, DISCARD_ALWAYS, full=True)
    except (OSError, BlockError) as error:
        raise failed("Failed to discard cropped clusters", error) from error
    try:
        if image.file.debugged:
            await image.file.debug_event("l1_shrink_write_table")
        async with image.lock:
            _drop_l2_tables(image, geometry.l1_entries(size))
        if image.file.debugged:
            await image.file.debug_event("l1_shrink_free_l2_clusters")
        await image.flush_caches()
    except (OSError, BlockError) as error:
        raise failed("Failed to reduce the number of L2 tables", error) from error
    if image.external_data is not None and image.external_data.size > size:
        await image.external_data.truncate(size, exact=exact)
    try:
        async with image.lock:
            await _drop_refcount_blocks(image)
    except (OSError, BlockError) as error:
        raise failed("Failed to discard unused refblocks", error) from error
    async with image.lock:
        end = await last_cluster(image) + 1 << geometry.cluster_bits
    if end < image.file.size:
        try:
            await image.file.truncate(end)
        except (OSError, BlockError, ConfigError) as error:
            image.warn(f"Failed to truncate the tail of the image: {error}")


def _drop_l2_tables(image: Image, kept: int) -> None:
    """Those of L1 entries from ``kept`` on; VM state that was loaded is there, too."""
    geometry = image.geometry
    for index in range(kept, len(image.l1.entries)):
        offset = image.l1.entries[index] & OFFSET_MASK
        if not offset:
            continue
        image.l1.set(index, 0)
        image.overlap.l2_moved(offset, 0)
        if not offset & geometry.misaligned:
            image.l2_cache.forget(offset, geometry.cluster_size)
            image.refcounts.free(offset, geometry.cluster_size, DISCARD_ALWAYS)


async def _drop_refcount_blocks(image: Image) -> None:
    """Those that count nothing but themselves. QEMU: qcow2_shrink_reftable."""
    geometry, refcounts = image.geometry, image.refcounts
    codec, entries = refcounts.codec, geometry.refcount_block_entries
    unused: list[int] = []
    # A damaged table may name one block very often: it is searched once.
    first_used: dict[int, int] = {}
    for index, entry in enumerate(refcounts.table):
        offset = entry & REFCOUNT_OFFSET_MASK
        if not offset:
            continue
        block = await refcounts.block_of(index << geometry.refcount_block_bits)
        assert block is not None
        own = offset >> geometry.cluster_bits
        own = own & entries - 1 if own >> geometry.refcount_block_bits == index else entries
        if offset not in first_used:
            first_used[offset] = codec.first_used(block.payload, 0, entries)
        used = first_used[offset]
        if used == own:
            used = codec.first_used(block.payload, own + 1, entries) if own < entries else entries
        if used == entries:
            unused.append(index)
    if not unused:
        return
    table = refcounts.table[:]
    for index in unused:
        table[index] = 0
    # Refcounts that the blocks kept hold, and the tables that name what they count, are on disk already.
    await image.write_metadata(refcounts.table_offset, words_bytes(table), overlap.REFCOUNT_TABLE, "reftable_update")
    await image.file.flush()
    old, refcounts.table = refcounts.table, table
    image.overlap.forget()
    kept = {entry & REFCOUNT_OFFSET_MASK for entry in table}
    for index in unused:
        offset = old[index] & REFCOUNT_OFFSET_MASK
        if offset in kept:
            continue  # damaged: it has another name
        kept.add(offset)
        refcounts.cache.forget(offset, geometry.cluster_size)
        if offset >> geometry.cluster_bits >> geometry.refcount_block_bits != index:
            await refcounts.release(offset, geometry.cluster_size)
        elif DISCARD_ALWAYS in image.discard_reasons:
            await image.discard_clusters(offset, geometry.cluster_size)


async def last_cluster(image: Image) -> int:
    """Index of the last cluster that is in use. BlockError: none is. QEMU: qcow2_get_last_cluster."""
    geometry, refcounts = image.geometry, image.refcounts
    end = geometry.clusters(image.file.size)
    for index in range(len(refcounts.table) - 1, -1, -1):
        first = index << geometry.refcount_block_bits
        if first >= end or not refcounts.table[index] & REFCOUNT_OFFSET_MASK:
            continue
        block = await refcounts.block_of(first)
        assert block is not None
        last = refcounts.codec.last_used(block.payload, min(geometry.refcount_block_entries, end - first))
        if last >= 0:
            return first + last
    raise await image.corruption("There are no references in the refcount table.")
