# SPDX-License-Identifier: GPL-2.0-or-later
"""Block status as QEMU's map, and images that are made empty."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.flags import STATUS_DATA, STATUS_OFFSET_VALID, STATUS_ZERO, WRITE_COMPRESSED
from asyncemu.errors import BlockError
from tests.block.qcow2.conftest import (
    create,
    image_of,
    opened,
    pattern,
    qemu_create,
    qemu_img,
    qemu_reads,
    qemu_says_clean,
    write,
)

SIZE = 1 << 20
CLUSTER = 65536


#: Start, length, depth, zero, data and host offset.
Range: TypeAlias = tuple[int, int, int, bool, bool, int | None]


async def mapped(node: BlockNode) -> list[Range]:
    """All ranges, as qemu-img map has them."""
    found: list[Range] = []
    position = 0
    while position < node.size:
        length, *entry = await one_range(node, position)
        found.append((position, length, *entry))  # type: ignore[arg-type]
        position += length
    return joined(found)


async def one_range(node: BlockNode, position: int) -> tuple[int, int, bool, bool, int | None]:
    """Length, depth, zero, data and host offset of what is at ``position``."""
    depth, length = 0, node.size - position
    layer: BlockNode | None = node
    while layer is not None:
        status = await layer.block_status(position, length)
        length = status.length
        if status.flags & (STATUS_ZERO | STATUS_DATA):
            host = status.map if status.flags & STATUS_OFFSET_VALID else None
            return length, depth, bool(status.flags & STATUS_ZERO), bool(status.flags & STATUS_DATA), host
        layer = layer.backing.node if layer.backing is not None else None
        depth += 1
    return length, depth, False, False, None


def joined(ranges: list[Range]) -> list[Range]:
    found: list[Range] = []
    for each in ranges:
        if found and found[-1][2:5] == each[2:5]:
            last = found[-1]
            if each[5] == (None if last[5] is None else last[5] + last[1]):
                found[-1] = (last[0], last[1] + each[1], *last[2:])
                continue
        found.append(each)
    return found


def qemu_map(path: Path) -> list[Range]:
    keys = ("start", "length", "depth", "zero", "data", "offset")
    entries = json.loads(qemu_img("map", "--output=json", path))
    return [tuple(each.get(key) for key in keys) for each in entries]


FORMS: list[dict[str, Any]] = [
    {},
    {"cluster_size": 512},
    {"extended_l2": True},
    {"compat": "0.10"},
    {"preallocation": "metadata"},
]


@pytest.mark.parametrize("options", FORMS, ids=str)
async def test_block_status_is_what_qemu_maps(options: dict[str, Any], graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, **options)
    async with opened(graph, path) as node:
        await write(node, 1000, pattern(3000))
        await write(node, 200_000, pattern(300_000))
        await node.write_zeroes(262_144, 65_536)
        if "preallocation" not in options:
            await write(node, 12 * CLUSTER, b"c" * CLUSTER, WRITE_COMPRESSED)
    theirs = qemu_map(path)

    async with opened(graph, path, read_only=True) as node:
        assert await mapped(node) == theirs


async def test_block_status_over_a_base_is_what_qemu_maps(graph: BlockGraph, tmp_path: Path) -> None:
    base = qemu_create(tmp_path / "base", SIZE // 2)
    async with opened(graph, base) as node:
        await write(node, 100_000, pattern(100_000))
    path = qemu_create(tmp_path / "image", SIZE, backing_file=str(base), backing_fmt="qcow2")
    async with opened(graph, path) as node:
        await write(node, 150_000, b"x")
        await node.write_zeroes(0, CLUSTER)
    theirs = qemu_map(path)

    async with opened(graph, path, read_only=True) as node:
        assert await mapped(node) == theirs


async def test_block_status_of_a_tebibyte_without_data_takes_few_steps(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", 1 << 40)
    async with opened(graph, path) as node:
        status = await node.block_status(0, 1 << 40)

        assert status.length >= 512 << 20
        assert status.flags & STATUS_ZERO


# ---- make_empty


@pytest.mark.parametrize(
    "options", [{}, {"cluster_size": 512}, {"refcount_bits": 1}, {"compat": "0.10"}, {"extended_l2": True}], ids=str
)
async def test_make_empty_reads_from_the_base_again(options: dict[str, Any], graph: BlockGraph, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.write_bytes(pattern(SIZE))
    path = await create(graph, tmp_path / "image", SIZE, backing_file=str(base), backing_fmt="raw", **options)
    async with opened(graph, path) as node:
        await write(node, 0, bytes(SIZE // 2))
        await node.driver.make_empty()
        assert await node.pread(0, SIZE) == pattern(SIZE)
        await write(node, 4096, b"again")

    assert qemu_says_clean(path)
    assert qemu_reads(path)[4096:4101] == b"again"
    assert path.stat().st_size < 8 * CLUSTER + SIZE // 2


async def test_make_empty_is_as_short_as_a_new_image(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(SIZE))
        await node.driver.make_empty()

    assert path.stat().st_size == 4 * CLUSTER
    assert qemu_says_clean(path)


async def test_make_empty_with_snapshots_keeps_them(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(SIZE))
    qemu_img("snapshot", "-c", "full", path)
    async with opened(graph, path) as node:
        await node.driver.make_empty()
        assert await node.pread(0, SIZE) == bytes(SIZE)

    assert qemu_says_clean(path)
    qemu_img("snapshot", "-a", "full", path)
    assert qemu_reads(path) == pattern(SIZE)


async def test_make_empty_of_an_image_with_a_data_file_unmaps_it(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, data_file=str(tmp_path / "data"))
    async with opened(graph, path) as node:
        await write(node, 0, pattern(SIZE))
        await node.driver.make_empty()

        assert await node.pread(0, SIZE) == bytes(SIZE)
        assert image_of(node).header.dirty is False


async def test_make_empty_that_fails_half_way_leaves_the_image_to_a_repair(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    disk = {
        "driver": "blkdebug",
        "image": {"driver": "file", "filename": str(path)},
        "inject-error": [{"event": "empty_image_prepare", "once": True, "errno": errno.EIO}],
    }
    async with opened(graph, path, file=disk) as node:
        await write(node, 0, pattern(SIZE))
        with pytest.raises((OSError, BlockError)):
            await node.driver.make_empty()
        with pytest.raises((OSError, BlockError)):
            await write(node, 0, b"x")
    assert path.read_bytes()[79] & 1

    async with opened(graph, path) as node:
        await write(node, 4096, b"again")

    assert qemu_says_clean(path)
    assert qemu_reads(path)[4096:4101] == b"again"
