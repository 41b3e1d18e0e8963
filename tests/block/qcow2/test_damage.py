# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged images: the damage is named in QEMU's words, the image is marked, and nothing is lost."""

from __future__ import annotations

import errno
import logging
import struct
from pathlib import Path

import pytest

from asyncemu.block import BlockGraph
from asyncemu.errors import BlockError
from tests.block.control.devices import Notes
from tests.block.qcow2.conftest import (
    create,
    header_field,
    image_of,
    l2_table_offset,
    open_image,
    opened,
    patch,
    pattern,
    qemu_io,
    write,
)

SIZE = 1 << 20
CLUSTER = 65536
COPIED = 1 << 63
COMPRESSED = 1 << 62
CORRUPT = 2


@pytest.fixture
async def path(graph: BlockGraph, tmp_path: Path) -> Path:
    """An image whose first cluster has data: L1 table at 3, L2 table at 4, data at 5."""
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(CLUSTER))
    return path


def set_l2_entry(path: Path, entry: int) -> None:
    patch(path, l2_table_offset(path), struct.pack(">Q", entry))


def set_l1_entry(path: Path, entry: int) -> None:
    patch(path, header_field(path, 40, ">Q"), struct.pack(">Q", entry))


READ_DAMAGE = [
    (
        lambda path: set_l2_entry(path, COPIED | 0x50200),
        "Cluster allocation offset 0x50200 unaligned (L2 offset: 0x40000, L2 index: 0)",
    ),
    (lambda path: set_l1_entry(path, COPIED | 0x40200), "L2 table offset 0x40200 unaligned (L1 index: 0)"),
]


@pytest.mark.parametrize(("damage", "problem"), READ_DAMAGE, ids=["l2", "l1"])
async def test_read_of_damage_is_an_error_and_marks_the_image(
    damage: object, problem: str, path: Path, graph: BlockGraph, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(damage)
    damage(path)
    async with opened(graph, path) as node:
        with pytest.raises(BlockError) as found:
            await node.pread(0, 512)
        with pytest.raises(BlockError) as later:
            await node.pread(SIZE - 512, 512)
        with pytest.raises(BlockError) as written:
            await write(node, SIZE - 512, b"x")

    assert found.value.errno == errno.EIO
    assert problem in str(found.value)
    assert later.value.errno == written.value.errno == errno.ENOMEDIUM
    marked = f"qcow2: Marking image as corrupt: {problem}; further corruption events will be suppressed"
    assert caplog.messages == [marked]
    assert header_field(path, 72, ">Q") == CORRUPT


@pytest.mark.parametrize(("damage", "problem"), READ_DAMAGE, ids=["l2", "l1"])
async def test_read_of_damage_in_an_image_that_is_only_read_marks_nothing(
    damage: object, problem: str, path: Path, graph: BlockGraph, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(damage)
    damage(path)
    before = path.read_bytes()
    async with opened(graph, path, read_only=True) as node:
        with pytest.raises(BlockError):
            await node.pread(0, 512)
        assert await node.pread(4 << 16, 512) == bytes(512) if "Cluster" in problem else True

    assert path.read_bytes() == before
    said = f"qcow2: Image is corrupt: {problem}; further non-fatal corruption events will be suppressed"
    assert caplog.messages == [said]


@pytest.mark.parametrize(("damage", "problem"), READ_DAMAGE, ids=["l2", "l1"])
def test_read_of_damage_is_what_qemu_says(damage: object, problem: str, path: Path) -> None:
    assert callable(damage)
    damage(path)

    with pytest.raises(AssertionError) as theirs:
        qemu_io(path, "read 0 512")

    assert f"qcow2: Marking image as corrupt: {problem}; further" in str(theirs.value)


async def test_read_of_a_zero_cluster_in_version_2_is_damage(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, compat="0.10")
    async with opened(graph, path) as node:
        await write(node, 0, pattern(CLUSTER))
    set_l2_entry(path, 1)

    async with opened(graph, path) as node:
        with pytest.raises(BlockError, match=r"Zero cluster entry found in pre-v3 image .L2 offset: 0x40000"):
            await node.pread(0, 512)


async def test_read_of_a_compressed_cluster_with_a_data_file_is_damage(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, data_file=str(tmp_path / "data"))
    async with opened(graph, path) as node:
        await write(node, 0, pattern(CLUSTER))
    set_l2_entry(path, COMPRESSED | 0x50000)

    async with opened(graph, path) as node:
        with pytest.raises(BlockError, match="Compressed cluster entry found in image with external data file"):
            await node.pread(0, 512)


async def test_read_of_a_bitmap_that_contradicts_itself_is_damage(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, extended_l2=True)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(CLUSTER))
    patch(path, l2_table_offset(path) + 8, b"\xff" * 8)

    async with opened(graph, path) as node:
        with pytest.raises(BlockError, match=r"Invalid cluster entry found .L2 offset: 0x40000, L2 index: 0"):
            await node.pread(0, 512)


# ---- writes that would hit metadata


def set_refcount(path: Path, cluster: int, value: int) -> None:
    block = header_field(path, header_field(path, 48, ">Q"), ">Q")
    patch(path, block + 2 * cluster, struct.pack(">H", value))


@pytest.mark.parametrize(
    ("cluster", "word"),
    [(1, "refcount table"), (2, "refcount block"), (3, "active L1 table"), (4, "active L2 table")],
)
async def test_write_over_metadata_that_is_not_counted_is_prevented(
    cluster: int, word: str, path: Path, graph: BlockGraph, caplog: pytest.LogCaptureFixture
) -> None:
    set_refcount(path, cluster, 0)
    tables = path.read_bytes()[: 5 * CLUSTER]
    notes = Notes()
    graph.observer = notes
    async with opened(graph, path) as node:
        with pytest.raises(BlockError, match=f"Preventing invalid write on metadata .overlaps with {word}"):
            await write(node, 2 * CLUSTER, pattern(CLUSTER))

    problem = f"Preventing invalid write on metadata (overlaps with {word})"
    told = {"node": node.name, "problem": problem, "offset": cluster * CLUSTER, "size": CLUSTER, "fatal": True}
    assert notes.calls == [("image_corrupted", told)]
    assert caplog.messages[0].startswith("qcow2: Marking image as corrupt: Preventing invalid write on metadata")
    after = bytearray(path.read_bytes()[: 5 * CLUSTER])
    after[72:80] = tables[72:80]
    after[2 * CLUSTER : 3 * CLUSTER] = tables[2 * CLUSTER : 3 * CLUSTER]
    assert after == tables


async def test_write_into_a_cluster_that_maps_to_metadata_is_prevented(path: Path, graph: BlockGraph) -> None:
    set_l2_entry(path, COPIED | 0x10000)
    async with opened(graph, path) as node:
        with pytest.raises(BlockError, match="overlaps with refcount table"):
            await write(node, 0, b"x" * 512)


async def test_write_over_the_header_is_prevented(path: Path, graph: BlockGraph) -> None:
    set_refcount(path, 0, 0)
    async with opened(graph, path) as node:
        with pytest.raises(BlockError, match="Preventing invalid allocation of data cluster at offset 0"):
            await write(node, 2 * CLUSTER, pattern(CLUSTER))


async def test_write_over_metadata_without_the_check_goes_through(path: Path, graph: BlockGraph) -> None:
    set_refcount(path, 3, 0)
    async with opened(graph, path, overlap_check="none") as node:
        await write(node, 2 * CLUSTER, pattern(CLUSTER))

        assert image_of(node).refcounts.next_free == 4


async def test_write_over_a_snapshots_l2_table_is_prevented_with_all_checks(graph: BlockGraph, tmp_path: Path) -> None:
    from tests.block.qcow2.conftest import qemu_img

    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(CLUSTER))
    qemu_img("snapshot", "-c", "one", path)
    async with opened(graph, path) as node:
        # The active table is a copy now; the first one is the snapshot's.
        await write(node, CLUSTER, b"x")
    set_refcount(path, 4, 0)

    async with opened(graph, path, overlap_check="all") as node:
        with pytest.raises(BlockError, match="overlaps with inactive L2 table"):
            await write(node, 3 * CLUSTER, pattern(CLUSTER))


