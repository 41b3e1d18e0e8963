# SPDX-License-Identifier: GPL-2.0-or-later
"""Geometry: the arithmetic of clusters, L2 tables, refcount blocks and subclusters of one image.

Plain attributes, made once: they are read on the path of every request. qcow2.txt, "Host cluster management", "Cluster
mapping" and "Extended L2 Entries".
"""

from __future__ import annotations

from typing import Final

from asyncemu.block.qcow2.constants import ENTRY_SIZE, MAX_L1_SIZE, SUBCLUSTERS
from asyncemu.block.qcow2.header import Header

#: Bits 9 to 55 of L1 and L2 entries.
OFFSET_MASK: Final = 0x00FF_FFFF_FFFF_FE00

#: Bits 9 to 63 of refcount table entries.
REFCOUNT_OFFSET_MASK: Final = 0xFFFF_FFFF_FFFF_FE00

#: Guest data can't be beyond this many bytes of the file.
MAX_DATA_OFFSET: Final = 1 << 56


class Geometry:
    """Does not change. All sizes in bytes, ``_bits`` are exponents of two."""

    __slots__ = (
        "cluster_bits",
        "cluster_mask",
        "cluster_size",
        "compressed_offset_mask",
        "compressed_sectors_mask",
        "compressed_shift",
        "entry_words",
        "extended_l2",
        "has_data_file",
        "l1_shift",
        "l2_bits",
        "l2_entries",
        "l2_mask",
        "misaligned",
        "refcount_bits",
        "refcount_block_bits",
        "refcount_block_entries",
        "refcount_max",
        "refcount_order",
        "subcluster_bits",
        "subcluster_size",
        "subclusters",
        "version",
    )

    def __init__(self, header: Header) -> None:
        bits = header.cluster_bits
        self.version = header.version
        self.cluster_bits = bits
        self.cluster_size = 1 << bits
        self.cluster_mask = self.cluster_size - 1
        self.extended_l2 = header.extended_l2
        self.has_data_file = header.has_data_file

        #: Words of 64 bits in an L2 entry.
        self.entry_words = 2 if header.extended_l2 else 1
        self.l2_bits = bits - (4 if header.extended_l2 else 3)
        #: Entries of an L2 table.
        self.l2_entries = 1 << self.l2_bits
        self.l2_mask = self.l2_entries - 1
        #: Guest offset to L1 index.
        self.l1_shift = bits + self.l2_bits
        #: The bits of an entry that make its offset one that is not a cluster's.
        self.misaligned = OFFSET_MASK & self.cluster_mask

        self.subclusters = SUBCLUSTERS if header.extended_l2 else 1
        self.subcluster_size = self.cluster_size // self.subclusters
        self.subcluster_bits = self.subcluster_size.bit_length() - 1

        #: Where the number of sectors begins in a compressed cluster's entry, and the masks of offset and number.
        self.compressed_shift = 62 - (bits - 8)
        self.compressed_sectors_mask = (1 << (bits - 8)) - 1
        self.compressed_offset_mask = (1 << self.compressed_shift) - 1

        self.refcount_order = header.refcount_order
        self.refcount_bits = 1 << header.refcount_order
        self.refcount_max = (1 << self.refcount_bits) - 1
        self.refcount_block_bits = bits + 3 - header.refcount_order
        #: Refcounts in a block.
        self.refcount_block_entries = 1 << self.refcount_block_bits

    # ---- rounding

    def clusters(self, length: int) -> int:
        """How many clusters hold ``length`` bytes."""
        return -(-length >> self.cluster_bits)

    def round_down(self, offset: int) -> int:
        """The start of the cluster that ``offset`` is in."""
        return offset & ~self.cluster_mask

    def round_up(self, offset: int) -> int:
        """The first start of a cluster that is not before ``offset``."""
        return (offset + self.cluster_mask) & ~self.cluster_mask

    # ---- guest

    def l1_entries(self, size: int) -> int:
        """L1 entries that map ``size`` bytes."""
        return -(-size >> self.l1_shift)

    @property
    def max_size(self) -> int:
        """The largest virtual size, in bytes."""
        return MAX_L1_SIZE // ENTRY_SIZE << self.l1_shift

    # ---- compressed clusters

    def compressed_range(self, entry: int) -> tuple[int, int]:
        """Offset in the file, and bytes up to the end of the last sector, of what a compressed cluster's entry names.

        "Compressed Clusters Descriptor".
        """
        offset = entry & self.compressed_offset_mask
        sectors = (entry >> self.compressed_shift & self.compressed_sectors_mask) + 1
        return offset, sectors * 512 - offset % 512

    def compressed_entry(self, offset: int, length: int) -> int:
        """The bits of an L2 entry, less COMPRESSED, for ``length`` bytes at ``offset`` of the file."""
        sectors = (offset + length - 1) // 512 - offset // 512
        return sectors << self.compressed_shift | offset
