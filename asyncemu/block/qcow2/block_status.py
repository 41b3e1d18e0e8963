# SPDX-License-Identifier: GPL-2.0-or-later
"""What guest bytes are: data, zeroes, or the backing file's matter. QEMU: qcow2_co_block_status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncemu.block.flags import (
    STATUS_ALLOCATED,
    STATUS_DATA,
    STATUS_OFFSET_VALID,
    STATUS_RECURSE,
    STATUS_ZERO,
)
from asyncemu.block.qcow2.entries import (
    COMPRESSED,
    NORMAL,
    UNALLOCATED_ALLOC,
    UNALLOCATED_PLAIN,
    ZERO_ALLOC,
    ZERO_PLAIN,
)
from asyncemu.block.status import block_status_above
from asyncemu.block.types import BlockStatus
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: Compressed clusters that one answer speaks of, about (arbitrary: as many as a copy takes at once).
_MOST_COMPRESSED: Final = 64


async def block_status(image: Image, offset: int, length: int, recurse: bool) -> BlockStatus:
    """Of the first bytes from ``offset`` on, as far as they are alike.

    ``recurse``: data clusters may be holes of the file (the image was preallocated).
    """
    image.check_usable()
    limit = length
    kind, host, length = await image.mapping.run(offset, limit)
    if kind == COMPRESSED:
        length = await _compressed_length(image, offset, length, limit)
    flags = 0
    if kind in (NORMAL, ZERO_ALLOC, UNALLOCATED_ALLOC):
        flags |= STATUS_OFFSET_VALID
    if kind in (ZERO_PLAIN, ZERO_ALLOC):
        flags |= STATUS_ZERO | STATUS_ALLOCATED
    elif kind not in (UNALLOCATED_PLAIN, UNALLOCATED_ALLOC):
        flags |= STATUS_DATA | STATUS_ALLOCATED
        if recurse and kind == NORMAL:
            flags |= STATUS_RECURSE
    if flags & STATUS_OFFSET_VALID:
        return BlockStatus(flags, length, host, image.data_file.node)
    return BlockStatus(flags, length)


async def _compressed_length(image: Image, offset: int, length: int, limit: int) -> int:
    """How many bytes are compressed, behind the ``length`` that are: each cluster is a run by itself.

    Whoever asks reads them together then, and has them decompressed side by side.
    """
    for _ in range(_MOST_COMPRESSED):
        if length >= limit:
            break
        kind, _, more = await image.mapping.run(offset + length, limit - length)
        if kind != COMPRESSED:
            break
        length += more
    return length


async def reads_as_zero(image: Image, offset: int, length: int) -> bool:
    """Do all of these guest bytes, as far as tables tell; those behind the end of the backing file are zeroes."""
    while length:
        kind, _, done = await image.mapping.run(offset, length)
        if kind in (UNALLOCATED_PLAIN, UNALLOCATED_ALLOC):
            backing = image.backing
            if backing is not None and offset < backing.size:
                status, _ = await block_status_above(backing.node, None, offset, min(done, backing.size - offset))
                if not status.flags & STATUS_ZERO:
                    return False
                done = min(done, status.length) or done
        elif kind not in (ZERO_PLAIN, ZERO_ALLOC):
            return False
        offset += done
        length -= done
    return True


async def metadata_preallocated(image: Image) -> bool:
    """Has the file fewer bytes of storage than clusters are in use? Then some of these are holes.

    QEMU: qcow2_detect_metadata_preallocation.
    """
    file, geometry = image.file, image.geometry
    if image.data_file is not file:
        return False
    try:
        stored = await file.node.driver.allocated_size()
    except (OSError, BlockError):
        return True
    # With some room for what else the file system stores.
    stored_clusters = stored >> geometry.cluster_bits
    limit = max(stored_clusters * 10 // 9, stored_clusters + 2)
    # A sparse file may have any size: behind the table's end nothing is in use.
    clusters = min(geometry.clusters(file.size), len(image.refcounts.table) << geometry.refcount_block_bits)
    in_use = 0
    async with image.lock:
        for first in range(0, clusters, geometry.refcount_block_entries):
            block = await image.refcounts.block_of(first)
            if block is not None:
                end = min(geometry.refcount_block_entries, clusters - first)
                in_use += image.refcounts.codec.count_used(block.payload, end)
            if in_use >= limit:
                return True
    return False
