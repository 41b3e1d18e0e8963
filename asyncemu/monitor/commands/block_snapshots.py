# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of disks: images over others, and those inside of an image."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from asyncemu.block.control import internal_snapshots, overlays
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.commands.block_types import SnapshotInfo
from asyncemu.wire_model import WireModel


class BlockdevSnapshot(WireModel):
    """Of blockdev-snapshot."""

    node: str
    overlay: str


class BlockdevSnapshotSync(WireModel):
    """Of blockdev-snapshot-sync."""

    device: str | None = None
    node_name: str | None = None
    snapshot_file: str
    snapshot_node_name: str | None = None
    format: str | None = None
    #: existing: the image is there already.
    mode: Literal["existing", "absolute-paths"] | None = None


class BlockdevSnapshotInternal(WireModel):
    """Of blockdev-snapshot-internal-sync."""

    device: str
    name: str = Field(max_length=255)


class SnapshotDeleteArguments(WireModel):
    """Of blockdev-snapshot-delete-internal-sync."""

    device: str
    id: str | None = None
    name: str | None = None


class ChangeBackingFileArguments(WireModel):
    """Of change-backing-file."""

    device: str
    image_node_name: str
    backing_file: str


@command("blockdev-snapshot")
async def blockdev_snapshot(call: Call, arguments: BlockdevSnapshot) -> None:
    """Put a node over another, whose users write to it from now on."""
    await overlays.blockdev_snapshot(call.control.machine.block, arguments.node, arguments.overlay)


@command("blockdev-snapshot-sync")
async def blockdev_snapshot_sync(call: Call, arguments: BlockdevSnapshotSync) -> None:
    """Make an image, or take one, and put it over a disk."""
    await overlays.blockdev_snapshot_sync(
        call.control.machine.block,
        arguments.device,
        arguments.node_name,
        arguments.snapshot_file,
        arguments.snapshot_node_name,
        arguments.format,
        arguments.mode,
    )


@command("blockdev-snapshot-internal-sync")
async def blockdev_snapshot_internal_sync(call: Call, arguments: BlockdevSnapshotInternal) -> None:
    """Take a snapshot inside of an image."""
    machine = call.control.machine
    await internal_snapshots.take(machine.block, arguments.device, arguments.name, machine.clocks.virtual.now())


@command("blockdev-snapshot-delete-internal-sync")
async def blockdev_snapshot_delete_internal_sync(call: Call, arguments: SnapshotDeleteArguments) -> SnapshotInfo:
    """Delete a snapshot inside of an image."""
    found = await internal_snapshots.delete(call.control.machine.block, arguments.device, arguments.id, arguments.name)
    return SnapshotInfo.model_validate(found)


@command("change-backing-file")
async def change_backing_file(call: Call, arguments: ChangeBackingFileArguments) -> None:
    """Have an image say that its backing file is called otherwise."""
    await overlays.change_backing_file(
        call.control.machine.block, arguments.device, arguments.image_node_name, arguments.backing_file
    )
