# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies by the storage, between images and raw files."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockBackend, BlockGraph, BlockNode
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE, WRITE_COMPRESSED
from asyncemu.errors import BlockError
from tests.block.qcow2.conftest import create, image_of, open_image, pattern, qemu_reads, qemu_says_clean, write

SIZE = 1 << 20


async def backend_of(node: BlockNode) -> BlockBackend:
    backend = BlockBackend("copy", node.context, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL)
    await backend.insert(node)
    return backend


async def raw_file(graph: BlockGraph, path: Path, data: bytes) -> BlockNode:
    path.write_bytes(data)
    return await graph.add_table({"driver": "file", "filename": str(path)}, "file")


async def copied(source: BlockNode, offset: int, target: BlockNode, target_offset: int, length: int) -> None:
    """Copy, or skip the test where the file system can't."""
    one, other = await backend_of(source), await backend_of(target)
    try:
        await one.copy_range(offset, other, target_offset, length)
    except BlockError as error:
        if error.errno == errno.ENOTSUP:
            pytest.skip("the file system has no copy_file_range")
        raise
    finally:
        await one.remove()
        await other.remove()


@pytest.mark.parametrize("options", [{}, {"cluster_size": 512}, {"extended_l2": True}], ids=str)
async def test_copy_range_into_an_image_allocates_and_keeps_what_is_around(
    options: dict[str, Any], graph: BlockGraph, tmp_path: Path
) -> None:
    source = await raw_file(graph, tmp_path / "raw", pattern(SIZE))
    base = tmp_path / "base"
    base.write_bytes(b"b" * SIZE)
    path = await create(graph, tmp_path / "image", SIZE, backing_file=str(base), backing_fmt="raw", **options)
    node = await open_image(graph, path)

    await copied(source, 1000, node, 70_000, 200_000)
    await graph.remove(node)

    model = b"b" * 70_000 + pattern(SIZE)[1000:201_000] + b"b" * (SIZE - 270_000)
    assert qemu_reads(path) == model
    assert qemu_says_clean(path)


async def test_copy_range_out_of_an_image_takes_data_zeroes_and_the_base(graph: BlockGraph, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.write_bytes(b"b" * (SIZE // 2))
    path = await create(graph, tmp_path / "image", SIZE, backing_file=str(base), backing_fmt="raw")
    node = await open_image(graph, path)
    await write(node, 65_536, pattern(65_536))
    await node.write_zeroes(131_072, 65_536)
    raw = tmp_path / "raw"
    target = await raw_file(graph, raw, b"t" * SIZE)

    await copied(node, 0, target, 0, SIZE)

    assert raw.read_bytes() == await node.pread(0, SIZE)


async def test_copy_range_of_compressed_clusters_is_not_supported(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    node = await open_image(graph, path)
    await write(node, 0, b"c" * 65_536, WRITE_COMPRESSED)
    target = await raw_file(graph, tmp_path / "raw", bytes(SIZE))
    one, other = await backend_of(node), await backend_of(target)

    with pytest.raises(BlockError) as refused:
        await one.copy_range(0, other, 0, 4096)
    await one.remove()
    await other.remove()

    assert refused.value.errno == errno.ENOTSUP


async def test_copy_range_that_fails_gives_its_clusters_back(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    node = await open_image(graph, path)
    source = await raw_file(graph, tmp_path / "raw", pattern(SIZE))

    async def fails(*arguments: object) -> None:
        raise OSError(errno.EIO, "injected")

    image_of(node).file.node.driver.copy_range_to = fails  # type: ignore[method-assign,assignment]
    one, other = await backend_of(source), await backend_of(node)
    with pytest.raises(BlockError):
        await one.copy_range(0, other, 0, 100_000)
    await one.remove()
    await other.remove()
    await graph.remove(node)

    assert qemu_reads(path) == bytes(SIZE)
    assert qemu_says_clean(path)
