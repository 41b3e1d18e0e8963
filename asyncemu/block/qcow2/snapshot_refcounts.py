# SPDX-License-Identifier: GPL-2.0-or-later
"""References that an L1 table holds, when a snapshot is taken, applied or deleted; and the flag COPIED behind that.

A snapshot's L1 table counts for the L2 tables that it names, and for all that these name. An active entry has COPIED
when nothing else names its cluster; in tables of snapshots the flag means nothing.
QEMU: qcow2_update_snapshot_refcount, which does both at once. With the image's lock held, and nothing in flight.
"""

from __future__ import annotations

import asyncio
import errno
from array import array
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.qcow2.entries import COMPRESSED_FLAG, COPIED, NORMAL, ZERO_ALLOC, cluster_kind
from asyncemu.block.qcow2.errors import c_hex
from asyncemu.block.qcow2.freed import DISCARD_SNAPSHOT
from asyncemu.block.qcow2.geometry import OFFSET_MASK
from asyncemu.block.qcow2.refcount_codec import RefcountRange
from asyncemu.block.qcow2.words import words_from

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image


#: Runs of clusters that are freed at once (arbitrary): they are kept in memory until then.
_RUNS_AT_ONCE: Final = 1 << 16


async def write_all(image: Image) -> None:
    """All that has changed is on disk, and what has been freed is free."""
    await image.metadata.write(refcounts_too=True)
    await image.refcounts.settle()
    await image.metadata.write(refcounts_too=True)
    await image.file.flush()


async def references(image: Image, l1: Sequence[int]) -> AsyncIterator[tuple[int, int]]:
    """Runs of clusters, (first, count), that the tables below ``l1`` name; one that is named twice comes twice.

    The tables are read from the file, which has all changes. BlockError (EIO): they are damaged.
    """
    geometry = image.geometry
    for index, entry in enumerate(l1):
        offset = entry & OFFSET_MASK
        if not offset:
            continue
        if offset & geometry.misaligned:
            raise await image.corruption(f"L2 table offset {c_hex(offset)} unaligned (L1 index: {c_hex(index)})")
        words = words_from(await image.file.pread(offset, geometry.cluster_size))
        for first, count in await _runs(image, words, offset):
            yield first, count
        yield offset >> geometry.cluster_bits, 1
        await asyncio.sleep(0)


async def _runs(image: Image, words: array[int], table: int) -> list[tuple[int, int]]:
    """What the entries of one L2 table name."""
    geometry = image.geometry
    runs: list[tuple[int, int]] = []
    following = -1
    for index, entry in enumerate(words[:: geometry.entry_words]):
        if not entry:
            continue
        kind = cluster_kind(geometry, entry)
        if entry & COMPRESSED_FLAG:
            offset, length = geometry.compressed_range(entry)
            first = offset >> geometry.cluster_bits
            runs.append((first, (offset + length - 1 >> geometry.cluster_bits) - first + 1))
            following = -1
        elif kind in (NORMAL, ZERO_ALLOC):
            host = entry & OFFSET_MASK
            if host & geometry.misaligned:
                place = f"(L2 offset: {c_hex(table)}, L2 index: {c_hex(index)})"
                raise await image.corruption(f"Cluster allocation offset {c_hex(host)} unaligned {place}")
            cluster = host >> geometry.cluster_bits
            if cluster == following:
                runs[-1] = runs[-1][0], runs[-1][1] + 1
            else:
                runs.append((cluster, 1))
            following = cluster + 1
    return runs


async def add_references(image: Image, l1: Sequence[int]) -> None:
    """All that ``l1`` names has one reference more. OSError (EINVAL): one can't be counted, and nothing has changed."""
    refcounts, entries = image.refcounts, image.geometry.refcount_block_entries
    # Runs that have been counted; in words, as a damaged image may have very many.
    firsts, counts = array("Q"), array("Q")
    try:
        async for first, count in references(image, l1):
            end = first + count
            while first < end:
                # What is in one block changes as a whole or not at all.
                length = min(end, (first | entries - 1) + 1) - first
                await refcounts.add(first, length, 1)
                if firsts and firsts[-1] + counts[-1] == first:
                    counts[-1] += length
                else:
                    firsts.append(first)
                    counts.append(length)
                first += length
    except BaseException as error:
        for first, count in zip(firsts, counts, strict=True):
            await refcounts.add(first, count, -1)
        if isinstance(error, RefcountRange):
            raise OSError(errno.EINVAL, "a refcount is as large as it can be") from error
        raise


async def drop_references(image: Image, l1: Sequence[int]) -> None:
    """All that ``l1``, which nothing on disk names any more, names has one reference less, once all is written."""
    bits, runs = image.geometry.cluster_bits, 0
    async for first, count in references(image, l1):
        image.refcounts.free(first << bits, count << bits, DISCARD_SNAPSHOT)
        runs += 1
        if runs % _RUNS_AT_ONCE == 0:
            await image.metadata.write(refcounts_too=True)
            await image.refcounts.settle()


class _RefcountReader:
    """Refcounts of clusters, mostly of one block."""

    def __init__(self, image: Image) -> None:
        self._refcounts = image.refcounts
        self._bits = image.geometry.refcount_block_bits
        self._mask = image.geometry.refcount_block_entries - 1
        self._index = -1
        self._payload: Any = None

    async def get(self, cluster: int) -> int:
        codec = self._refcounts.codec
        if cluster >> self._bits != self._index:
            block = await self._refcounts.block_of(cluster)
            self._index = cluster >> self._bits
            self._payload = codec.empty() if block is None else block.payload
        return codec.get(self._payload, cluster & self._mask)


async def refresh_copied(image: Image) -> None:
    """COPIED of all active entries is as the refcounts say."""
    geometry, l1 = image.geometry, image.l1
    refcounts = _RefcountReader(image)
    for index, entry in enumerate(l1.entries):
        offset = entry & OFFSET_MASK
        if not offset:
            continue
        await _refresh_l2(image, offset, refcounts)
        refcount = await refcounts.get(offset >> geometry.cluster_bits)
        if (refcount == 1) != bool(entry & COPIED):
            l1.set(index, entry ^ COPIED)
        await asyncio.sleep(0)


async def _refresh_l2(image: Image, offset: int, refcounts: _RefcountReader) -> None:
    geometry, size = image.geometry, image.l2_tables.slice_size
    step = geometry.entry_words
    for at in range(offset, offset + geometry.cluster_size, size):
        cache = image.l2_cache
        table = cache.tables.get(at) or await cache.load(at)
        words = table.payload[::step]
        wrong = []
        if words.count(0) < len(words):
            for index, entry in enumerate(words):
                if entry and cluster_kind(geometry, entry) in (NORMAL, ZERO_ALLOC):
                    refcount = await refcounts.get((entry & OFFSET_MASK) >> geometry.cluster_bits)
                    if (refcount == 1) != bool(entry & COPIED):
                        wrong.append(index * step)
        if wrong:
            # Reading refcounts may have taken the slice from the cache.
            table = cache.tables.get(at) or await cache.load(at)
            for index in wrong:
                table.payload[index] ^= COPIED
            table.mark(wrong[0] * 8, (wrong[-1] + step) * 8)
