# SPDX-License-Identifier: GPL-2.0-or-later
"""Mapping: what is at a guest offset, and for how many bytes that is one and the same.

    kind, host, length = await mapping.run(offset, limit)

A run is as long as the kind stays and, where there are host clusters, these are contiguous; it ends with its slice, for
the next one may not be in the cache. QEMU: qcow2_get_host_offset.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, TypeAlias

from asyncemu.block.qcow2.entries import (
    ALL_ALLOCATED,
    COMPRESSED,
    COMPRESSED_FLAG,
    COPIED,
    INVALID,
    NORMAL,
    UNALLOCATED_ALLOC,
    UNALLOCATED_PLAIN,
    ZERO_ALLOC,
    ZERO_FLAG,
    ZERO_PLAIN,
    cluster_kind,
    subcluster_kind,
)
from asyncemu.block.qcow2.errors import c_hex
from asyncemu.block.qcow2.geometry import OFFSET_MASK

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: Kind (entries.py); offset in the data file of the first byte where there is a host cluster, the L2 entry when it is
#: compressed, else 0; length in bytes. A compressed cluster is a run by itself.
Run: TypeAlias = tuple[int, int, int]


class Mapping:
    """Of one image. Home context of the node; needs no lock."""

    def __init__(self, image: Image) -> None:
        self._image = image
        geometry = self._geometry = image.geometry
        #: What makes two entries alike.
        self._significant = OFFSET_MASK | COMPRESSED_FLAG
        if not geometry.extended_l2:
            self._significant |= ZERO_FLAG
        if geometry.has_data_file:
            self._significant |= COPIED

    async def run(self, offset: int, limit: int) -> Run:
        """What is at ``offset``; at most ``limit`` bytes. OSError (EIO): the image is damaged."""
        image, geometry = self._image, self._geometry
        tables = image.l2_tables
        table = await tables.load(offset)
        if table is None:
            end = (offset >> geometry.l1_shift) + 1 << geometry.l1_shift
            return UNALLOCATED_PLAIN, 0, min(limit, end - offset)
        index = tables.index(offset)
        words = table.payload
        limit = min(limit, tables.slice_end(offset) - offset)
        if geometry.extended_l2:
            kind, host, length = self._extended_run(words, index, offset, limit)
            entry = words[index * 2]
        else:
            entry = words[index]
            kind, host, length = self._standard_run(words, index, entry, offset, limit)
        problem = self._problem(kind, entry, host, offset)
        if problem:
            place = f"(L2 offset: {c_hex(tables.table_offset(offset))}, L2 index: {c_hex(index)})"
            raise await image.corruption(problem.format(place=place, index=c_hex(index)))
        return kind, host, length

    def _problem(self, kind: int, entry: int, host: int, offset: int) -> str:
        geometry = self._geometry
        if kind == INVALID:
            return "Invalid cluster entry found {place}"
        if kind in (ZERO_PLAIN, ZERO_ALLOC) and geometry.version < 3:
            return "Zero cluster entry found in pre-v3 image {place}"
        if kind == COMPRESSED:
            if geometry.has_data_file:
                return "Compressed cluster entry found in image with external data file {place}"
            return ""
        if kind in (UNALLOCATED_PLAIN, ZERO_PLAIN):
            return ""
        cluster = entry & OFFSET_MASK
        if cluster & geometry.misaligned:
            return f"Cluster allocation offset {c_hex(cluster)} unaligned {{place}}"
        if geometry.has_data_file and host != offset:
            guest = geometry.round_down(offset)
            return (
                f"External data file host cluster offset {c_hex(cluster)} does not match guest cluster offset: "
                f"{c_hex(guest)}, L2 index: {{index}})"
            )
        return ""

    def _standard_run(self, words: array[int], index: int, entry: int, offset: int, limit: int) -> Run:
        geometry = self._geometry
        in_cluster = offset & geometry.cluster_mask
        size = geometry.cluster_size
        length = size - in_cluster
        kind = cluster_kind(geometry, entry)
        if kind == COMPRESSED:
            return kind, entry, min(length, limit)
        significant = self._significant
        expected = entry & significant
        step = size if kind in (NORMAL, ZERO_ALLOC) else 0
        while length < limit:
            index += 1
            expected += step
            if words[index] & significant != expected:
                break
            length += size
        host = (entry & OFFSET_MASK) + in_cluster if step else 0
        return kind, host, min(length, limit)

    def _extended_run(self, words: array[int], index: int, offset: int, limit: int) -> Run:
        geometry = self._geometry
        in_cluster = offset & geometry.cluster_mask
        entry, bitmap = words[2 * index], words[2 * index + 1]
        first = in_cluster >> geometry.subcluster_bits
        kind = subcluster_kind(geometry, entry, bitmap, first)
        if kind == COMPRESSED:
            return kind, entry, min(geometry.cluster_size - in_cluster, limit)
        if kind == INVALID:
            return kind, 0, 1
        has_host = kind in (NORMAL, ZERO_ALLOC, UNALLOCATED_ALLOC)
        host = (entry & OFFSET_MASK) + in_cluster if has_host else 0
        step = geometry.cluster_size if has_host else 0
        expected = entry & self._significant
        position = geometry.round_down(offset)
        end = offset + limit
        while True:
            alike = first + _alike(kind, bitmap, first)
            position += alike << geometry.subcluster_bits
            if alike < geometry.subclusters or position >= end:
                break
            first = 0
            index += 1
            expected += step
            entry, bitmap = words[2 * index], words[2 * index + 1]
            if entry & self._significant != expected or subcluster_kind(geometry, entry, bitmap, 0) != kind:
                break
        return kind, host, min(position, end) - offset


def _alike(kind: int, bitmap: int, first: int) -> int:
    """How many subclusters from ``first`` on are of ``kind``, as ``first`` is."""
    if kind == NORMAL:
        bits = bitmap & ALL_ALLOCATED
    elif kind in (ZERO_PLAIN, ZERO_ALLOC):
        bits = bitmap >> 32
    else:
        bits = ~(bitmap | bitmap >> 32) & ALL_ALLOCATED
    bits >>= first
    # The number of ones at the low end.
    return (~bits & bits + 1).bit_length() - 1
