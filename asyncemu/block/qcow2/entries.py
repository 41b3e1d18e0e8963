# SPDX-License-Identifier: GPL-2.0-or-later
"""What an L2 entry says of a cluster, and its bitmap of the subclusters.

qcow2.txt, "L2 table entry" and "Subcluster Allocation Bitmap". The names of the kinds are QEMU's.
"""

from __future__ import annotations

from typing import Final

from asyncemu.block.qcow2.geometry import OFFSET_MASK, Geometry

#: Bits of L1 and L2 entries.
COPIED: Final = 1 << 63
COMPRESSED_FLAG: Final = 1 << 62
ZERO_FLAG: Final = 1

#: Both halves of a bitmap: allocated, and reads as zeroes.
ALL_ALLOCATED: Final = 0xFFFF_FFFF
ALL_ZEROES: Final = 0xFFFF_FFFF << 32

# Kinds of subclusters, and of whole clusters when these have none. Plain integers: they are compared for each cluster
# of each request.

#: Reads come from the backing file; no host cluster.
UNALLOCATED_PLAIN: Final = 0
#: The same, in a host cluster that other subclusters use.
UNALLOCATED_ALLOC: Final = 1
#: Reads as zeroes; no host cluster.
ZERO_PLAIN: Final = 2
#: Reads as zeroes; there is a host cluster.
ZERO_ALLOC: Final = 3
NORMAL: Final = 4
COMPRESSED: Final = 5
#: The bitmap contradicts itself or the offset.
INVALID: Final = 6


def cluster_kind(geometry: Geometry, entry: int) -> int:
    """UNALLOCATED_PLAIN, ZERO_PLAIN, ZERO_ALLOC, NORMAL or COMPRESSED; with extended L2 entries, only the three that
    are left without the bitmap: UNALLOCATED_PLAIN, NORMAL, COMPRESSED. QEMU: qcow2_get_cluster_type."""
    if entry & COMPRESSED_FLAG:
        return COMPRESSED
    if entry & ZERO_FLAG and not geometry.extended_l2:
        return ZERO_ALLOC if entry & OFFSET_MASK else ZERO_PLAIN
    if not entry & OFFSET_MASK and not (geometry.has_data_file and entry & COPIED):
        return UNALLOCATED_PLAIN
    return NORMAL


def subcluster_kind(geometry: Geometry, entry: int, bitmap: int, subcluster: int) -> int:
    """The kind of one subcluster; without extended L2 entries, that of the cluster. QEMU: qcow2_get_subcluster_type."""
    kind = cluster_kind(geometry, entry)
    if not geometry.extended_l2 or kind == COMPRESSED:
        return kind
    if kind == NORMAL:
        if bitmap >> 32 & bitmap:
            return INVALID
        if bitmap >> (32 + subcluster) & 1:
            return ZERO_ALLOC
        return NORMAL if bitmap >> subcluster & 1 else UNALLOCATED_ALLOC
    if bitmap & ALL_ALLOCATED:
        return INVALID
    return ZERO_PLAIN if bitmap >> (32 + subcluster) & 1 else UNALLOCATED_PLAIN


def allocated_bits(first: int, end: int) -> int:
    """The bits "allocated" of the subclusters [first, end)."""
    return (1 << end) - (1 << first)


def zero_bits(first: int, end: int) -> int:
    """The bits "reads as zeroes" of the subclusters [first, end)."""
    return allocated_bits(first, end) << 32


def has_host_cluster(kind: int) -> bool:
    """Does a cluster of this kind keep a host cluster, or a part of one, referenced?"""
    return kind in (UNALLOCATED_ALLOC, ZERO_ALLOC, NORMAL, COMPRESSED)
