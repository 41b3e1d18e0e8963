# SPDX-License-Identifier: GPL-2.0-or-later
"""Block drivers whose calls the tests of the graph look at."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from asyncemu.block import BlockBackend, BlockGraph, BlockNode
from asyncemu.block.child import BlockChild
from asyncemu.block.driver import BlockDriver, ChildSlot
from asyncemu.block.filter import FilterDriver, FilterOptions
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE, ROLE_FILTER
from asyncemu.plain_options import option
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions
from asyncemu.testing.memory_overlay import MemoryOverlay, MemoryOverlayOptions


class Watched(BlockDriver[Any]):
    """Counts how often it is drained, and notes the order in ``calls``, which all share that a test gives one."""

    drain_count = 0
    calls: list[str] | None = None

    def drain_begin(self) -> None:
        self.drain_count += 1
        self.note("begin")

    def drain_end(self) -> None:
        self.drain_count -= 1
        self.note("end")

    def note(self, what: str) -> None:
        if self.calls is not None:
            self.calls.append(f"{self.node_name} {what}")


class WatchedDisk(Watched, MemoryDisk, name="watched-disk"):
    options_type = MemoryDiskOptions


class WatchedOverlay(Watched, MemoryOverlay, name="watched-overlay"):
    options_type = MemoryOverlayOptions


class PassOptions(FilterOptions):
    """Keys of the filters here."""


class Pass(Watched, FilterDriver[PassOptions], name="pass"):
    """Passes on, permissions included. QEMU's tests: pass-through."""

    options_type = PassOptions


class ExclusiveWriter(FilterDriver[PassOptions], name="exclusive-writer"):
    """Wants to be the only one who writes, whoever uses it. QEMU's tests: exclusive-writer."""

    def child_permissions(self, child: BlockChild, permissions: int, shared: int) -> tuple[int, int]:
        return PERM_WRITE, PERM_ALL & ~PERM_WRITE


class NoPermissionsOptions(MemoryOverlayOptions):
    """Keys of ``no-permissions``."""

    target: str | dict[str, Any] | None = option(default=None, description="Another child.")


class NoPermissions(MemoryOverlay, name="no-permissions"):
    """Needs nothing of its children. QEMU's tests: no-perm."""

    options_type = NoPermissionsOptions
    children: ClassVar[tuple[ChildSlot, ...]] = (*MemoryOverlay.children, ChildSlot("target", 0, optional=True))

    def child_permissions(self, child: BlockChild, permissions: int, shared: int) -> tuple[int, int]:
        return 0, PERM_ALL


class SelectedOptions(MemoryDiskOptions):
    """Keys of ``write-to-selected``."""

    first: str | dict[str, Any] = option(description="One.")
    second: str | dict[str, Any] = option(description="The other.")


class WriteToSelected(MemoryDisk, name="write-to-selected"):
    """Writes to one of its children, exclusively. QEMU's tests: write-to-selected."""

    options_type = SelectedOptions
    children = (ChildSlot("first", ROLE_FILTER), ChildSlot("second", ROLE_FILTER))
    selected = "first"

    def child_permissions(self, child: BlockChild, permissions: int, shared: int) -> tuple[int, int]:
        return (PERM_WRITE, PERM_ALL & ~PERM_WRITE) if child.name == self.selected else (0, PERM_ALL)


class Slow(FilterDriver[PassOptions], name="slow"):
    """Never gets open."""

    async def open(self) -> int:
        await asyncio.Event().wait()
        return 0


class Reading(Pass, name="reading"):
    """Reads in open, as an image format does."""

    options_type = PassOptions

    async def open(self) -> int:
        await self.file.pread(0, 512)
        return await super().open()


class Twice(MemoryDisk, name="twice"):
    """Passes on what its parents have, to two children."""

    options_type = SelectedOptions
    children = WriteToSelected.children


async def add(graph: BlockGraph, driver: str, name: str, **options: Any) -> BlockNode:
    """A node of one of these drivers."""
    table = {key.replace("_", "-"): value for key, value in options.items()}
    return await graph.add_table({"driver": driver, "node-name": name, **table}, name)


def memory(node: BlockNode) -> MemoryDisk:
    """The driver of a node that is one."""
    assert isinstance(node.driver, MemoryDisk)
    return node.driver


def watched(node: BlockNode) -> Watched:
    """The driver of a node that is one."""
    assert isinstance(node.driver, Watched)
    return node.driver


async def use(
    node: BlockNode,
    name: str = "dev0",
    permissions: int = PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE,
    shared: int = PERM_ALL,
) -> BlockBackend:
    """A BlockBackend over ``node``, in its home."""
    backend = BlockBackend(name, node.context, permissions, shared)
    await node.context.call(lambda: backend.insert(node))
    return backend
