# SPDX-License-Identifier: GPL-2.0-or-later
"""Walks along a backing chain: nodes that are read where nothing is allocated above, with filters in between.

QEMU: bdrv_filter_or_cow_child, bdrv_skip_filters, bdrv_backing_chain_next and their relatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncemu.block.child import BlockChild
    from asyncemu.block.node import BlockNode


def filter_or_cow_child(node: BlockNode) -> BlockChild | None:
    """The next one down the chain: what a filter filters, or the backing file."""
    return node.filtered or node.backing


def skip_filters(node: BlockNode | None) -> BlockNode | None:
    """``node``, or the first below it that is no filter."""
    while node is not None and (edge := node.filtered) is not None:
        node = edge.node
    return node


def backing_chain_next(node: BlockNode) -> BlockNode | None:
    """The next layer that is no filter."""
    layer = skip_filters(node)
    backing = layer.backing if layer is not None else None
    return skip_filters(backing.node) if backing is not None else None


def chain(node: BlockNode) -> Iterator[BlockNode]:
    """``node`` and all below it in the chain, filters included."""
    current: BlockNode | None = node
    while current is not None:
        yield current
        edge = filter_or_cow_child(current)
        current = edge.node if edge is not None else None
