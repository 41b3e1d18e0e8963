# SPDX-License-Identifier: GPL-2.0-or-later
"""copy-on-read: what is read from below stays in the top layer."""

from __future__ import annotations

from typing import Any

import pytest

from asyncemu.block import BlockBackend, BlockGraph, BlockNode
from asyncemu.block.chain import chain
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ
from asyncemu.errors import ConfigError
from asyncemu.memory.buffers import Buffers
from tests.block.formats import CLUSTER, Layer


async def layers(graph: BlockGraph, size: int = 8 * CLUSTER, **options: Any) -> tuple[BlockNode, list[Layer]]:
    """copy-on-read over top, middle, base, of which each has clusters of its own; the layers."""
    table: dict[str, Any] = {"driver": "test-layer", "node-name": "base", "size": size}
    for name in ("middle", "top"):
        table = {"driver": "test-layer", "node-name": name, "size": size, "backing": table}
    node = await graph.add_table({"driver": "copy-on-read", "node-name": "cor", "file": table, **options}, "b")
    found = [each.driver for each in chain(node) if isinstance(each.driver, Layer)]
    for number, layer in enumerate(reversed(found)):
        layer.clusters[number] = bytearray([number + 1]) * CLUSTER
    return node, found


async def test_read_copies_what_is_below_into_the_top(graph: BlockGraph) -> None:
    node, (top, middle, base) = await layers(graph)
    assert await node.pread(10, 20) == b"\1" * 20
    assert await node.pread(CLUSTER, 5) == b"\2" * 5
    assert {number: bytes(data) for number, data in top.clusters.items()} == {
        0: b"\1" * CLUSTER,
        1: b"\2" * CLUSTER,
        2: b"\3" * CLUSTER,
    }
    assert (list(middle.clusters), list(base.clusters)) == ([1], [0])


async def test_read_with_bottom_copies_down_to_it_only(graph: BlockGraph) -> None:
    node, (top, _, _) = await layers(graph, bottom="middle")
    expected = b"\1" * CLUSTER + b"\2" * CLUSTER + b"\3" * CLUSTER + bytes(5 * CLUSTER)
    assert await node.pread(0, 8 * CLUSTER) == expected
    assert sorted(top.clusters) == [1, 2]


async def test_read_with_bottom_within_clusters_gives_all_bytes(graph: BlockGraph) -> None:
    node, (top, _, _) = await layers(graph, bottom="base")
    assert await node.pread(CLUSTER - 3, CLUSTER + 6) == b"\1" * 3 + b"\2" * CLUSTER + b"\3" * 3
    assert sorted(top.clusters) == [0, 1, 2]


async def test_read_of_an_odd_end_copies_it(graph: BlockGraph) -> None:
    node, (top, _, base) = await layers(graph, size=2 * CLUSTER - 100)
    base.clusters[1] = bytearray(b"e" * CLUSTER)
    top.clusters.clear()
    assert await node.pread(2 * CLUSTER - 110, 10) == b"\2" * 10
    assert sorted(top.clusters) == [1]


async def test_reader_of_the_filter_needs_no_permission_to_write(graph: BlockGraph) -> None:
    node, (top, _, _) = await layers(graph)
    backend = BlockBackend("b", graph.context, PERM_CONSISTENT_READ, PERM_ALL)
    await backend.insert(node)
    buffer = bytearray(CLUSTER)
    await backend.preadv(0, Buffers.of(buffer))
    assert (bytes(buffer), sorted(top.clusters)) == (b"\1" * CLUSTER, [0, 2])
    await backend.remove()


async def test_read_only_layer_below_can_not_be_copied_into(graph: BlockGraph) -> None:
    await graph.add_table({"driver": "test-layer", "node-name": "top", "read-only": True}, "b")
    with pytest.raises(ConfigError, match="Block node is read-only"):
        await graph.add_table({"driver": "copy-on-read", "file": "top"}, "b")


@pytest.mark.parametrize(
    ("bottom", "problem"), [("zz", "Bottom node 'zz' not found"), ("filter", "Bottom node 'filter' is a filter")]
)
async def test_bottom_that_is_no_layer_is_refused(graph: BlockGraph, bottom: str, problem: str) -> None:
    await graph.add_table({"driver": "test-layer", "node-name": "base"}, "b")
    await graph.add_table({"driver": "delay", "node-name": "filter", "file": "base"}, "b")
    with pytest.raises(ConfigError) as caught:
        await graph.add_table({"driver": "copy-on-read", "file": "filter", "bottom": bottom}, "b")
    assert caught.value.problem == problem
