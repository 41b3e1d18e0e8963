# SPDX-License-Identifier: GPL-2.0-or-later
"""New refcount blocks, and a larger refcount table.

Blocks and table are in the file that they count, and so are counted by blocks, perhaps by themselves. A crash in
between must find a table whose blocks are there: they are written and flushed before anything points to them.
QEMU: alloc_refcount_block, qcow2_refcount_area. With the image's lock held.
"""

from __future__ import annotations

import errno
import struct
from array import array
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.qcow2 import overlap
from asyncemu.block.qcow2.constants import ENTRY_SIZE, MAX_REFCOUNT_TABLE_SIZE
from asyncemu.block.qcow2.geometry import REFCOUNT_OFFSET_MASK
from asyncemu.block.qcow2.header import REFCOUNT_TABLE_FIELDS_OFFSET
from asyncemu.block.qcow2.words import words_bytes

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image
    from asyncemu.block.qcow2.refcount import Refcounts

_TOO_LARGE: Final = (
    "This operation would make the refcount table grow beyond the maximum size supported by QEMU, aborting"
)


async def make_block(refcounts: Refcounts, image: Image, cluster: int) -> None:
    """A block for the refcount of ``cluster``, which has none, and a larger table when it needs one."""
    geometry, codec = image.geometry, refcounts.codec
    index = cluster >> geometry.refcount_block_bits
    new = await refcounts.find_free(1)
    offset = new << geometry.cluster_bits
    if not new:
        raise await image.corruption("Preventing invalid allocation of refcount block at offset 0")
    payload = codec.empty()
    if new >> geometry.refcount_block_bits == index:
        codec.put(payload, new & geometry.refcount_block_entries - 1, 1)
    elif not await refcounts.take(new, 1):
        # The block that counts the new one had to be made itself; the caller comes again.
        return
    # Only what is in the table may be in the cache: the block is in neither until it is in the file.
    if image.file.debugged:
        await image.file.debug_event("refblock_alloc_write")
    await image.write_metadata(offset, codec.pack(payload, 0, codec.size), 0)
    if index < len(refcounts.table):
        await image.file.flush()
        if image.file.debugged:
            await image.file.debug_event("refblock_alloc_hookup")
        entry = struct.pack(">Q", offset)
        await image.write_metadata(
            refcounts.table_offset + index * ENTRY_SIZE, entry, overlap.REFCOUNT_TABLE, "reftable_update"
        )
        refcounts.table[index] = offset
        refcounts.cache.put(offset, payload)
        image.overlap.refcount_block_added(offset)
        return
    # Behind all that is in use: everything there is free.
    used_blocks = max(cluster + 1, new + 1) + geometry.refcount_block_entries - 1 >> geometry.refcount_block_bits
    start = used_blocks << geometry.refcount_block_bits << geometry.cluster_bits
    if image.file.debugged:
        await image.file.debug_event("reftable_grow")
    await make_area(refcounts, image, start, 0, exact=False, added_block=(index, offset, payload))