@pytest.mark.parametrize("field", [64, "l1"])
async def test_write_over_snapshot_tables_is_prevented(field: object, graph: BlockGraph, tmp_path: Path) -> None:
    from tests.block.qcow2.conftest import qemu_img

    path = await create(graph, tmp_path / "image", SIZE)
    qemu_img("snapshot", "-c", "one", path)
    table = header_field(path, 64, ">Q")
    offset = table if field == 64 else header_field(path, table, ">Q")
    set_refcount(path, offset // CLUSTER, 0)

    word = "snapshot table" if field == 64 else "inactive L1 table"
    async with opened(graph, path) as node:
        image_of(node).refcounts.next_free = offset // CLUSTER
        with pytest.raises(BlockError, match=f"overlaps with {word}"):
            await write(node, 0, pattern(CLUSTER))


async def test_write_with_a_refcount_block_out_of_place_is_damage(path: Path, graph: BlockGraph) -> None:
    patch(path, header_field(path, 48, ">Q"), struct.pack(">Q", 0x20200))
    async with opened(graph, path) as node:
        with pytest.raises(BlockError, match=r"Refblock offset 0x20200 unaligned .reftable index: 0"):
            await write(node, CLUSTER, b"x")


async def test_free_of_a_cluster_out_of_place_is_reported_and_goes_on(
    path: Path, graph: BlockGraph, caplog: pytest.LogCaptureFixture
) -> None:
    set_l2_entry(path, COPIED | 0x50200)
    async with opened(graph, path) as node:
        await node.discard(0, CLUSTER)
        assert await node.pread(0, 512) == bytes(512)

    assert caplog.messages == [
        "qcow2: Image is corrupt: Cannot free unaligned cluster 0x50200; further non-fatal corruption events will be "
        "suppressed"
    ]


async def test_free_of_a_cluster_that_is_free_already_is_reported(
    path: Path, graph: BlockGraph, caplog: pytest.LogCaptureFixture
) -> None:
    set_refcount(path, 5, 0)
    with caplog.at_level(logging.WARNING):
        async with opened(graph, path) as node:
            await node.discard(0, CLUSTER)
            await node.flush()

    assert caplog.messages == ["qcow2_free_clusters failed: Invalid argument"]


async def test_damage_in_version_2_stops_io_and_can_not_be_marked(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, compat="0.10")
    async with opened(graph, path) as node:
        await write(node, 0, pattern(CLUSTER))
    set_l2_entry(path, COPIED | 0x50200)
    first = path.read_bytes()[:CLUSTER]
    node = await open_image(graph, path)

    with pytest.raises(BlockError):
        await node.pread(0, 512)
    with pytest.raises(BlockError) as later:
        await node.pread(0, 512)
    await graph.remove(node)

    assert later.value.errno == errno.ENOMEDIUM
    assert path.read_bytes()[:CLUSTER] == first
