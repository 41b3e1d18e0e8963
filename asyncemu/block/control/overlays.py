# SPDX-License-Identifier: GPL-2.0-or-later
"""External snapshots: an image over another, under I/O; what the lower one holds changes no more. In the graph's home.

    device ──▶ disk           device ──▶ overlay ──▶ disk

QEMU: blockdev-snapshot, blockdev-snapshot-sync, change-backing-file. Errors are ControlError, in QEMU's words.
Snapshots give an Undo: for transactions, who call it before anything else happens.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from asyncemu.block.backend import BlockBackend
from asyncemu.block.chain import chain
from asyncemu.block.control.errors import ControlError, explained
from asyncemu.block.control.lookup import find_root, find_top
from asyncemu.block.drain import drained
from asyncemu.block.file.creation import FileCreation, create_regular_file
from asyncemu.block.filenames import has_protocol
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE, ROLE_COW
from asyncemu.block.graph_change import append_locked, take_off_locked
from asyncemu.block.homes import at_home, to_end
from asyncemu.block.image_options import image_table
from asyncemu.block.node_filename import node_filename
from asyncemu.block.opening import MAX_CHAIN
from asyncemu.errors import AsyncemuError
from asyncemu.host_file import checked_name
from asyncemu.plugin_options import IDENTITY
from asyncemu.plugins import names

if TYPE_CHECKING:
    from asyncemu.block.graph import BlockGraph
    from asyncemu.block.node import BlockNode

#: Has all as it was.
Undo: TypeAlias = Callable[[], Awaitable[None]]

#: The format of new overlays.
_FORMAT: Final = "qcow2"


async def blockdev_snapshot(graph: BlockGraph, node: str, overlay: str) -> Undo:
    """Put the node ``overlay``, which nobody uses and which has no backing file, over ``node``."""
    try:
        async with graph.lock.writing():
            lower = find_root(graph, node, node)
            _check_lower(lower)
            upper = find_root(graph, overlay, overlay)
            await _append(lower, upper)
    except (AsyncemuError, OSError) as error:
        raise explained(error) from error
    return partial(_take_off, graph, lower, upper)


async def blockdev_snapshot_sync(
    graph: BlockGraph,
    device: str | None,
    node_name: str | None,
    snapshot_file: str,
    snapshot_node_name: str | None = None,
    format: str | None = None,
    mode: Literal["existing", "absolute-paths"] | None = None,
) -> Undo:
    """Make an image over a node, or take one that is there, and put it over the node.

    ``snapshot_node_name`` may be left out for a ``device`` only.
    """
    lower = find_root(graph, device, node_name)
    _check_lower(lower)
    if node_name is not None and snapshot_node_name is None:
        raise ControlError("New overlay node-name missing")
    if snapshot_node_name is not None and snapshot_node_name in graph.nodes:
        raise ControlError("New overlay node-name already in use")
    format = format or _FORMAT
    if snapshot_node_name is not None and not re.fullmatch(IDENTITY, snapshot_node_name):
        raise ControlError(f"Invalid node-name: '{snapshot_node_name}'")
    if not has_protocol(snapshot_file):
        try:
            snapshot_file = checked_name(snapshot_file, graph.directory)
        except ValueError as error:
            raise ControlError(f"'{snapshot_file}' {error}") from error
    try:
        if mode != "existing":
            await _create(graph, lower, snapshot_file, format)
        named = {"node-name": snapshot_node_name} if snapshot_node_name is not None else {}
        async with graph.lock.writing():
            graph.check(lower)
            table = {**image_table(snapshot_file, format), **named, "backing": None}
            # Of those over ``lower``, like QEMU's: when the last of them goes, it goes.
            overlay = await graph.add_table_locked(table, "blockdev")
            try:
                await _append(lower, overlay)
            finally:
                await to_end(graph.drop_locked(overlay))
    except (AsyncemuError, OSError) as error:
        raise explained(error) from error
    return partial(_take_off, graph, lower, overlay)


async def change_backing_file(graph: BlockGraph, device: str, image_node_name: str, backing_file: str) -> None:
    """Store another name of its backing file in an image; what is open stays as it is."""
    root = find_top(graph, device)
    image = find_root(graph, None, image_node_name)
    if image.backing is None:
        raise ControlError("not allowing backing file change on an image without a backing file")
    if image not in chain(root):
        raise ControlError(f"'{device}' and image file are not in the same chain")
    try:
        await at_home(image, lambda: _store_name(image, backing_file))
    except (AsyncemuError, OSError) as error:
        raise ControlError(f"Could not change backing file to '{backing_file}': {explained(error)}") from error


async def _store_name(image: BlockNode, backing_file: str) -> None:
    backing = image.backing
    assert backing is not None
    # Written by nobody but us while it is written to.
    async with drained(image):
        await to_end(image.driver.change_backing_file(backing_file, backing.node.driver.name))


def _check_lower(node: BlockNode) -> None:
    for edge in node.parents:
        if edge.role & ROLE_COW:
            user = getattr(edge.parent, "name", "")
            raise ControlError(f"Node '{node.name}' is busy: node is used as backing hd of '{user}'")
    if sum(1 for _ in chain(node)) >= MAX_CHAIN:
        raise ControlError(f"More than {MAX_CHAIN} images are above each other")


async def _append(lower: BlockNode, overlay: BlockNode) -> None:
    if overlay.parents:
        raise ControlError("The overlay is already in use")
    if overlay is lower:
        raise ControlError(f"Making '{lower.name}' a backing child of '{lower.name}' would create a cycle")
    if overlay.backing is not None:
        raise ControlError("The overlay already has a backing image")
    if not overlay.driver.supports_backing:
        raise ControlError("The overlay does not support backing images")
    await append_locked(lower, overlay)


async def _take_off(graph: BlockGraph, lower: BlockNode, overlay: BlockNode) -> None:
    """Undo it, before anything was written to ``overlay``."""
    async with graph.lock.writing():
        graph.check(lower, overlay)
        await take_off_locked(lower, overlay)
        await graph.drop_locked(overlay)


async def _create(graph: BlockGraph, lower: BlockNode, filename: str, format: str) -> None:
    """An empty image of the size of ``lower``, that names it as its backing file."""
    from asyncemu.block.qcow2.create import create
    from asyncemu.block.qcow2.creation_options import Qcow2Creation

    if format != _FORMAT:
        known = format in names("blockdev")
        problem = (
            f"Backing file not supported for file format '{format}'" if known else f"Unknown file format '{format}'"
        )
        raise ControlError(problem)
    if has_protocol(filename):
        raise ControlError(f"Protocol of '{filename}' does not support image creation")
    backing_file = await at_home(lower, lambda: _name_of(lower))
    options = Qcow2Creation(size=lower.size, backing_file=backing_file, backing_fmt=lower.driver.name)
    await create_regular_file(filename, FileCreation())
    node = await graph.add_table({"driver": "file", "filename": filename}, "blockdev")
    try:
        backend = BlockBackend(
            "", node.context, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL & ~PERM_WRITE
        )
        backend.allow_write_beyond_end = True
        # Also in a drained section, of a machine that stands still: nobody else has to do with it yet.
        backend.user = _Undisturbed()
        await backend.insert(node)
        try:
            await create(backend, options)
        finally:
            await to_end(backend.remove())
    finally:
        await to_end(graph.remove(node))


class _Undisturbed:
    """A BackendUser that does not stop."""

    async def quiesce(self) -> None:
        """See BackendUser."""

    async def resume(self) -> None:
        """See BackendUser."""


async def _name_of(node: BlockNode) -> str:
    return node_filename(node)
