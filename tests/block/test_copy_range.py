# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies that the storage makes: down both sides of the graph, and refused where there is no way."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest

import asyncemu.testing.memory_disk  # noqa: F401  # makes the driver "memory" known
from asyncemu.block import BlockBackend, BlockGraph, BlockNode, drained
from asyncemu.block.flags import FUA, PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE
from asyncemu.coroutines import start
from asyncemu.errors import BlockError
from asyncemu.memory.buffers import Buffers
from tests.block.conftest import IMAGE_SIZE, contents

ALL = PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """``copy.img``: as large as the image, other bytes."""
    path = tmp_path / "copy.img"
    path.write_bytes(random.Random(8).randbytes(IMAGE_SIZE))
    return path


async def backend(graph: BlockGraph, name: str, **table: Any) -> BlockBackend:
    node = await graph.add_table({"node-name": name, **table}, name)
    found = BlockBackend(name, graph.context, ALL, PERM_ALL)
    await found.insert(node)
    return found


async def raw(graph: BlockGraph, name: str, **options: Any) -> BlockBackend:
    """Over the file ``name``.img."""
    return await backend(graph, name, driver="raw", file={"driver": "file", "filename": f"{name}.img"}, **options)


async def refused(source: BlockBackend, target: BlockBackend, *arguments: int) -> int:
    with pytest.raises(BlockError) as caught:
        await source.copy_range(arguments[0], target, *arguments[1:])
    return caught.value.errno


async def close(*backends: BlockBackend) -> None:
    for each in backends:
        await each.remove()


async def test_copy_of_files_moves_the_bytes(graph: BlockGraph, image: Path, copy: Path) -> None:
    source, target = await raw(graph, "disk"), await raw(graph, "copy")
    before = contents(copy)
    await source.copy_range(1000, target, 5000, 20_000)
    assert contents(copy) == before[:5000] + contents(image)[1000:21_000] + before[25_000:]
    await close(source, target)


async def test_copy_between_windows_is_shifted_on_both_sides(graph: BlockGraph, image: Path, copy: Path) -> None:
    source = await raw(graph, "disk", offset=512, size=8192)
    target = await raw(graph, "copy", offset=1024)
    await source.copy_range(100, target, 200, 4096)
    assert contents(copy)[1224:5320] == contents(image)[612:4708]
    await close(source, target)


