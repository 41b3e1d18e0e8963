# SPDX-License-Identifier: GPL-2.0-or-later
"""Internal snapshots of an image, under I/O: taken and deleted. In the graph's home.

QEMU: blockdev-snapshot-internal-sync, blockdev-snapshot-delete-internal-sync. Errors are ControlError, in QEMU's words.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.control.errors import ControlError, explained
from asyncemu.block.control.lookup import find_top
from asyncemu.block.control.overlays import Undo
from asyncemu.block.drain import drained
from asyncemu.block.homes import at_home, to_end
from asyncemu.block.types import SnapshotInfo
from asyncemu.errors import AsyncemuError

if TYPE_CHECKING:
    from asyncemu.block.graph import BlockGraph
    from asyncemu.block.node import BlockNode

_SECOND: Final = 1_000_000_000


async def take(graph: BlockGraph, device: str, name: str, vm_clock_ns: int) -> Undo:
    """Take one of the disk alone, called ``name``, at guest time ``vm_clock_ns``; the result deletes it again."""
    node = find_top(graph, device)
    if not name:
        raise ControlError("Name is empty")
    if node.read_only:
        raise ControlError(f"Device '{device}' is read only")
    _check_format(node, device)
    try:
        # One after the other: two of one name would be one too many.
        async with graph.lock.writing():
            graph.check(node)
            if any(each.name == name for each in await at_home(node, lambda: _list(node))):
                raise ControlError(f"Snapshot with name '{name}' already exists on device '{device}'")
            seconds, nanoseconds = divmod(time.time_ns(), _SECOND)
            # As gettimeofday(2), which QEMU asks.
            wanted = SnapshotInfo("", name, 0, seconds, nanoseconds - nanoseconds % 1000, vm_clock_ns)
            async with drained(node):
                await to_end(at_home(node, lambda: node.driver.snapshot_create(wanted)))
    except ControlError:
        raise
    except (AsyncemuError, OSError) as error:
        problem = f"Failed to create snapshot '{name}' on device '{device}': {_reason(error)}"
        raise ControlError(problem) from error

    async def undo() -> None:
        await delete(graph, device, None, name)

    return undo


async def delete(graph: BlockGraph, device: str, id: str | None, name: str | None) -> dict[str, Any]:
    """Delete the one that has both, where they are given; QMP's SnapshotInfo of it."""
    node = find_top(graph, device)
    if id is None and name is None:
        raise ControlError("Name or id must be provided")
    _check_format(node, device)
    try:
        async with graph.lock.writing():
            graph.check(node)
            found = next(
                (
                    each
                    for each in await at_home(node, lambda: _list(node))
                    if (id is None or each.id == id) and (name is None or each.name == name)
                ),
                None,
            )
            if found is None:
                given = f"id '{id or 'null'}' and name '{name or 'null'}'"
                raise ControlError(f"Snapshot with {given} does not exist on device '{device}'")
            async with drained(node):
                await to_end(at_home(node, lambda: node.driver.snapshot_delete(found.id, found.name)))
    except (AsyncemuError, OSError) as error:
        raise explained(error) from error
    return _as_qmp(found)


def _check_format(node: BlockNode, device: str) -> None:
    if not node.driver.defines("snapshot_create"):
        used = f"Block format '{node.driver.name}' used by device '{device}'"
        raise ControlError(f"{used} does not support internal snapshots")


async def _list(node: BlockNode) -> list[SnapshotInfo]:
    return list(await node.driver.snapshot_list())


def _as_qmp(snapshot: SnapshotInfo) -> dict[str, Any]:
    clock_seconds, clock_nanoseconds = divmod(snapshot.vm_clock_ns, _SECOND)
    found = {
        "id": snapshot.id,
        "name": snapshot.name,
        "vm-state-size": snapshot.vm_state_size,
        "date-sec": snapshot.date_seconds,
        "date-nsec": snapshot.date_nanoseconds,
        "vm-clock-sec": clock_seconds,
        "vm-clock-nsec": clock_nanoseconds,
    }
    return found if snapshot.icount < 0 else {**found, "icount": snapshot.icount}


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(explained(error))
