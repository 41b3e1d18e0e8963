# SPDX-License-Identifier: GPL-2.0-or-later
"""compress: all writes are compressed ones, of whole clusters."""

from __future__ import annotations

import pytest

import asyncemu.testing.memory_disk  # noqa: F401  # makes the driver "memory" known
from asyncemu.block import BlockGraph, BlockNode
from asyncemu.errors import ConfigError
from asyncemu.memory.buffers import Buffers
from tests.block.drivers import use
from tests.block.formats import CLUSTER, Layer


async def compressing(graph: BlockGraph, size: int) -> tuple[BlockNode, Layer]:
    table = {"driver": "compress", "node-name": "top", "file": {"driver": "test-layer", "size": size}}
    node = await graph.add_table(table, "blockdev[0]")
    layer = node.children[0].node.driver
    assert isinstance(layer, Layer)
    await use(node)
    return node, layer


async def test_writes_are_compressed_in_whole_clusters(graph: BlockGraph) -> None:
    node, layer = await compressing(graph, 8 * CLUSTER)
    await node.pwritev(CLUSTER, Buffers.of(b"x" * 2 * CLUSTER))
    assert layer.compressed == [1, 2]


async def test_part_of_a_cluster_is_made_whole(graph: BlockGraph) -> None:
    node, layer = await compressing(graph, 8 * CLUSTER)
    await node.pwritev(CLUSTER, Buffers.of(b"x" * CLUSTER))
    await node.pwritev(CLUSTER + 10, Buffers.of(b"y" * CLUSTER))
    assert await node.pread(CLUSTER, 2 * CLUSTER) == b"x" * 10 + b"y" * CLUSTER + bytes(CLUSTER - 10)
    assert set(layer.compressed) == {1, 2}


async def test_end_within_a_cluster_is_written_up_to_it(graph: BlockGraph) -> None:
    node, layer = await compressing(graph, 2 * CLUSTER - 100)
    await node.pwritev(CLUSTER + 50, Buffers.of(b"x" * 10))
    assert await node.pread(CLUSTER, CLUSTER - 100) == bytes(50) + b"x" * 10 + bytes(CLUSTER - 160)
    assert layer.compressed == [1]


async def test_format_that_can_not_compress_is_refused(graph: BlockGraph) -> None:
    with pytest.raises(ConfigError) as caught:
        await graph.add_table({"driver": "compress", "file": {"driver": "memory"}}, "blockdev[0]")
    assert caught.value.problem == "Compression is not supported for underlying format: memory"
