# SPDX-License-Identifier: GPL-2.0-or-later
"""Entries of the snapshot table: from bytes and back, in pieces, and wrong ones."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block import BlockGraph
from asyncemu.block.qcow2.errors import BadImage
from asyncemu.block.qcow2.snapshot_table import Snapshot, parse_snapshot, read_snapshot_table, snapshot_bytes
from tests.block.qcow2.conftest import image_of, opened, qemu_create, qemu_img

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
snapshots = st.builds(
    Snapshot,
    l1_table_offset=st.integers(0, (1 << 64) - 1),
    l1_size=st.integers(0, (1 << 32) - 1),
    id=names,
    name=names,
    date_seconds=st.integers(0, (1 << 32) - 1),
    date_nanoseconds=st.integers(0, (1 << 32) - 1),
    vm_clock_ns=st.integers(0, (1 << 64) - 1),
    vm_state_size=st.integers(0, (1 << 64) - 1),
    disk_size=st.integers(0, (1 << 64) - 1),
    icount=st.integers(-(1 << 63), (1 << 63) - 1),
    extra_data_size=st.just(24),
    unknown_extra_data=st.just(b""),
)


async def table_of(data: bytes, count: int, offset: int = 0) -> list[Snapshot]:
    async def read(start: int, length: int) -> bytes:
        return data[start - offset : start - offset + length].ljust(length, b"\0")

    return (await read_snapshot_table(read, offset, count)).snapshots


@given(snapshots, st.binary(max_size=40))
def test_snapshot_survives_the_way_to_bytes_and_back(snapshot: Snapshot, unknown: bytes) -> None:
    snapshot = snapshot._replace(unknown_extra_data=unknown, extra_data_size=24 + len(unknown))
    data = snapshot_bytes(snapshot)

    assert parse_snapshot(data, 0, 0, 0) == (snapshot, len(data))
    assert len(data) % 8 == 0


@given(st.binary(max_size=300))
def test_parse_snapshot_any_bytes_give_an_entry_or_bad_image_or_too_little(data: bytes) -> None:
    try:
        found = parse_snapshot(data, 0, 0, 0)
    except BadImage:
        return
    assert found is None or found[1] <= len(data) + 7


async def test_read_snapshot_table_longer_than_a_piece_is_read_whole() -> None:
    each = Snapshot(0x10000, 1, "1", "n" * 60000, 1, 2, 3, 4, 5, 6)

    found = await table_of(snapshot_bytes(each) * 5, 5, 0x50000)

    assert found == [each] * 5


async def test_read_snapshot_table_beyond_64_mib_is_too_big() -> None:
    entry = struct.pack(">QIHHIIQII", 0, 0, 0xFFFF, 0xFFFF, 0, 0, 0, 0, 0)

    with pytest.raises(BadImage, match="Snapshot table is too big"):
        await table_of((entry + bytes(2 * 0xFFFF + 2)) * 520, 520)


async def test_read_snapshot_table_of_qemu_has_what_qemu_stored(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", 1 << 20)
    qemu_img("snapshot", "-c", "first", path)
    qemu_img("snapshot", "-c", "zweite ä", path)

    async with opened(graph, path, read_only=True) as node:
        table = image_of(node).snapshots

    assert [(each.id, each.name, each.disk_size, each.icount) for each in table.snapshots] == [
        ("1", "first", 1 << 20, 0),
        ("2", "zweite ä", 1 << 20, 0),
    ]


def test_parse_snapshot_of_version_2_without_extra_data_takes_the_short_size() -> None:
    data = struct.pack(">QIHHIIQII", 0x10000, 1, 1, 1, 0, 0, 0, 77, 0) + b"1n"

    parsed = parse_snapshot(data.ljust(48, b"\0"), 0, 0, 0)

    assert parsed is not None
    assert (parsed[0].vm_state_size, parsed[0].disk_size, parsed[0].icount) == (77, 0, -1)
