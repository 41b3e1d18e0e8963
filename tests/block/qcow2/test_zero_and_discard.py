# SPDX-License-Identifier: GPL-2.0-or-later
"""Zero clusters and discarded ones: what they read as, what they free, and what QEMU makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.flags import MAY_UNMAP
from tests.block.qcow2.conftest import (
    create,
    header_field,
    image_of,
    l2_entry,
    opened,
    patch,
    pattern,
    qemu_create,
    qemu_io,
    qemu_reads,
    qemu_says_clean,
    write,
)

SIZE = 1 << 20
CLUSTER = 65536
ZERO = 1


async def test_write_zeroes_keeps_the_cluster_for_later(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(CLUSTER))
        await node.write_zeroes(0, CLUSTER)
        assert await node.pread(0, CLUSTER) == bytes(CLUSTER)

    assert l2_entry(path, 0) & ZERO
    assert l2_entry(path, 0) & 0xFFFFFF0000 != 0
    assert qemu_says_clean(path)


async def test_write_zeroes_that_may_unmap_frees_the_cluster(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(CLUSTER))
        await node.write_zeroes(0, CLUSTER, MAY_UNMAP)

    assert l2_entry(path, 0) == ZERO
    assert qemu_says_clean(path)
    assert qemu_reads(path) == bytes(SIZE)


async def test_write_zeroes_of_part_of_an_unallocated_cluster_makes_it_a_zero_cluster(
    graph: BlockGraph, tmp_path: Path
) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await node.write_zeroes(1000, 2000)

    assert l2_entry(path, 0) == ZERO


async def test_write_zeroes_of_part_of_a_cluster_with_data_writes_data(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, b"a" * CLUSTER)
        await node.write_zeroes(1000, 2000)

    assert qemu_reads(path)[:CLUSTER] == b"a" * 1000 + bytes(2000) + b"a" * (CLUSTER - 3000)


@pytest.mark.parametrize("covered", [False, True])
async def test_write_zeroes_of_part_of_a_cluster_over_a_base_looks_at_the_rest(
    covered: bool, graph: BlockGraph, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.write_bytes(b"")
    patch(base, CLUSTER, b"c" * CLUSTER)  # a hole before it
    if covered:
        patch(base, CLUSTER - 4096, b"b" * 4096)
    path = await create(graph, tmp_path / "image", SIZE, backing_file=str(base), backing_fmt="raw")
    async with opened(graph, path) as node:
        await node.write_zeroes(1000, 2000)

    assert bool(l2_entry(path, 0) & ZERO) is not covered
    assert qemu_reads(path) == base.read_bytes().ljust(SIZE, b"\0")


async def test_write_zeroes_of_the_last_part_of_a_disk_is_a_zero_cluster(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", CLUSTER + 512)
    async with opened(graph, path) as node:
        await write(node, CLUSTER, b"a" * 512)
        await node.write_zeroes(CLUSTER, 512, MAY_UNMAP)

    assert l2_entry(path, 1) == ZERO
    assert qemu_says_clean(path)


async def test_write_zeroes_of_version_2_writes_data(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, compat="0.10")
    async with opened(graph, path) as node:
        await write(node, 0, pattern(CLUSTER))
        await node.write_zeroes(0, CLUSTER, MAY_UNMAP)

    assert qemu_reads(path) == bytes(SIZE)
    assert l2_entry(path, 0) & 0xFFFFFF0000 != 0


async def test_write_zeroes_of_subclusters_sets_their_bits(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, extended_l2=True)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(CLUSTER))
        await node.write_zeroes(4096, 2048)
        assert await node.pread(0, 8192) == pattern(8192)[:4096] + bytes(2048) + pattern(8192)[6144:]

    bitmap = l2_entry(path, 1)
    assert bitmap >> 32 == 1 << 2
    assert bitmap & 0xFFFFFFFF == 0xFFFFFFFF & ~(1 << 2)
    assert qemu_says_clean(path)


async def test_write_into_a_zero_cluster_that_kept_its_host_uses_it(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(CLUSTER))
        await node.write_zeroes(0, CLUSTER)
        size = image_of(node).file.size

        await write(node, 100, b"new")

        assert image_of(node).file.size == size
        assert await node.pread(0, 200) == bytes(100) + b"new" + bytes(97)
    assert qemu_says_clean(path)


# ---- discard


@pytest.mark.parametrize("options", [{}, {"extended_l2": True}, {"cluster_size": 512}], ids=str)
async def test_discard_reads_as_zero_and_gives_clusters_and_storage_back(
    options: dict[str, Any], graph: BlockGraph, tmp_path: Path
) -> None:
    path = await create(graph, tmp_path / "image", SIZE, **options)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(SIZE))
        await node.flush()
        stored = path.stat().st_blocks * 512
        await node.discard(0, SIZE)
        assert await node.pread(0, SIZE) == bytes(SIZE)

    assert qemu_says_clean(path)
    assert path.stat().st_blocks * 512 < stored - SIZE // 2


async def test_discard_leaves_what_its_own_node_ignores(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path, discard="ignore") as node:
        await write(node, 0, pattern(CLUSTER))
        await node.discard(0, CLUSTER)
        assert await node.pread(0, CLUSTER) == pattern(CLUSTER)


async def test_discard_over_a_base_does_not_show_it(graph: BlockGraph, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.write_bytes(pattern(SIZE))
    path = await create(graph, tmp_path / "image", SIZE, backing_file=str(base), backing_fmt="raw")
    async with opened(graph, path) as node:
        await write(node, 0, b"x" * CLUSTER)
        await node.discard(0, 2 * CLUSTER)

    assert qemu_reads(path) == bytes(2 * CLUSTER) + pattern(SIZE)[2 * CLUSTER :]
    assert qemu_says_clean(path)


async def test_discard_of_version_2_over_a_base_does_nothing(graph: BlockGraph, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.write_bytes(pattern(SIZE))
    path = await create(graph, tmp_path / "image", SIZE, backing_file=str(base), backing_fmt="raw", compat="0.10")
    async with opened(graph, path) as node:
        await write(node, 0, b"x" * CLUSTER)
        await node.discard(0, CLUSTER)
        assert await node.pread(0, CLUSTER) == b"x" * CLUSTER


async def test_discard_of_part_of_a_cluster_does_nothing(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(CLUSTER))
        await node.discard(512, 4096)
        assert await node.pread(0, CLUSTER) == pattern(CLUSTER)


async def test_freed_clusters_are_used_again_behind_a_flush_only(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        image = image_of(node)
        await write(node, 0, pattern(CLUSTER))
        _, first, _ = await image.mapping.run(0, CLUSTER)
        await node.discard(0, CLUSTER)
        await write(node, CLUSTER, pattern(CLUSTER, 1))
        _, second, _ = await image.mapping.run(CLUSTER, CLUSTER)
        await node.flush()
        await write(node, 2 * CLUSTER, pattern(CLUSTER, 2))
        _, third, _ = await image.mapping.run(2 * CLUSTER, CLUSTER)

    assert second != first
    assert third == first
    assert qemu_says_clean(path)


async def test_much_discarded_without_a_flush_is_used_again_in_the_end(graph: BlockGraph, tmp_path: Path) -> None:
    size = 96 << 20
    path = await create(graph, tmp_path / "image", size, cluster_size=2 << 20)
    async with opened(graph, path) as node:
        for round_ in range(3):
            for offset in range(0, size, 2 << 20):
                await write(node, offset, bytes([round_ + 1]) * 512)
            await node.discard(0, size)

    assert header_field(path, 24, ">Q") == size
    assert path.stat().st_size < 300 << 20
    assert qemu_says_clean(path)


async def test_discard_and_zeroes_of_qemu_are_what_we_read(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    qemu_io(path, "write -P 5 0 1M", "write -z 0 64k", "write -zu 128k 64k", options="discard=unmap")
    qemu_io(path, "discard 256k 64k", options="discard=unmap")
    model = bytearray(b"\5" * SIZE)
    for start in (0, 128 << 10, 256 << 10):
        model[start : start + CLUSTER] = bytes(CLUSTER)

    async with opened(graph, path) as node:
        assert await node.pread(0, SIZE) == model