def area_size(clusters: int, cluster_size: int, order: int, *, generous: bool) -> tuple[int, int]:
    """Bytes of refcount blocks and table that count ``clusters`` and themselves, and how many blocks that are.

    ``generous``: and half as many clusters again as the table has. QEMU: qcow2_refcount_metadata_size.
    """
    counts_per_block = cluster_size * 8 >> order
    blocks_per_table_cluster = cluster_size // ENTRY_SIZE
    total = table = blocks = 0
    while True:
        previous = total
        blocks = -(-(clusters + table + blocks) // counts_per_block)
        table = -(-blocks // blocks_per_table_cluster)
        total = clusters + blocks + table
        if total == previous:
            if not generous:
                return (blocks + table) * cluster_size, blocks
            clusters += -(-table // 2)
            total, generous = 0, False


async def make_area(
    refcounts: Refcounts,
    image: Image,
    start: int,
    further_clusters: int,
    *,
    exact: bool,
    added_block: tuple[int, int, Any] | None = None,
) -> int:
    """New blocks and a new table at byte ``start``, behind all that is in use; the byte behind them.

    They count themselves, and can count ``further_clusters`` behind them. ``exact``: the table has no room for more.
    ``added_block``: table index, offset and payload of a block that is in the file, and not in the table.
    QEMU: qcow2_refcount_area.
    """
    geometry, codec = image.geometry, refcounts.codec
    bits, block_bits = geometry.cluster_bits, geometry.refcount_block_bits
    first = start >> bits
    table, total_blocks = _new_table(refcounts, image, first + further_clusters, exact)
    if added_block is not None:
        table[added_block[0]] = added_block[1]
    indexes = range(first >> block_bits, total_blocks)
    missing = [index for index in indexes if not table[index] & REFCOUNT_OFFSET_MASK]
    table_offset = start + (len(missing) << bits)
    end = table_offset + len(table) * ENTRY_SIZE
    new_blocks = dict(zip(missing, range(start, table_offset, 1 << bits), strict=True))
    if image.file.debugged:
        await image.file.debug_event("refblock_alloc_write_blocks")
    payloads: dict[int, Any] = {}
    for index in indexes:
        base = index << block_bits
        counted = max(first, base) - base, min(end >> bits, base + geometry.refcount_block_entries) - base
        if index in new_blocks:
            payload = codec.empty()
            if counted[0] < counted[1]:
                codec.add(payload, *counted, 1)
            table[index] = new_blocks[index]
            await image.write_metadata(new_blocks[index], codec.pack(payload, 0, codec.size), 0)
            payloads[new_blocks[index]] = payload
        elif counted[0] < counted[1]:
            await _count_in_old_block(refcounts, image, table[index], counted, added_block)
    if image.file.debugged:
        await image.file.debug_event("refblock_alloc_write_table")
    await image.write_metadata(table_offset, words_bytes(table), 0)
    await image.metadata.write_refcounts()
    await image.file.flush()
    old_offset, old_length = refcounts.table_offset, len(refcounts.table) * ENTRY_SIZE
    await _switch(refcounts, image, table_offset, table)
    for offset, payload in payloads.items():
        refcounts.cache.put(offset, payload)
    if added_block is not None:
        refcounts.cache.put(added_block[1], added_block[2])
    if old_length:
        # Nothing names it any more, not on disk either.
        await refcounts.release(old_offset, old_length)
    return end


def _new_table(refcounts: Refcounts, image: Image, clusters: int, exact: bool) -> tuple[array[int], int]:
    """A table for so many clusters and what counts them, with the old entries; and the number of blocks."""
    geometry = image.geometry
    _, blocks = area_size(clusters, geometry.cluster_size, geometry.refcount_order, generous=not exact)
    entries = blocks if exact else blocks + -(-blocks // 2)
    per_cluster = geometry.cluster_size // ENTRY_SIZE
    entries = -(-entries // per_cluster) * per_cluster
    if entries * ENTRY_SIZE > MAX_REFCOUNT_TABLE_SIZE:
        image.warn(_TOO_LARGE)
        raise OSError(errno.EFBIG, "File too large")
    table = array("Q", bytes(entries * ENTRY_SIZE))
    # A shorter table drops entries of blocks that count nothing.
    kept = refcounts.table[:entries]
    table[: len(kept)] = kept
    return table, blocks


async def _count_in_old_block(
    refcounts: Refcounts, image: Image, entry: int, counted: tuple[int, int], added: tuple[int, int, Any] | None
) -> None:
    codec = refcounts.codec
    offset = entry & REFCOUNT_OFFSET_MASK
    if added is not None and offset == added[1]:
        codec.add(added[2], *counted, 1)
        start, end = codec.byte_range(*counted)
        await image.write_metadata(offset + start, codec.pack(added[2], start, end), 0)
        return
    block = await refcounts.cache.load(offset)
    codec.add(block.payload, *counted, 1)
    block.mark(*codec.byte_range(*counted))


async def _switch(refcounts: Refcounts, image: Image, offset: int, table: array[int]) -> None:
    """The header points to another table from now on."""
    if image.file.debugged:
        await image.file.debug_event("refblock_alloc_switch_table")
    clusters = len(table) * ENTRY_SIZE >> image.geometry.cluster_bits
    await image.file.pwrite(REFCOUNT_TABLE_FIELDS_OFFSET, struct.pack(">QI", offset, clusters))
    # From here on, whether it is flushed or not: the file says so.
    refcounts.table_offset, refcounts.table = offset, table
    image.set_header(refcount_table_offset=offset, refcount_table_clusters=clusters)
    image.overlap.forget()
    await image.file.flush()
