# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes of a graph, those above first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.child import BlockChild
from asyncemu.block.driver import BlockDriver, BlockDriverOptions
from asyncemu.block.order import connected, from_above, sorted_from_above, with_parents
from asyncemu.loop import AioContext
from tests.block.drivers import add, use


def names(nodes: list[BlockNode]) -> list[str]:
    return [node.name for node in nodes]


async def diamond(graph: BlockGraph) -> None:
    """top over left and right, both over base; other stands alone."""
    await add(graph, "memory", "base")
    await add(graph, "pass", "left", file="base")
    await add(graph, "pass", "right", file="base")
    await add(graph, "twice", "top", first="left", second="right")
    await add(graph, "memory", "other")


async def test_from_above_each_comes_behind_all_its_parents(graph: BlockGraph) -> None:
    await diamond(graph)
    assert names(from_above([graph.nodes["base"], graph.nodes["top"]])) == ["top", "left", "right", "base"]


async def test_with_parents_goes_up_only(graph: BlockGraph) -> None:
    await diamond(graph)
    assert names(with_parents([graph.nodes["left"]])) == ["top", "left"]


async def test_connected_goes_all_ways(graph: BlockGraph) -> None:
    await diamond(graph)
    assert sorted(names(connected(graph.nodes["right"]))) == ["base", "left", "right", "top"]


async def test_sorted_from_above_adds_nobody(graph: BlockGraph) -> None:
    await diamond(graph)
    nodes = [graph.nodes[name] for name in ("base", "other", "top")]
    assert sorted(names(sorted_from_above(nodes))) == ["base", "other", "top"]


async def test_two_edges_between_two_nodes_count_once(graph: BlockGraph) -> None:
    await add(graph, "memory", "base")
    await add(graph, "twice", "top", first="base", second="base")
    assert names(from_above([graph.nodes["base"], graph.nodes["top"]])) == ["top", "base"]


async def test_backends_are_no_nodes(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "base")
    backend = await use(node)
    assert names(with_parents([node])) == ["base"]
    await backend.remove()


class Bare(BlockDriver[BlockDriverOptions]):
    """Any children."""


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=40))
def test_sorted_from_above_of_any_graph_has_each_behind_its_parents(pairs: list[tuple[int, int]]) -> None:
    context = cast(AioContext, SimpleNamespace(in_home=lambda: True))
    nodes = [BlockNode(Bare(BlockDriverOptions(), str(index), context)) for index in range(12)]
    for one, other in pairs:
        if one != other:
            above, below = nodes[min(one, other)], nodes[max(one, other)]
            above.attach(BlockChild(above, f"child{len(above.children)}", 0, below))
    ordered = sorted_from_above(reversed(nodes))
    place = {node: index for index, node in enumerate(ordered)}
    assert len(ordered) == 12
    assert all(place[edge.parent] < place[edge.node] for node in nodes for edge in node.children)  # type: ignore[index]
