# SPDX-License-Identifier: GPL-2.0-or-later
"""An image that moves to an IOThread and back, with what it caches, and compresses there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncemu.block import BlockGraph, move_nodes
from asyncemu.block.flags import WRITE_COMPRESSED
from asyncemu.loop import AioContext, IOThread
from tests.block.qcow2.conftest import create, open_image, pattern, qemu_reads, qemu_says_clean, write
from tests.iothreads import iothreads as iothreads

SIZE = 1 << 20


@pytest.fixture
async def graph(context: AioContext, iothreads: list[IOThread], tmp_path: Path) -> AsyncIterator[BlockGraph]:
    """Closed before the iothreads stop."""
    graph = BlockGraph(context, tmp_path)
    yield graph
    await graph.close()


async def test_image_moves_with_what_it_has_cached(
    graph: BlockGraph, iothreads: list[IOThread], tmp_path: Path
) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    node = await open_image(graph, path)
    there = iothreads[0].aio_context
    data = pattern(200_000)
    compressible = b"c" * 65536
    await write(node, 0, data)

    await move_nodes(node, there)
    read = await there.call(lambda: node.pread(0, 200_000))
    await there.call(lambda: write(node, 300_000, b"there"))
    await there.call(lambda: write(node, SIZE - 65536, compressible, WRITE_COMPRESSED))
    await move_nodes(node, graph.context)
    back = await node.pread(SIZE - 65536, 65536)
    await graph.remove(node)

    assert read == data
    assert back == compressible
    assert qemu_reads(path)[300_000:300_005] == b"there"
    assert qemu_says_clean(path)
