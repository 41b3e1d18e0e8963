# SPDX-License-Identifier: GPL-2.0-or-later
"""transaction: several snapshots at one moment, all or none.

Nothing is in flight in any disk from the first action to the last; when one fails, those before it are undone.
"""

from __future__ import annotations

import logging
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from asyncemu.block.control import internal_snapshots, overlays
from asyncemu.block.control.overlays import Undo
from asyncemu.errors import AsyncemuError
from asyncemu.machine import Machine
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.commands.block_snapshots import BlockdevSnapshot, BlockdevSnapshotInternal, BlockdevSnapshotSync
from asyncemu.monitor.errors import QmpError
from asyncemu.wire_model import WireModel

log: Final = logging.getLogger("asyncemu.monitor")

#: Of one transaction: far more than a machine has disks.
_MAX_ACTIONS: Final = 256


class Abort(WireModel):
    """Nothing."""


class AbortWrapper(WireModel):
    """Always fails: for tests."""

    type: Literal["abort"]
    data: Abort


class BlockdevSnapshotWrapper(WireModel):
    """See blockdev-snapshot."""

    type: Literal["blockdev-snapshot"]
    data: BlockdevSnapshot


class BlockdevSnapshotSyncWrapper(WireModel):
    """See blockdev-snapshot-sync."""

    type: Literal["blockdev-snapshot-sync"]
    data: BlockdevSnapshotSync


class BlockdevSnapshotInternalWrapper(WireModel):
    """See blockdev-snapshot-internal-sync."""

    type: Literal["blockdev-snapshot-internal-sync"]
    data: BlockdevSnapshotInternal


TransactionAction: TypeAlias = Annotated[
    AbortWrapper | BlockdevSnapshotWrapper | BlockdevSnapshotSyncWrapper | BlockdevSnapshotInternalWrapper,
    Field(discriminator="type"),
]


class TransactionProperties(WireModel):
    """QEMU: TransactionProperties. grouped: jobs of one transaction end together; there are none."""

    completion_mode: Literal["individual", "grouped"] = "individual"


class TransactionArguments(WireModel):
    """Of transaction."""

    actions: list[TransactionAction] = Field(max_length=_MAX_ACTIONS)
    properties: TransactionProperties | None = None


@command("transaction")
async def transaction(call: Call, arguments: TransactionArguments) -> None:
    """All of the actions, or none."""
    properties = arguments.properties or TransactionProperties()
    done: list[Undo] = []
    async with call.control.machine.block.drained():
        try:
            for action in arguments.actions:
                if properties.completion_mode == "grouped" and not isinstance(action, AbortWrapper):
                    problem = f"Action '{action.type}' does not support Transaction property completion-mode = grouped"
                    raise QmpError(problem)
                done.append(await _perform(call.control.machine, action))
        except BaseException:
            for undo in reversed(done):
                await _attempt(undo)
            raise


async def _perform(machine: Machine, action: TransactionAction) -> Undo:
    graph = machine.block
    match action:
        case BlockdevSnapshotWrapper():
            return await overlays.blockdev_snapshot(graph, action.data.node, action.data.overlay)
        case BlockdevSnapshotSyncWrapper():
            wanted = action.data
            return await overlays.blockdev_snapshot_sync(
                graph,
                wanted.device,
                wanted.node_name,
                wanted.snapshot_file,
                wanted.snapshot_node_name,
                wanted.format,
                wanted.mode,
            )
        case BlockdevSnapshotInternalWrapper():
            return await internal_snapshots.take(
                graph, action.data.device, action.data.name, machine.clocks.virtual.now()
            )
        case AbortWrapper():
            raise QmpError("Transaction aborted using Abort action")


async def _attempt(undo: Undo) -> None:
    try:
        await undo()
    except AsyncemuError as error:
        # The first error is the one to tell; the other actions are to be undone all the same.
        log.error("transaction: an action can't be undone: %s", error)
