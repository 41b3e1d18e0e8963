# SPDX-License-Identifier: GPL-2.0-or-later
"""Discard: clusters that are not needed any more are freed, and read as zeroes, or as the backing file has them.

QEMU: qcow2_co_pdiscard, qcow2_cluster_discard. QEMU lets a discard run beside a write to the same clusters that is in
flight, which then links a freed cluster; here it waits for such a write.
"""

from __future__ import annotations

import asyncio
import errno
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from asyncemu.block.flags import MAY_UNMAP
from asyncemu.block.qcow2.entries import (
    ALL_ZEROES,
    NORMAL,
    UNALLOCATED_PLAIN,
    ZERO_ALLOC,
    ZERO_FLAG,
    ZERO_PLAIN,
    cluster_kind,
)
from asyncemu.block.qcow2.features import DATA_FILE_RAW
from asyncemu.block.qcow2.freed import DISCARD_REQUEST
from asyncemu.block.qcow2.table_cache import Table
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image


async def discard(image: Image, offset: int, length: int) -> None:
    """A discard of the guest. OSError with ENOTSUP: not these bytes."""
    geometry = image.geometry
    end = offset + length
    if geometry.version < 3 and image.backing is not None:
        # Without zero clusters, what the backing file has would come to light.
        raise OSError(errno.ENOTSUP, "version 2 images have no zero clusters")
    if offset & geometry.cluster_mask or (end & geometry.cluster_mask and end != image.header.size):
        raise OSError(errno.ENOTSUP, "not whole clusters")
    await image.begin_write()
    if image.header.autoclear_features & DATA_FILE_RAW:
        # The data file by itself must read as the image does.
        await image.data_file.write_zeroes(offset, length, MAY_UNMAP)
    async with image.lock:
        await discard_clusters(image, offset, end, DISCARD_REQUEST, full=False)
        await image.refcounts.reuse_freed()


async def discard_clusters(image: Image, start: int, end: int, reason: int, *, full: bool) -> None:
    """Free the clusters of guest bytes [start, end), which begin with a cluster. With the lock held.

    ``full``: they become unallocated, and read as the backing file does; otherwise they read as zeroes where they had
    data or there is a backing file. ``reason``: DISCARD_*.
    """
    geometry, tables = image.geometry, image.l2_tables
    await image.allocator.wait_for_allocations(start, end)
    while start < end:
        if (full or image.backing is None) and not tables.table_offset(start):
            # Nothing is allocated as far as this table would reach.
            start = (start >> geometry.l1_shift) + 1 << geometry.l1_shift
            continue
        table = await tables.load_for_change(start)
        stop = min(end, tables.slice_end(start))
        index = tables.index(start)
        changed = _discard_in_slice(image, table, index, index + geometry.clusters(stop - start), reason, full)
        if geometry.has_data_file and reason in image.discard_reasons:
            await discard_in_data_file(image, [start + (at - index << geometry.cluster_bits) for at in changed])
        start = stop
        # A slice may have thousands of entries.
        await asyncio.sleep(0)


def _discard_in_slice(
    image: Image, table: Table[array[int]], start: int, end: int, reason: int, full: bool
) -> list[int]:
    """Entries [start, end) of a slice. Those that had data."""
    geometry, words = image.geometry, table.payload
    step = geometry.entry_words
    had_data: list[int] = []
    for index in range(start, end):
        at = index * step
        old = words[at : at + step]
        new = _discarded(image, old, full)
        if new == old:
            continue
        words[at : at + step] = new
        table.mark(at * 8, (at + step) * 8)
        image.free_cluster(old[0], reason)
        if cluster_kind(geometry, old[0]) in (NORMAL, ZERO_ALLOC):
            had_data.append(index)
    return had_data


def _discarded(image: Image, old: array[int], full: bool) -> array[int]:
    """The entry instead of ``old``."""
    geometry = image.geometry
    if full:
        return array("Q", [0]) * len(old)
    if image.backing is None and cluster_kind(geometry, old[0]) in (UNALLOCATED_PLAIN, ZERO_PLAIN):
        return old
    if geometry.extended_l2:
        return array("Q", [0, ALL_ZEROES])
    return array("Q", [ZERO_FLAG if geometry.version >= 3 else 0])


async def discard_in_data_file(image: Image, guests: Sequence[int]) -> None:
    """A hint, errors do not matter."""
    size = image.geometry.cluster_size
    position = 0
    while position < len(guests):
        count = 1
        while position + count < len(guests) and guests[position + count] == guests[position] + count * size:
            count += 1
        try:
            await image.data_file.discard(guests[position], count * size)
        except (OSError, BlockError):
            return
        position += count
