# SPDX-License-Identifier: GPL-2.0-or-later
"""Allocator: where a write goes, and the clusters that are on their way into the L2 table.

    part = await allocator.prepare(offset, length)      under the image's lock, for a moment
    write part.host                                     with copy-on-write around it, no lock
    await allocator.link(part.allocation)               under the lock again
    or await allocator.abort(part.allocation)

Between the first and the last step the allocation is *in flight*: the L2 table does not know it yet. Who would allocate
in the same clusters waits for it, or would give them other host clusters and one of the two writes would be lost;
neighbours go on side by side. All host clusters of a part are contiguous: one write for the data.
QEMU: qcow2_alloc_host_offset, QCowL2Meta, handle_dependencies.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncemu.block.qcow2.entries import (
    ALL_ALLOCATED,
    COMPRESSED,
    COMPRESSED_FLAG,
    COPIED,
    NORMAL,
    UNALLOCATED_PLAIN,
    ZERO_PLAIN,
    allocated_bits,
    subcluster_kind,
    zero_bits,
)
from asyncemu.block.qcow2.freed import DISCARD_NEVER
from asyncemu.block.qcow2.geometry import OFFSET_MASK
from asyncemu.coroutines import CoQueue

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: Clusters that one part allocates: an L2 slice of the largest clusters has as many entries.
_MAX_CLUSTERS: Final = 1 << 18


class Allocation:
    """``clusters`` host clusters at ``host`` that the L2 table will name for the guest clusters from ``guest`` on.

    ``kept``: it names these host clusters already, and only what it says of them changes. [start, end) are the guest
    bytes that will be valid when it is linked: copy-on-write around the data [data_start, data_end).
    """

    __slots__ = (
        "clusters",
        "data_end",
        "data_start",
        "end",
        "guest",
        "host",
        "kept",
        "preallocates",
        "start",
        "waiting",
    )

    def __init__(
        self, guest: int, host: int, clusters: int, kept: bool, valid: tuple[int, int], data: tuple[int, int]
    ) -> None:
        self.guest = guest
        self.host = host
        self.clusters = clusters
        self.kept = kept
        self.start, self.end = valid
        self.data_start, self.data_end = data
        #: There are no data: with extended L2 entries, the subclusters stay what they are.
        self.preallocates = False
        #: Those who wait for it to be over.
        self.waiting = CoQueue()

    @property
    def needs_copy(self) -> bool:
        """Is there anything to copy around the data?"""
        return self.start < self.data_start or self.data_end < self.end


class WritePart(NamedTuple):
    """The first ``length`` bytes of a write go to ``host`` in the data file."""

    host: int
    length: int
    #: None: to clusters that the L2 table names as they will be.
    allocation: Allocation | None = None


class Allocator:
    """Of one image. Home context of the node."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._geometry = image.geometry
        self.in_flight: list[Allocation] = []

    # ---- before the data

    async def prepare(self, offset: int, length: int) -> WritePart:
        """Where the first part of these guest bytes goes. OSError: ENOSPC, EFBIG, EIO and what the file raises."""
        while True:
            conflict: Allocation | None = None
            async with self._image.lock:
                allowed, conflict = self._until_conflict(offset, length)
                if conflict is None:
                    return await self._prepare_locked(offset, allowed)
                await conflict.waiting.wait(self._image.lock)

    async def wait_for_allocations(self, start: int, end: int) -> None:
        """With the lock held, which is let go of meanwhile: until none that touches [start, end) is in flight."""
        while True:
            _, conflict = self._until_conflict(start, end - start, whole=True)
            if conflict is None:
                return
            await conflict.waiting.wait(self._image.lock)

    def _until_conflict(self, offset: int, length: int, *, whole: bool = False) -> tuple[int, Allocation | None]:
        """How many of the bytes are in clusters that nobody allocates; who does when that is none (or not all)."""
        end = offset + length
        for other in self.in_flight:
            start = other.guest
            if offset < start + (other.clusters << self._geometry.cluster_bits) and start < end:
                if start <= offset or whole:
                    return 0, other
                end = start
        return end - offset, None

    async def _prepare_locked(self, offset: int, length: int) -> WritePart:
        image, geometry = self._image, self._geometry
        tables = image.l2_tables
        table = await tables.load_for_change(offset)
        length = min(length, tables.slice_end(offset) - offset)
        # Finds out, and reports, when the image is damaged here. The slice is in the cache: nothing is waited for.
        await image.mapping.run(offset, 1)
        words, index = table.payload, tables.index(offset)
        entry = words[index * geometry.entry_words]
        if entry & COPIED and not entry & COMPRESSED_FLAG and (entry & OFFSET_MASK or geometry.has_data_file):
            return self._into_own_clusters(words, index, offset, length)
        return await self._into_new_clusters(words, index, offset, length)

    def _into_own_clusters(self, words: array[int], index: int, offset: int, length: int) -> WritePart:
        """Host clusters that only this guest cluster uses are overwritten. QEMU: handle_copied."""
        geometry = self._geometry
        size, step = geometry.cluster_size, geometry.entry_words
        mask = OFFSET_MASK | COMPRESSED_FLAG | COPIED
        in_cluster = offset & geometry.cluster_mask
        guest = offset - in_cluster
        expected = words[index * step] & mask
        host = expected & OFFSET_MASK
        clusters, end = 1, in_cluster + length
        while clusters * size < end:
            expected += size
            if words[(index + clusters) * step] & mask != expected:
                end = clusters * size
                break
            clusters += 1
        kinds = self._kinds(words, index, clusters, in_cluster, end)
        if all(kind == NORMAL for kind in kinds):
            return WritePart(host + in_cluster, end - in_cluster)
        # Only within the first and the last subcluster, and only when they are not data already.
        grain = geometry.subcluster_size - 1
        start = in_cluster if kinds[0] == NORMAL else in_cluster & ~grain
        stop = end if kinds[-1] == NORMAL else (end + grain) & ~grain
        allocation = Allocation(
            guest, host, clusters, True, (guest + start, guest + stop), (guest + in_cluster, guest + end)
        )
        self.in_flight.append(allocation)
        return WritePart(host + in_cluster, end - in_cluster, allocation)

    def _kinds(self, words: array[int], index: int, clusters: int, start: int, end: int) -> list[int]:
        """The kinds of the subclusters that the bytes [start, end), from the first cluster's start, touch."""
        geometry = self._geometry
        step, bits = geometry.entry_words, geometry.subcluster_bits
        kinds = []
        for number in range(start >> bits, (end - 1 >> bits) + 1):
            at = (index + number // geometry.subclusters) * step
            bitmap = words[at + 1] if step == 2 else 0
            kinds.append(subcluster_kind(geometry, words[at], bitmap, number % geometry.subclusters))
        return kinds

    async def _into_new_clusters(self, words: array[int], index: int, offset: int, length: int) -> WritePart:
        """Host clusters are allocated. QEMU: handle_alloc."""
        image, geometry = self._image, self._geometry
        in_cluster = offset & geometry.cluster_mask
        guest = offset - in_cluster
        clusters = self._count_new(words, index, geometry.clusters(in_cluster + length))
        end = min(in_cluster + length, clusters << geometry.cluster_bits)
        start = self._copied_from(words, index, in_cluster)
        stop = self._copied_to(words, index + clusters - 1, end - (clusters - 1 << geometry.cluster_bits))
        stop += clusters - 1 << geometry.cluster_bits
        if geometry.has_data_file:
            host = guest
        else:
            host = await image.refcounts.allocate(clusters << geometry.cluster_bits)
            if not host:
                raise await image.corruption("Preventing invalid allocation of data cluster at offset 0")
        allocation = Allocation(
            guest, host, clusters, False, (guest + start, guest + stop), (guest + in_cluster, guest + end)
        )
        self.in_flight.append(allocation)
        return WritePart(host + in_cluster, end - in_cluster, allocation)

    def _count_new(self, words: array[int], index: int, wanted: int) -> int:
        """How many clusters from ``index`` on need a new host cluster."""
        geometry = self._geometry
        step = geometry.entry_words
        wanted = min(wanted, _MAX_CLUSTERS)
        count = 1
        while count < wanted:
            entry = words[(index + count) * step]
            if entry & COPIED and not entry & COMPRESSED_FLAG and (entry & OFFSET_MASK or geometry.has_data_file):
                break
            count += 1
        return count

    def _copied_from(self, words: array[int], index: int, in_cluster: int) -> int:
        """Where, in the first cluster, what the new host cluster must have begins. QEMU: calculate_l2_meta."""
        kind, bitmap = self._entry_kind(words, index, in_cluster)
        geometry = self._geometry
        subcluster = in_cluster >> geometry.subcluster_bits
        if kind == COMPRESSED:
            return 0
        if kind in (ZERO_PLAIN, UNALLOCATED_PLAIN):
            return subcluster << geometry.subcluster_bits
        if not geometry.extended_l2:
            return 0
        # What is not allocated in the old host cluster needs none in the new one.
        allocated = bitmap & ALL_ALLOCATED
        first = (allocated & -allocated).bit_length() - 1 if allocated else subcluster
        return min(subcluster, first) << geometry.subcluster_bits

    def _copied_to(self, words: array[int], index: int, end: int) -> int:
        """Where, in the last cluster, it ends."""
        kind, bitmap = self._entry_kind(words, index, end - 1)
        geometry = self._geometry
        last = end - 1 >> geometry.subcluster_bits
        if kind == COMPRESSED:
            return geometry.cluster_size
        if kind not in (ZERO_PLAIN, UNALLOCATED_PLAIN):
            if not geometry.extended_l2:
                return geometry.cluster_size
            last = max(last, (bitmap & ALL_ALLOCATED).bit_length() - 1)
        return last + 1 << geometry.subcluster_bits

    def _entry_kind(self, words: array[int], index: int, in_cluster: int) -> tuple[int, int]:
        geometry = self._geometry
        step = geometry.entry_words
        bitmap = words[index * step + 1] if step == 2 else 0
        return subcluster_kind(geometry, words[index * step], bitmap, in_cluster >> geometry.subcluster_bits), bitmap

    # ---- behind the data

    async def link(self, allocation: Allocation) -> None:
        """The data are there: the L2 table names them. What it named before is freed."""
        image = self._image
        try:
            async with image.lock:
                await image.before_link()
                await self._link_locked(allocation)
        except BaseException:
            await self.abort(allocation)
            raise
        self._over(allocation)

    async def _link_locked(self, allocation: Allocation) -> None:
        image, geometry = self._image, self._geometry
        tables, step, bits = image.l2_tables, geometry.entry_words, geometry.cluster_bits
        table = await tables.load_for_change(allocation.guest)
        words, index = table.payload, tables.index(allocation.guest)
        old: list[int] = []
        for number in range(allocation.clusters):
            at = (index + number) * step
            entry = words[at]
            if not allocation.kept and entry:
                old.append(entry)
            words[at] = allocation.host + (number << bits) | COPIED
            if step == 2 and not allocation.preallocates:
                words[at + 1] = self._bitmap(allocation, number, words[at + 1], entry)
        table.mark(index * step * 8, (index + allocation.clusters) * step * 8)
        image.metadata.new_mapping()
        for entry in old:
            image.free_cluster(entry, DISCARD_NEVER)

    def _bitmap(self, allocation: Allocation, number: int, bitmap: int, old_entry: int) -> int:
        """Of cluster ``number``: what has been written is allocated."""
        geometry = self._geometry
        if old_entry & COMPRESSED_FLAG:
            bitmap = 0
        cluster = allocation.guest + (number << geometry.cluster_bits)
        # Where the range begins or ends within a subcluster, that is data already: its bit is set.
        first = max(allocation.start - cluster, 0) >> geometry.subcluster_bits
        end = -(-min(allocation.end - cluster, geometry.cluster_size) >> geometry.subcluster_bits)
        return (bitmap | allocated_bits(first, end)) & ~zero_bits(first, end)

    async def abort(self, allocation: Allocation) -> None:
        """The data could not be written: give the clusters back."""
        try:
            if not allocation.kept and not self._geometry.has_data_file:
                async with self._image.lock:
                    length = allocation.clusters << self._geometry.cluster_bits
                    await self._image.refcounts.release(allocation.host, length)
        finally:
            self._over(allocation)

    def _over(self, allocation: Allocation) -> None:
        self.in_flight.remove(allocation)
        allocation.waiting.restart_all()
