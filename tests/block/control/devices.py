# SPDX-License-Identifier: GPL-2.0-or-later
"""Stand-ins for devices on block nodes, and for who is told of events."""

from __future__ import annotations

from typing import Any

from asyncemu.block import BlockBackend, BlockNode
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_WRITE
from asyncemu.block.observer import BlockObserver


async def plug(node: BlockNode, id: str = "vd0", permissions: int = PERM_CONSISTENT_READ | PERM_WRITE) -> BlockBackend:
    """The BlockBackend of a device ``id``; others may use its node, too."""
    backend = BlockBackend(id, node.context, permissions, PERM_ALL)
    backend.is_device = True
    await backend.insert(node)
    return backend


class Notes(BlockObserver):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def io_error(self, node_name: str, **details: Any) -> None:
        self.calls.append(("io_error", {"node": node_name, **details}))

    def image_corrupted(self, node_name: str, problem: str, **details: Any) -> None:
        self.calls.append(("image_corrupted", {"node": node_name, "problem": problem, **details}))

    def write_threshold(self, node_name: str, **details: Any) -> None:
        self.calls.append(("write_threshold", {"node": node_name, **details}))

    def export_deleted(self, id: str) -> None:
        self.calls.append(("export_deleted", {"id": id}))
