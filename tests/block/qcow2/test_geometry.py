# SPDX-License-Identifier: GPL-2.0-or-later
"""Clusters, tables and compressed descriptors in numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block.qcow2.features import DATA_FILE, EXTENDED_L2
from asyncemu.block.qcow2.geometry import Geometry
from asyncemu.block.qcow2.header import Header

cluster_bits = st.integers(9, 21)


def test_geometry_of_the_default_image_has_qemus_numbers() -> None:
    geometry = Geometry(Header())

    assert geometry.cluster_size == 65536
    assert geometry.l2_entries == 8192
    assert geometry.refcount_block_entries == 32768
    assert geometry.l1_entries(1 << 40) == 2048
    assert geometry.max_size == 2 << 50


def test_geometry_with_extended_entries_has_half_as_many_and_32_subclusters() -> None:
    geometry = Geometry(Header(incompatible_features=EXTENDED_L2 | DATA_FILE))

    assert geometry.l2_entries == 4096
    assert (geometry.subclusters, geometry.subcluster_size) == (32, 2048)
    assert geometry.has_data_file


@given(cluster_bits, st.integers(0, 6), st.integers(0, 1 << 60))
def test_geometry_rounding_keeps_offsets_in_their_cluster(bits: int, order: int, offset: int) -> None:
    geometry = Geometry(Header(cluster_bits=bits, refcount_order=order))

    assert geometry.round_down(offset) <= offset <= geometry.round_up(offset)
    assert geometry.round_up(offset) - geometry.round_down(offset) in (0, geometry.cluster_size)
    assert geometry.clusters(offset) * geometry.cluster_size == geometry.round_up(offset)
    assert geometry.refcount_block_entries * geometry.refcount_bits == geometry.cluster_size * 8


@given(cluster_bits, st.data())
def test_compressed_entry_names_all_sectors_of_the_data(bits: int, data: st.DataObject) -> None:
    geometry = Geometry(Header(cluster_bits=bits))
    length = data.draw(st.integers(1, geometry.cluster_size - 1))
    offset = data.draw(st.integers(0, min(geometry.compressed_offset_mask, 1 << 56) - length))

    start, covered = geometry.compressed_range(geometry.compressed_entry(offset, length))

    assert start == offset
    assert length <= covered < length + 512
    assert (start + covered) % 512 == 0
