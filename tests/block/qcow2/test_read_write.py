# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest data in both directions: what we write QEMU reads, what QEMU writes we read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.flags import FUA
from asyncemu.memory.buffers import Buffers
from tests.block.qcow2.conftest import (
    create,
    image_of,
    open_image,
    opened,
    pattern,
    qemu_create,
    qemu_io,
    qemu_reads,
    qemu_says_clean,
    write,
)

SIZE = 1 << 20

FORMS: list[dict[str, Any]] = [
    {},
    {"compat": "0.10", "cluster_size": 1024},
    {"cluster_size": 512},
    {"cluster_size": 2 << 20},
    *({"cluster_size": 512, "refcount_bits": bits} for bits in (1, 2, 4, 8, 32, 64)),
    {"extended_l2": True, "cluster_size": 16384},
    {"lazy_refcounts": True, "cluster_size": 4096},
    {"preallocation": "metadata"},
    {"preallocation": "falloc", "cluster_size": 4096},
]

#: Offset and length of writes: within a cluster, across some, the same place again, up to the end.
WRITES = [(0, 100), (5000, 70000), (5100, 10), (300_000, 1), (SIZE - 3000, 3000), (65536, 65536), (262144, 131072)]


@pytest.mark.parametrize("options", FORMS, ids=str)
async def test_write_ours_is_what_qemu_reads(options: dict[str, Any], graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, **options)
    model = bytearray(SIZE)

    async with opened(graph, path) as node:
        for seed, (offset, length) in enumerate(WRITES):
            data = pattern(length, seed)
            await write(node, offset, data)
            model[offset : offset + length] = data
        assert await node.pread(0, SIZE) == model

    assert qemu_says_clean(path)
    assert qemu_reads(path) == model


@pytest.mark.parametrize("options", FORMS, ids=str)
async def test_read_what_qemu_wrote_is_ours(options: dict[str, Any], graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, **options)
    model = bytearray(SIZE)
    for value, (offset, length) in enumerate(WRITES, 1):
        model[offset : offset + length] = bytes([value]) * length
    qemu_io(path, *(f"write -P {value} {offset} {length}" for value, (offset, length) in enumerate(WRITES, 1)))

    async with opened(graph, path, read_only=True) as node:
        assert await node.pread(0, SIZE) == model


async def test_write_beside_qemus_data_keeps_it(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    qemu_io(path, "write -P 7 0 192k")

    async with opened(graph, path) as node:
        await write(node, 65536 + 100, b"ours")

    qemu_io(path, "read -P 7 0 65636", "read -P 7 65640 130968")
    assert qemu_says_clean(path)


@pytest.mark.parametrize("options", [{}, {"extended_l2": True}, {"cluster_size": 512}], ids=str)
async def test_write_into_an_overlay_copies_the_rest_of_the_cluster(
    options: dict[str, Any], graph: BlockGraph, tmp_path: Path
) -> None:
    base = tmp_path / "base.raw"
    base.write_bytes(pattern(SIZE // 2))
    path = await create(graph, tmp_path / "image", SIZE, backing_file=str(base), backing_fmt="raw", **options)
    model = bytearray(base.read_bytes() + bytes(SIZE // 2))

    async with opened(graph, path) as node:
        for offset in (1000, 200_000, SIZE // 2 - 10, SIZE - 20):
            await write(node, offset, b"0123456789")
            model[offset : offset + 10] = b"0123456789"
        assert await node.pread(0, SIZE) == model

    assert qemu_reads(path) == model
    assert base.read_bytes() == pattern(SIZE // 2)
    assert qemu_says_clean(path)


async def test_read_of_an_overlay_longer_than_its_base_gives_zeroes_behind_it(
    graph: BlockGraph, tmp_path: Path
) -> None:
    base = tmp_path / "base.raw"
    base.write_bytes(b"b" * 1000)
    path = await create(graph, tmp_path / "image", 4096, backing_file=str(base), backing_fmt="raw")

    async with opened(graph, path) as node:
        assert await node.pread(0, 4096) == b"b" * 1000 + bytes(3096)


async def test_write_scattered_buffers_arrive_in_order(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, cluster_size=512)
    data = pattern(5000)
    views = Buffers.of(*(bytearray(data[start : start + 700]) for start in range(0, 5000, 700)))

    async with opened(graph, path) as node:
        await node.pwritev(300, views)
        assert await node.pread(300, 5000) == data

    assert qemu_reads(path)[300:5300] == data


async def test_write_with_fua_is_flushed_with_its_tables(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    node = await open_image(graph, path)

    await write(node, 0, b"durable", FUA)

    # Nothing is closed yet: a copy of the file has all of it.
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    assert qemu_reads(copy)[:7] == b"durable"


async def test_write_2_mib_is_one_write_of_the_data_file(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", 8 << 20)
    async with opened(graph, path) as node:
        await write(node, 4 << 20, b"first")
        file = image_of(node).file.node
        before = file.write_generation

        await write(node, 0, bytes([1]) * (2 << 20))

        assert file.write_generation - before == 1


async def test_write_again_where_clusters_are_allocated_changes_no_metadata(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(200_000))
        await node.flush()

        await write(node, 1000, pattern(190_000, 1))

        assert not image_of(node).metadata.needed


async def test_open_of_a_1_tib_image_reads_little(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", 1 << 40)

    async with opened(graph, path) as node:
        image = image_of(node)

        assert node.size == 1 << 40
        assert not image.l2_cache.tables
        assert len(image.l1.entries) == 2048


async def test_vmstate_is_stored_behind_the_disk_and_survives(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, cluster_size=512)
    state = pattern(100_000)
    async with opened(graph, path) as node:
        await node.driver.save_vmstate(1000, Buffers.of(bytearray(state)))

    async with opened(graph, path) as node:
        got = bytearray(len(state))
        await node.driver.load_vmstate(1000, Buffers.of(got))
        size = node.size

    assert got == state
    assert size == SIZE
    assert qemu_says_clean(path)
