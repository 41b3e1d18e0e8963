# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing zeroes as zero clusters: a flag in the L2 table instead of data.

QEMU: qcow2_co_pwrite_zeroes, qcow2_subcluster_zeroize. As with discards, QEMU does not wait for writes in flight to the
same clusters; here it does.
"""

from __future__ import annotations

import asyncio
import errno
from array import array
from typing import TYPE_CHECKING

from asyncemu.block.flags import MAY_UNMAP
from asyncemu.block.qcow2.block_status import reads_as_zero
from asyncemu.block.qcow2.discard import discard_in_data_file
from asyncemu.block.qcow2.entries import (
    ALL_ZEROES,
    COMPRESSED,
    COMPRESSED_FLAG,
    NORMAL,
    ZERO_FLAG,
    allocated_bits,
    cluster_kind,
    has_host_cluster,
    zero_bits,
)
from asyncemu.block.qcow2.features import DATA_FILE_RAW
from asyncemu.block.qcow2.freed import DISCARD_REQUEST
from asyncemu.block.qcow2.table_cache import Table

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image


async def write_zeroes(image: Image, offset: int, length: int, flags: int) -> None:
    """Make guest bytes read as zero. OSError with ENOTSUP: not as zero clusters; write data."""
    geometry = image.geometry
    grain = geometry.subcluster_size - 1
    end = offset + length
    head = offset & grain
    # What is behind the end of the disk in its last cluster is nobody's.
    tail = 0 if end == image.header.size else -end & grain
    if geometry.version < 3:
        raise OSError(errno.ENOTSUP, "version 2 images have no zero clusters")
    await image.begin_write()
    if head or tail:
        # Part of one subcluster: when the rest reads as zeroes, all of it may be a zero one. It has no data then:
        # other parts of it may be written meanwhile.
        start = offset - head
        if not (await reads_as_zero(image, start, head) and await reads_as_zero(image, end, tail)):
            raise OSError(errno.ENOTSUP, "the rest of the cluster has data")
        async with image.lock:
            await image.allocator.wait_for_allocations(start, end + tail)
            kind, _, _ = await image.mapping.run(start, 1)
            if kind in (NORMAL, COMPRESSED):
                raise OSError(errno.ENOTSUP, "the rest of the cluster has data")
            await zeroize(image, start, end + tail, flags)
    else:
        async with image.lock:
            await zeroize(image, offset, end, flags)


async def zeroize(image: Image, start: int, end: int, flags: int) -> None:
    """Guest bytes [start, end), whole subclusters, read as zeroes. With the lock held.

    ENOTSUP: a part of a compressed cluster. QEMU: qcow2_subcluster_zeroize.
    """
    geometry, tables = image.geometry, image.l2_tables
    await image.allocator.wait_for_allocations(start, end)
    if image.header.autoclear_features & DATA_FILE_RAW:
        # As far as the data file goes, which is already longer where the disk is to be.
        stop = min(end, max(image.header.size, image.data_file.size))
        await image.data_file.write_zeroes(start, stop - start, flags)
    if geometry.version < 3:
        raise OSError(errno.ENOTSUP, "version 2 images have no zero clusters")
    while start < end:
        table = await tables.load_for_change(start)
        await image.mapping.run(start, 1)
        index = tables.index(start)
        in_cluster = start & geometry.cluster_mask
        left = geometry.cluster_size - in_cluster
        if in_cluster or (end - start < geometry.cluster_size and end < image.header.size):
            stop = min(end, start + left)
            _zero_subclusters(image, table, index, in_cluster, in_cluster + stop - start)
        else:
            stop = min(end, tables.slice_end(start))
            if end < image.header.size:
                stop = max(geometry.round_down(stop), start + geometry.cluster_size)
            dropped = _zero_clusters(image, table, index, index + geometry.clusters(stop - start), flags)
            if geometry.has_data_file and DISCARD_REQUEST in image.discard_reasons:
                await discard_in_data_file(image, [start + (at - index << geometry.cluster_bits) for at in dropped])
        start = stop
        await asyncio.sleep(0)


def _zero_subclusters(image: Image, table: Table[array[int]], index: int, start: int, end: int) -> None:
    """Bytes [start, end) of a cluster with extended L2 entry."""
    geometry, words = image.geometry, table.payload
    entry, bitmap = words[2 * index], words[2 * index + 1]
    if entry & COMPRESSED_FLAG:
        raise OSError(errno.ENOTSUP, "part of a compressed cluster")
    first, last = start >> geometry.subcluster_bits, -(-end >> geometry.subcluster_bits)
    new = (bitmap | zero_bits(first, last)) & ~allocated_bits(first, last)
    if new != bitmap:
        words[2 * index + 1] = new
        table.mark(index * 16, index * 16 + 16)


def _zero_clusters(image: Image, table: Table[array[int]], start: int, end: int, flags: int) -> list[int]:
    """Entries [start, end) of a slice. Those whose host cluster is not used any more."""
    geometry, words = image.geometry, table.payload
    step = geometry.entry_words
    dropped: list[int] = []
    for index in range(start, end):
        at = index * step
        old = words[at : at + step]
        entry = old[0]
        allocated = has_host_cluster(cluster_kind(geometry, entry))
        unmap = bool(entry & COMPRESSED_FLAG) or (bool(flags & MAY_UNMAP) and allocated)
        kept = 0 if unmap else entry
        new = array("Q", [kept, ALL_ZEROES] if step == 2 else [kept | ZERO_FLAG])
        if new == old:
            continue
        words[at : at + step] = new
        table.mark(at * 8, (at + step) * 8)
        if unmap:
            image.free_cluster(entry, DISCARD_REQUEST)
            dropped.append(index)
    return dropped