async def test_copy_passes_no_byte_through_us(
    graph: BlockGraph, image: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = await raw(graph, "disk"), await raw(graph, "copy")

    def never(*arguments: Any) -> int:
        raise AssertionError("read or written")

    monkeypatch.setattr(os, "preadv", never)
    monkeypatch.setattr(os, "pwritev", never)
    await source.copy_range(0, target, 0, IMAGE_SIZE)
    assert contents(copy) == contents(image)
    await close(source, target)


async def test_copy_past_the_end_of_the_target_makes_it_longer(graph: BlockGraph, image: Path, copy: Path) -> None:
    source, target = await raw(graph, "disk"), await raw(graph, "copy")
    target.allow_write_beyond_end = True
    await source.copy_range(0, target, IMAGE_SIZE, 4096)
    assert target.size == IMAGE_SIZE + 4096
    assert contents(copy)[IMAGE_SIZE:] == contents(image)[:4096]
    await close(source, target)


async def test_copy_with_fua_flushes_the_target(
    graph: BlockGraph, image: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = await raw(graph, "disk"), await raw(graph, "copy")
    await source.copy_range(0, target, 0, 4096, write_flags=FUA)
    file = target.node.children[0].node
    assert file.flushed_generation == file.write_generation > 0
    await close(source, target)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
async def test_copy_that_the_file_systems_can_not_make_is_not_supported(
    graph: BlockGraph, image: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    source, target = await raw(graph, "disk"), await raw(graph, "copy")

    def refuse(*arguments: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    assert await refused(source, target, 0, 0, 4096) == errno.ENOTSUP
    assert (source.node.in_flight, target.node.in_flight) == (0, 0)
    await close(source, target)


async def test_copy_of_a_file_that_shrank_is_not_supported(graph: BlockGraph, image: Path, copy: Path) -> None:
    source, target = await raw(graph, "disk"), await raw(graph, "copy")
    os.truncate(image, 4096)
    assert await refused(source, target, 0, 0, 8192) == errno.ENOTSUP
    await close(source, target)


async def test_copy_that_fails_says_why(
    graph: BlockGraph, image: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = await raw(graph, "disk"), await raw(graph, "copy")

    def refuse(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    assert await refused(source, target, 0, 0, 4096) == errno.ENOSPC
    await close(source, target)


@pytest.mark.parametrize(("from_driver", "to_driver"), [("memory", "file"), ("file", "memory"), ("null-co", "null-co")])
async def test_copy_where_one_end_is_no_file_is_not_supported(
    graph: BlockGraph, image: Path, from_driver: str, to_driver: str
) -> None:
    below: dict[str, dict[str, Any]] = {"file": {"driver": "file", "filename": "disk.img"}}
    source = await backend(graph, "source", driver="raw", file=below.get(from_driver, {"driver": from_driver}))
    target = await backend(graph, "target", driver="raw", file=below.get(to_driver, {"driver": to_driver}))
    assert await refused(source, target, 0, 0, 4096) == errno.ENOTSUP
    await close(source, target)


@pytest.mark.parametrize(("offset", "length"), [(-1, 4096), (0, -1), (IMAGE_SIZE - 10, 20)])
async def test_copy_out_of_bounds_is_refused(
    graph: BlockGraph, image: Path, copy: Path, offset: int, length: int
) -> None:
    source, target = await raw(graph, "disk"), await raw(graph, "copy")
    assert await refused(source, target, offset, 0, length) == errno.EIO
    assert await refused(source, target, 0, offset, length) == errno.EIO
    await close(source, target)


async def test_copy_to_a_node_that_can_not_be_written_is_refused(graph: BlockGraph, image: Path, copy: Path) -> None:
    source = await raw(graph, "disk")
    node = await graph.add_table({"driver": "file", "filename": "copy.img", "read-only": True}, "copy")
    target = BlockBackend("copy", graph.context)
    await target.insert(node)
    assert await refused(source, target, 0, 0, 4096) == errno.EROFS
    await close(source, target)


async def test_copy_is_in_flight_on_all_nodes_of_its_way(
    graph: BlockGraph, image: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = await raw(graph, "disk"), await raw(graph, "copy")
    nodes: list[BlockNode] = [source.node, source.node.children[0].node, target.node, target.node.children[0].node]
    copying = start(graph.context, source.copy_range(0, target, 0, IMAGE_SIZE))
    seen = [node.in_flight for node in nodes]
    await copying
    assert (seen, [node.in_flight for node in nodes]) == ([1] * 4, [0] * 4)
    await close(source, target)


async def test_copy_waits_for_a_write_that_modifies_blocks(graph: BlockGraph, image: Path, copy: Path) -> None:
    source, target = await raw(graph, "disk"), await raw(graph, "copy")
    file = target.node.children[0].node
    request = file.begin(0, 4096, serialising=True)
    copying = start(graph.context, source.copy_range(0, target, 0, 4096))
    before = contents(copy)
    assert not copying.done()
    file.end(request)
    await copying
    assert contents(copy) == contents(image)[:4096] + before[4096:]
    await close(source, target)


@pytest.mark.parametrize("held", ["source", "target"])
async def test_copy_while_one_side_is_drained_waits_and_holds_up_nobody(
    graph: BlockGraph, image: Path, copy: Path, held: str
) -> None:
    source, target = await raw(graph, "disk"), await raw(graph, "copy")
    before = contents(copy)
    async with drained((source if held == "source" else target).node):
        copying = asyncio.ensure_future(source.copy_range(0, target, 0, 4096))
        async with drained(source.node, target.node):
            pass
        assert not copying.done()
        assert contents(copy) == before
    await copying
    assert contents(copy)[:4096] == contents(image)[:4096]
    await close(source, target)


async def test_copy_within_one_file_moves_the_bytes(graph: BlockGraph, image: Path) -> None:
    disk = await raw(graph, "disk")
    before = contents(image)
    await disk.copy_range(0, disk, 32768, 16384)
    assert contents(image) == before[:32768] + before[:16384] + before[49152:]
    got = bytearray(16384)
    await disk.preadv(32768, Buffers.of(got))
    assert got == before[:16384]
    await close(disk)
