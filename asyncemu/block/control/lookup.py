# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes and devices by their names. In the graph's home; edges are read at the home of their node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncemu.block.control.errors import ControlError, NoSuchDevice
from asyncemu.block.drain import backends_of

if TYPE_CHECKING:
    from asyncemu.block.backend import BlockBackend
    from asyncemu.block.graph import BlockGraph
    from asyncemu.block.node import BlockNode


def find_node(graph: BlockGraph, node_name: str) -> BlockNode:
    """The node called ``node_name``. ControlError. QEMU: bdrv_find_node, as most commands use it."""
    node = graph.nodes.get(node_name)
    if node is None:
        raise ControlError(f"Failed to find node with node-name='{node_name}'")
    return node


def find_root(graph: BlockGraph, device: str | None, node_name: str | None) -> BlockNode:
    """The node of a device, or the one with that name. ControlError. QEMU: bdrv_lookup_bs."""
    if device:
        found = _device(graph, device)
        if found is not None:
            return found.node
    node = graph.nodes.get(node_name) if node_name else None
    if node is None:
        raise ControlError(f"Cannot find device='{device or ''}' nor node-name='{node_name or ''}'")
    return node


def find_top(graph: BlockGraph, device: str) -> BlockNode:
    """The node of a device, or the one with that name, over which there is no other. ControlError.

    QEMU: qmp_get_root_bs.
    """
    node = find_root(graph, device, device)
    if node.has_node_parents():
        raise ControlError("Need a root block node")
    return node


def devices(graph: BlockGraph) -> list[BlockBackend]:
    """The BlockBackends of devices, by their nodes' age."""
    return [backend for backend in backends_of(list(graph.nodes.values())) if backend.is_device]


def find_device(graph: BlockGraph, id: str) -> BlockBackend:
    """The BlockBackend of the device ``id``. NoSuchDevice."""
    found = _device(graph, id)
    if found is None:
        raise NoSuchDevice(id)
    return found


def _device(graph: BlockGraph, id: str) -> BlockBackend | None:
    return next((backend for backend in devices(graph) if backend.name == id), None)
