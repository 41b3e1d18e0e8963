# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that change a block graph: blockdev-add, -del, -reopen, block_resize and so on. In the graph's home.

All of them raise ControlError, in QEMU's words, and then have changed nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.backend import BlockBackend
from asyncemu.block.control.errors import ControlError, explained
from asyncemu.block.control.lookup import devices, find_device, find_node, find_root
from asyncemu.block.drain import backends_of, drained
from asyncemu.block.error_policy import IoStatus
from asyncemu.block.flags import PERM_RESIZE
from asyncemu.block.homes import at_home, to_end
from asyncemu.block.reopen import reopen
from asyncemu.block.statistics import FLUSH, READ, WRITE
from asyncemu.errors import AsyncemuError
from asyncemu.plugin_options import IDENTITY

if TYPE_CHECKING:
    from asyncemu.block.graph import BlockGraph
    from asyncemu.block.node import BlockNode
    from asyncemu.block.throttle.group import ThrottleGroup

#: Bytes; sizes of disks are whole ones.
_SECTOR: Final = 512


async def blockdev_add(graph: BlockGraph, table: Mapping[str, object]) -> None:
    """A node that stays until ``blockdev_del``. ``table``: QMP's arguments."""
    if "driver" not in table:
        raise ControlError("Parameter 'driver' is missing")
    await drive_add(graph, table)


async def drive_add(graph: BlockGraph, table: Mapping[str, object]) -> None:
    """As ``blockdev_add``; without a driver, the image is looked at to tell which one it is."""
    name = table.get("node-name")
    if name is None:
        raise ControlError("'node-name' must be specified for the root node")
    if not isinstance(name, str) or not re.fullmatch(IDENTITY, name):
        raise ControlError(f"Invalid node-name: '{name}'")
    try:
        await graph.add_table(table, "blockdev")
    except (AsyncemuError, OSError) as error:
        raise explained(error) from error


async def blockdev_del(graph: BlockGraph, node_name: str) -> None:
    """Close a node that ``blockdev_add``, or the configuration, has made, and that nobody uses."""
    node = find_node(graph, node_name)
    if backends_of([node]):
        raise ControlError(f"Node {node_name} is in use")
    if not node.kept:
        raise ControlError(f"Node {node_name} is not owned by the monitor")
    if node.parents:
        raise ControlError(f"Block device {node_name} is in use")
    try:
        await graph.remove(node)
    except* (AsyncemuError, OSError) as group:
        raise explained(group) from group


async def blockdev_reopen(graph: BlockGraph, tables: Sequence[Mapping[str, object]]) -> None:
    """Other options for nodes, all or none; what a table does not have takes its default."""
    changes: dict[BlockNode, Mapping[str, object]] = {}
    for table in tables:
        options = dict(table)
        name = options.pop("node-name", None)
        if name is None:
            raise ControlError("node-name not specified")
        node = find_node(graph, str(name))
        if node in changes:
            raise ControlError(f"Node '{name}' is named twice")
        if node.driver.supports_backing and node.backing is not None and "backing" not in options:
            raise ControlError(f"backing is missing for '{name}'")
        if options.pop("driver", node.driver.name) != node.driver.name:
            raise ControlError("Cannot change the option 'driver'")
        changes[node] = options
    try:
        await reopen(graph, changes)
    except (AsyncemuError, OSError) as error:
        raise explained(error) from error


async def block_resize(graph: BlockGraph, size: int, device: str | None = None, node_name: str | None = None) -> None:
    """Make a disk ``size`` bytes; a device tells its guest."""
    node = find_root(graph, device, node_name)
    if size < 0:
        raise ControlError("Parameter 'size' expects a >0 size")
    if size % _SECTOR:
        raise ControlError(f"The new size must be a multiple of {_SECTOR}")
    try:
        await at_home(node, lambda: _resize(node, size))
    except (AsyncemuError, OSError) as error:
        raise explained(error) from error


async def _resize(node: BlockNode, size: int) -> None:
    backend = BlockBackend("", node.context, PERM_RESIZE)
    await backend.insert(node)
    try:
        async with drained(node):
            # Ours is drained, too: the request goes to the node.
            assert backend.root is not None
            await to_end(backend.root.truncate(size))
    finally:
        await to_end(backend.remove())


