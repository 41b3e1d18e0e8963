# SPDX-License-Identifier: GPL-2.0-or-later
"""Longer and shorter disks: contents, tables, file sizes, and QEMU's messages."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.qcow2.driver import Qcow2Driver
from asyncemu.errors import ConfigError
from asyncemu.memory.buffers import Buffers
from tests.block.qcow2.conftest import (
    create,
    header_field,
    image_of,
    open_image,
    opened,
    patch,
    pattern,
    qemu_create,
    qemu_img,
    qemu_io,
    qemu_reads,
    qemu_says_clean,
    write,
)

MIB = 1 << 20
FORMS: list[dict[str, Any]] = [
    {},
    {"cluster_size": 512},
    {"cluster_size": 512, "refcount_bits": 64},
    {"compat": "0.10", "cluster_size": 1024},
    {"extended_l2": True, "cluster_size": 16384},
]


@pytest.mark.parametrize("options", FORMS, ids=str)
async def test_truncate_longer_reads_as_zero_behind_the_old_end(
    options: dict[str, Any], graph: BlockGraph, tmp_path: Path
) -> None:
    path = await create(graph, tmp_path / "image", MIB, **options)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(MIB))
        await node.truncate(8 * MIB)
        await write(node, 7 * MIB, pattern(1000))

    assert qemu_reads(path) == pattern(MIB) + bytes(6 * MIB) + pattern(1000) + bytes(MIB - 1000)
    assert qemu_says_clean(path)


@pytest.mark.parametrize("options", FORMS, ids=str)
async def test_truncate_shorter_keeps_the_rest(options: dict[str, Any], graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", 2 * MIB, **options)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(2 * MIB))
        await node.truncate(MIB, exact=True)

    assert qemu_reads(path) == pattern(MIB)
    assert qemu_says_clean(path)


async def test_truncate_shorter_gives_the_end_of_the_file_back(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", 8 * MIB)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(8 * MIB))
        await node.truncate(MIB, exact=True)

    assert path.stat().st_size < 2 * MIB


async def test_truncate_shorter_is_as_short_as_qemus(graph: BlockGraph, tmp_path: Path) -> None:
    ours = qemu_create(tmp_path / "ours", 4 * MIB, cluster_size=512)
    qemu_io(ours, "write -P 1 0 4M", options="cache.no-flush=on")
    theirs = tmp_path / "theirs"
    theirs.write_bytes(ours.read_bytes())
    qemu_img("resize", "-q", "--shrink", theirs, MIB)

    async with opened(graph, ours) as node:
        await node.truncate(MIB, exact=True)

    assert ours.stat().st_size == theirs.stat().st_size
    assert qemu_says_clean(ours)


async def test_truncate_longer_makes_the_same_file_as_qemu(graph: BlockGraph, tmp_path: Path) -> None:
    ours = qemu_create(tmp_path / "ours", MIB, cluster_size=512)
    theirs = qemu_create(tmp_path / "theirs", MIB, cluster_size=512)
    qemu_img("resize", "-q", theirs, 1 << 30)

    async with opened(graph, ours) as node:
        await node.truncate(1 << 30)

    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("options", [{}, {"extended_l2": True}], ids=str)
async def test_truncate_shorter_and_longer_does_not_show_what_was_cut_off(
    options: dict[str, Any], graph: BlockGraph, tmp_path: Path
) -> None:
    path = await create(graph, tmp_path / "image", 128 << 10, **options)
    async with opened(graph, path) as node:
        await write(node, 0, b"a" * (128 << 10))
        await node.truncate(96 << 10, exact=True)
        await node.truncate(256 << 10)

    assert qemu_reads(path) == b"a" * (96 << 10) + bytes(160 << 10)


@pytest.mark.parametrize("old", [64 << 10, 65 << 10])
@pytest.mark.parametrize("options", [{}, {"extended_l2": True}], ids=str)
async def test_truncate_longer_hides_a_longer_base(
    options: dict[str, Any], old: int, graph: BlockGraph, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.write_bytes(pattern(MIB))
    path = await create(graph, tmp_path / "image", old, backing_file=str(base), backing_fmt="raw", **options)
    async with opened(graph, path) as node:
        await node.truncate(2 * MIB)

    assert qemu_reads(path) == pattern(old) + bytes(2 * MIB - old)
    assert qemu_says_clean(path)


@pytest.mark.parametrize("mode", ["metadata", "falloc", "full"])
@pytest.mark.parametrize("options", [{}, {"cluster_size": 512}, {"extended_l2": True}], ids=str)
async def test_truncate_with_preallocation_makes_the_same_file_as_qemu(
    mode: Any, options: dict[str, Any], graph: BlockGraph, tmp_path: Path
) -> None:
    ours = qemu_create(tmp_path / "ours", MIB, **options)
    qemu_io(ours, "write -P 3 0 100k")
    theirs = tmp_path / "theirs"
    theirs.write_bytes(ours.read_bytes())
    qemu_img("resize", "-q", f"--preallocation={mode}", theirs, 3 * MIB)

    async with opened(graph, ours) as node:
        await node.truncate(3 * MIB, preallocation=mode)

    assert ours.read_bytes() == theirs.read_bytes()


async def test_truncate_with_snapshots_of_version_2_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", MIB, compat="0.10")
    qemu_img("snapshot", "-c", "one", path)
    node = await open_image(graph, path)

    with pytest.raises(ConfigError, match="Can't resize a v2 image which has snapshots"):
        await node.truncate(2 * MIB)


async def test_truncate_of_an_image_with_bitmaps_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", MIB)
    qemu_img("bitmap", "--add", path, "b")
    node = await open_image(graph, path)

    with pytest.raises(ConfigError, match="Cannot resize qcow2 with persistent bitmaps"):
        await node.truncate(2 * MIB)


@pytest.mark.parametrize(
    ("size", "arguments", "problem"),
    [
        (MIB + 1, {}, "The new size must be a multiple of 512"),
        (512, {"preallocation": "full"}, "Preallocation can't be used for shrinking an image"),
        (1 << 50, {}, "Failed to grow the L1 table: File too large"),
    ],
)
async def test_truncate_to_an_impossible_size_is_refused_in_qemus_words(
    size: int, arguments: dict[str, Any], problem: str, graph: BlockGraph, tmp_path: Path
) -> None:
    path = await create(graph, tmp_path / "image", MIB, cluster_size=512)
    async with opened(graph, path) as node:
        with pytest.raises(ConfigError) as refused:
            await node.truncate(size, **arguments)
        assert node.size == MIB

    assert refused.value.problem == problem
    assert qemu_says_clean(path)


async def test_truncate_of_version_2_over_a_longer_base_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.write_bytes(pattern(MIB))
    path = await create(graph, tmp_path / "image", 65536, backing_file=str(base), backing_fmt="raw", compat="0.10")
    async with opened(graph, path) as node:
        with pytest.raises(ConfigError, match="Failed to zero out new clusters: Operation not supported"):
            await node.truncate(MIB)

    assert header_field(path, 24, ">Q") == 65536


async def test_truncate_lets_the_l2_cache_grow_with_the_disk(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", MIB)
    async with opened(graph, path) as node:
        before = image_of(node).l2_cache.capacity
        await node.truncate(64 << 30)

        assert image_of(node).l2_cache.capacity > before


async def test_truncate_with_metadata_over_a_freed_cluster_reads_as_zero(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", MIB)
    # Their contents stay in the file.
    options = "discard=unmap,pass-discard-request=off"
    qemu_io(path, "write -P 7 0 1M", "discard 0 1M", options=options)

    async with opened(graph, path) as node:
        await node.truncate(2 * MIB, preallocation="metadata")

    assert qemu_reads(path) == bytes(2 * MIB)
    assert qemu_says_clean(path)


@pytest.mark.parametrize("options", [{}, {"extended_l2": True}], ids=str)
async def test_truncate_with_metadata_from_within_a_zero_cluster_reads_as_zero(
    options: dict[str, Any], graph: BlockGraph, tmp_path: Path
) -> None:
    path = qemu_create(tmp_path / "image", 1536, **options)
    # The zero cluster keeps its host cluster, and what is in it.
    qemu_io(path, "write -P 7 0 1536", "write -z 0 1536")

    async with opened(graph, path) as node:
        await node.truncate(MIB, preallocation="metadata")

    assert qemu_reads(path) == bytes(MIB)
    assert qemu_says_clean(path)


@pytest.mark.parametrize("mode", ["metadata", "falloc"])
async def test_truncate_with_preallocation_from_within_a_cluster_of_the_base_keeps_it(
    mode: Any, graph: BlockGraph, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.write_bytes(pattern(1536))
    path = qemu_create(tmp_path / "image", 1536, backing_file=base, backing_fmt="raw")

    async with opened(graph, path) as node:
        await node.truncate(MIB, preallocation=mode)

    assert qemu_reads(path) == pattern(1536).ljust(MIB, b"\0")
    assert qemu_says_clean(path)


@pytest.mark.parametrize("size", [16 * MIB, 128 << 10], ids=["longer", "shorter"])
async def test_truncate_drops_vm_state_that_would_be_elsewhere(size: int, graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", MIB, cluster_size=4096)
    async with opened(graph, path) as node:
        assert isinstance(node.driver, Qcow2Driver)
        await node.driver.save_vmstate(0, Buffers.of(bytearray(b"v" * 65536)))
        await node.truncate(size, exact=True)

    assert qemu_reads(path) == bytes(size)
    assert qemu_says_clean(path)


async def test_truncate_shorter_with_one_empty_refcount_block_everywhere_ends(
    graph: BlockGraph, tmp_path: Path
) -> None:
    path = qemu_create(tmp_path / "image", 8 * MIB, cluster_size=2 * MIB)
    table = header_field(path, 48, ">Q")
    empty = path.stat().st_size + 2 * MIB - 1 >> 21 << 21
    patch(path, table + 8, struct.pack(">Q", empty) * ((2 * MIB) // 8 - 1))
    patch(path, empty, bytes(2 * MIB))

    async with opened(graph, path) as node:
        await node.truncate(MIB, exact=True)
        assert set(image_of(node).refcounts.table[1:]) == {0}
