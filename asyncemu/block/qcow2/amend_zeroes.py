# SPDX-License-Identifier: GPL-2.0-or-later
"""Zero clusters, which version 2 does not have, become clusters of zeroes, or nothing where that reads the same.

In all L2 tables, those of snapshots too. The image is marked dirty meanwhile: each state on the way is one that a
repair makes right. QEMU: qcow2_expand_zero_clusters. With the image's lock held, and all on disk.
"""

from __future__ import annotations

import asyncio
import errno
import os
from array import array
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from asyncemu.block.driver import Progress
from asyncemu.block.qcow2 import overlap
from asyncemu.block.qcow2.constants import ENTRY_SIZE, MAX_L1_SIZE
from asyncemu.block.qcow2.entries import COMPRESSED_FLAG, COPIED, ZERO_ALLOC, ZERO_FLAG, ZERO_PLAIN, cluster_kind
from asyncemu.block.qcow2.errors import c_hex
from asyncemu.block.qcow2.freed import DISCARD_OTHER
from asyncemu.block.qcow2.geometry import OFFSET_MASK
from asyncemu.block.qcow2.table_budget import TableBudget
from asyncemu.block.qcow2.words import words_bytes, words_from
from asyncemu.errors import ConfigError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image


async def expand_zero_clusters(image: Image, progress: Progress) -> None:
    """OSError, BlockError; ConfigError: a snapshot is damaged."""
    await image.mark_dirty()
    total = await _count_tables(image)
    done = 0
    async for offset, active in _tables(image):
        progress(done, total)
        done += 1
        await _expand(image, offset, active)
        await asyncio.sleep(0)
    # They were changed in the file.
    image.l2_cache.forget_all()
    await image.metadata.write(refcounts_too=True)
    await image.file.flush()
    await image.refcounts.settle()
    await image.mark_clean()
    progress(total, total)


async def has_compressed_clusters(image: Image) -> bool:
    """Is there one in any table?"""
    async for offset, _ in _tables(image):
        words = words_from(await image.file.pread(offset, image.geometry.cluster_size))
        if any(entry & COMPRESSED_FLAG for entry in words[:: image.geometry.entry_words]):
            return True
    return False


async def _tables(image: Image) -> AsyncIterator[tuple[int, bool]]:
    """Each L2 table once, with whether it is active. BlockError (EFBIG): snapshots overlap too often."""
    seen: set[int] = set()
    budget = TableBudget(image)
    for entry in image.l1.entries:
        offset = entry & OFFSET_MASK
        if offset and offset not in seen:
            seen.add(offset)
            yield _aligned(image, offset), True
    for snapshot in image.snapshots.snapshots:
        length = snapshot.l1_size * ENTRY_SIZE
        if length > MAX_L1_SIZE:
            raise ConfigError(f"snapshot {snapshot.id}", "Snapshot L1 table too large")
        if snapshot.l1_table_offset & image.geometry.cluster_mask:
            raise ConfigError(f"snapshot {snapshot.id}", "Snapshot L1 table offset invalid")
        budget.take(length)
        for entry in words_from(await image.file.pread(snapshot.l1_table_offset, length) if length else b""):
            offset = entry & OFFSET_MASK
            if offset and offset not in seen:
                seen.add(offset)
                yield _aligned(image, offset), False


def _aligned(image: Image, offset: int) -> int:
    if offset & image.geometry.misaligned:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return offset


async def _count_tables(image: Image) -> int:
    return sum([1 async for _ in _tables(image)])


async def _expand(image: Image, offset: int, active: bool) -> None:
    geometry = image.geometry
    words = words_from(await image.file.pread(offset, geometry.cluster_size))
    dropped: list[int] = []
    changed = False
    for index, entry in enumerate(words):
        if entry & ZERO_FLAG and cluster_kind(geometry, entry) in (ZERO_PLAIN, ZERO_ALLOC):
            words[index] = await _expanded(image, offset, index, entry, dropped)
            changed = True
    if changed:
        await _write(image, offset, words, active)
    for host in dropped:
        image.refcounts.free(host, geometry.cluster_size, DISCARD_OTHER)


async def _expanded(image: Image, table: int, index: int, entry: int, dropped: list[int]) -> int:
    """The entry that is to be there."""
    geometry, refcounts = image.geometry, image.refcounts
    host = entry & OFFSET_MASK
    if not host and image.backing is None:
        return 0
    if host & geometry.misaligned:
        place = f"(L2 offset: {table:#x}, L2 index: {c_hex(index)})"
        raise await image.corruption(f"Cluster allocation offset {host:#x} unaligned {place}")
    references = await refcounts.get(table >> geometry.cluster_bits)
    if not host or await refcounts.get(host >> geometry.cluster_bits) > references:
        # None of its own: what it has is the data of somebody else.
        if host:
            dropped.extend([host] * references)
        host = await refcounts.allocate(geometry.cluster_size)
        if references > 1:
            await refcounts.add(host >> geometry.cluster_bits, 1, references - 1)
    await image.check_data_overlap(host, geometry.cluster_size)
    await image.file.write_zeroes(host, geometry.cluster_size)
    return host | (COPIED if references == 1 else 0)


async def _write(image: Image, offset: int, words: array[int], active: bool) -> None:
    """Behind what it names."""
    await image.metadata.write(refcounts_too=True)
    await image.file.flush()
    own = overlap.ACTIVE_L2 if active else overlap.INACTIVE_L2
    await image.write_metadata(offset, words_bytes(words), own)