async def set_write_threshold(graph: BlockGraph, node_name: str, threshold: int) -> None:
    """Report the next write past ``threshold`` bytes to the observer; 0: don't."""
    node = graph.nodes.get(node_name)
    if node is None:
        raise ControlError(f"Device '{node_name}' not found")
    await at_home(node, lambda: _set_write_threshold(node, threshold))


async def _set_write_threshold(node: BlockNode, threshold: int) -> None:
    node.write_threshold = threshold


async def set_histograms(
    graph: BlockGraph,
    id: str,
    boundaries: Sequence[int] | None = None,
    boundaries_read: Sequence[int] | None = None,
    boundaries_write: Sequence[int] | None = None,
    boundaries_flush: Sequence[int] | None = None,
) -> None:
    """Latency histograms of a device; an empty list ends one, and without any list all of them end."""
    backend = find_device(graph, id)
    given = {READ: boundaries_read, WRITE: boundaries_write, FLUSH: boundaries_flush}
    if boundaries is None and all(each is None for each in given.values()):
        boundaries = ()
    wanted = {kind: each if each is not None else boundaries for kind, each in given.items()}
    await at_home(backend, lambda: _set_histograms(backend, wanted))


async def _set_histograms(backend: BlockBackend, wanted: Mapping[int, Sequence[int] | None]) -> None:
    names = {READ: "read", WRITE: "write", FLUSH: "flush"}
    for kind, boundaries in wanted.items():
        if boundaries is not None:
            try:
                backend.statistics.set_histogram(kind, boundaries)
            except ValueError as error:
                raise ControlError(f"Device '{backend.name}' set {names[kind]} boundaries fail") from error


async def reset_io_statuses(graph: BlockGraph) -> None:
    """The machine goes on: what had stopped it is over. QEMU: blk_iostatus_reset."""
    for backend in devices(graph):
        await at_home(backend, lambda backend=backend: _reset_io_status(backend))  # type: ignore[misc]


async def _reset_io_status(backend: BlockBackend) -> None:
    backend.io_status = IoStatus.OK


# ---- limits


#: QMP's names of limits, and those of ThrottleLimits.
_LIMITS: Final = {
    "bps": "bps-total",
    "bps_rd": "bps-read",
    "bps_wr": "bps-write",
    "iops": "iops-total",
    "iops_rd": "iops-read",
    "iops_wr": "iops-write",
}


async def set_io_throttle(graph: BlockGraph, arguments: Mapping[str, Any]) -> None:
    """Limits of a device, or of its group. ``arguments``: those of block_set_io_throttle, of the right types."""
    from asyncemu.block.throttle.config import ThrottleLimits

    backend = _limited_device(graph, arguments)
    table: dict[str, int] = {}
    for ours, theirs in _LIMITS.items():
        if ours not in arguments:
            raise ControlError(f"Parameter '{ours}' is missing")
        table[theirs] = arguments[ours]
        for suffix in ("max", "max_length"):
            if f"{ours}_{suffix}" in arguments:
                table[f"{theirs}-{suffix.replace('_', '-')}"] = arguments[f"{ours}_{suffix}"]
    if "iops_size" in arguments:
        table["iops-size"] = arguments["iops_size"]
    try:
        config = ThrottleLimits.parse(table, "limits").config("limits")
    except AsyncemuError as error:
        raise explained(error) from error
    group = None
    if config.enabled:
        joined = backend.throttle.group.name if backend.throttle is not None else backend.name
        group = graph.throttle_groups.shared(str(arguments.get("group") or joined))
    node = backend.node
    async with drained(node):
        await at_home(backend, lambda: _set_group(backend, group))
    if group is not None:
        group.configure(config)


async def _set_group(backend: BlockBackend, group: ThrottleGroup | None) -> None:
    if (backend.throttle.group if backend.throttle is not None else None) is not group:
        backend.set_throttle_group(group)


def _limited_device(graph: BlockGraph, arguments: Mapping[str, Any]) -> BlockBackend:
    id, device = arguments.get("id"), arguments.get("device")
    if (id is None) == (device is None):
        raise ControlError("Need exactly one of 'device' and 'id'")
    backend = find_device(graph, str(id if id is not None else device))
    if backend.root is None:
        raise ControlError("Device has no medium")
    return backend
