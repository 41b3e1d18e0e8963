# SPDX-License-Identifier: GPL-2.0-or-later
"""What L2 entries say: all kinds of clusters and subclusters."""

from __future__ import annotations

import pytest

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
    allocated_bits,
    cluster_kind,
    subcluster_kind,
    zero_bits,
)
from asyncemu.block.qcow2.features import DATA_FILE, EXTENDED_L2
from asyncemu.block.qcow2.geometry import Geometry
from asyncemu.block.qcow2.header import Header

PLAIN = Geometry(Header())
EXTENDED = Geometry(Header(incompatible_features=EXTENDED_L2))
DATA = Geometry(Header(incompatible_features=DATA_FILE))
HOST = 0x50000


@pytest.mark.parametrize(
    ("geometry", "entry", "kind"),
    [
        (PLAIN, 0, UNALLOCATED_PLAIN),
        (PLAIN, HOST | COPIED, NORMAL),
        (PLAIN, HOST, NORMAL),
        (PLAIN, ZERO_FLAG, ZERO_PLAIN),
        (PLAIN, HOST | ZERO_FLAG | COPIED, ZERO_ALLOC),
        (PLAIN, COMPRESSED_FLAG | 12345, COMPRESSED),
        (PLAIN, COPIED, UNALLOCATED_PLAIN),
        (DATA, COPIED, NORMAL),
        (EXTENDED, HOST | ZERO_FLAG, NORMAL),
    ],
)
def test_cluster_kind_of_each_entry(geometry: Geometry, entry: int, kind: int) -> None:
    assert cluster_kind(geometry, entry) == kind


@pytest.mark.parametrize(
    ("entry", "bitmap", "subcluster", "kind"),
    [
        (HOST, allocated_bits(0, 3), 2, NORMAL),
        (HOST, allocated_bits(0, 3), 3, UNALLOCATED_ALLOC),
        (HOST, zero_bits(4, 5), 4, ZERO_ALLOC),
        (HOST, zero_bits(4, 5) | allocated_bits(4, 5), 0, INVALID),
        (0, 0, 31, UNALLOCATED_PLAIN),
        (0, zero_bits(31, 32), 31, ZERO_PLAIN),
        (0, allocated_bits(0, 1), 5, INVALID),
        (COMPRESSED_FLAG, ALL_ALLOCATED, 0, COMPRESSED),
    ],
)
def test_subcluster_kind_of_each_bitmap(entry: int, bitmap: int, subcluster: int, kind: int) -> None:
    assert subcluster_kind(EXTENDED, entry, bitmap, subcluster) == kind
