# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes of a graph in an order: those above first. A graph has no circles. In the home of the nodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode


def nodes_above(node: BlockNode) -> list[BlockNode]:
    """The nodes right over ``node``, once for each edge."""
    from asyncemu.block.node import BlockNode

    return [edge.parent for edge in node.parents if isinstance(edge.parent, BlockNode)]


def nodes_below(node: BlockNode) -> list[BlockNode]:
    """The nodes right under ``node``, once for each edge."""
    return [edge.node for edge in node.children]


def with_parents(nodes: Iterable[BlockNode]) -> list[BlockNode]:
    """``nodes`` and all nodes over them, those above first."""
    return sorted_from_above(_reachable(nodes, nodes_above))


def from_above(nodes: Iterable[BlockNode]) -> list[BlockNode]:
    """``nodes`` and all that are below them, those above first."""
    return sorted_from_above(_reachable(nodes, nodes_below))


def connected(node: BlockNode) -> list[BlockNode]:
    """All nodes that share the way of a request with ``node``, those above first."""
    return sorted_from_above(_reachable([node], lambda each: [*nodes_above(each), *nodes_below(each)]))


def _reachable(nodes: Iterable[BlockNode], next_to: Callable[[BlockNode], list[BlockNode]]) -> list[BlockNode]:
    found = dict.fromkeys(nodes)
    waiting = list(found)
    while waiting:
        for other in next_to(waiting.pop()):
            if other not in found:
                found[other] = None
                waiting.append(other)
    return list(found)


def sorted_from_above(nodes: Iterable[BlockNode]) -> list[BlockNode]:
    """``nodes``, each once, behind all of them that have an edge to it."""
    among = dict.fromkeys(nodes)
    # A parent that has two edges to a node counts twice, and is taken off twice.
    over = {node: sum(parent in among for parent in nodes_above(node)) for node in among}
    ready = deque(node for node in among if not over[node])
    ordered: list[BlockNode] = []
    while ready:
        node = ready.popleft()
        ordered.append(node)
        for below in nodes_below(node):
            if below in over:
                over[below] -= 1
                if not over[below]:
                    ready.append(below)
    return ordered
