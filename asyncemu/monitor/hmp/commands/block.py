# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks: resized, limited, kept as they are now."""

from __future__ import annotations

from typing import Annotated

from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.hmp.arguments import BlockName, FileName, Flag, Number, Size, Text
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import hmp_command


@hmp_command("block_resize", "device size", "resize a block image")
async def block_resize(session: Session, device: BlockName, size: Size) -> None:
    """QMP: block_resize; also of a node that no device has."""
    names = {"node-name": device} if device in session.machine.block.nodes else {"device": device}
    await session.qmp("block_resize", {**names, "size": size})


@hmp_command(
    "block_set_io_throttle",
    "device bps bps_rd bps_wr iops iops_rd iops_wr",
    "change I/O throttle limits for a block drive",
)
async def block_set_io_throttle(
    session: Session,
    device: BlockName,
    bps: Number,
    bps_rd: Number,
    bps_wr: Number,
    iops: Number,
    iops_rd: Number,
    iops_wr: Number,
) -> None:
    """QMP: block_set_io_throttle."""
    limits = {
        "bps": bps,
        "bps_rd": bps_rd,
        "bps_wr": bps_wr,
        "iops": iops,
        "iops_rd": iops_rd,
        "iops_wr": iops_wr,
    }
    await session.qmp("block_set_io_throttle", {"id": device, **limits})


@hmp_command(
    "snapshot_blkdev",
    "[-n] device [new-image-file] [format]",
    "initiates a live snapshot\n"
    "\t\t\tof device. If a new image file is specified, the\n"
    "\t\t\tnew image file will become the new root image.\n"
    "\t\t\tIf format is specified, the snapshot file will\n"
    "\t\t\tbe created in that format.\n"
    "\t\t\tThe default format is qcow2.  The -n flag requests QEMU\n"
    "\t\t\tto reuse the image found in new-image-file, instead of\n"
    "\t\t\trecreating it from scratch.",
)
async def snapshot_blkdev(
    session: Session,
    reuse: Annotated[bool, Flag("n")],
    device: BlockName,
    snapshot_file: FileName | None = None,
    format: Text | None = None,
) -> None:
    """QMP: blockdev-snapshot-sync."""
    if snapshot_file is None:
        raise QmpError("Parameter 'snapshot-file' is missing")
    await session.qmp(
        "blockdev-snapshot-sync",
        device=device,
        snapshot_file=snapshot_file,
        format=format,
        mode="existing" if reuse else "absolute-paths",
    )


@hmp_command(
    "snapshot_blkdev_internal",
    "device name",
    "take an internal snapshot of device.\n"
    "\t\t\tThe format of the image used by device must\n"
    "\t\t\tsupport it, such as qcow2.\n"
    "\t\t\t",
)
async def snapshot_blkdev_internal(session: Session, device: BlockName, name: Text) -> None:
    """QMP: blockdev-snapshot-internal-sync."""
    await session.qmp("blockdev-snapshot-internal-sync", device=device, name=name)


@hmp_command(
    "snapshot_delete_blkdev_internal",
    "device name [id]",
    "delete an internal snapshot of device.\n"
    "\t\t\tIf id is specified, qemu will try delete\n"
    "\t\t\tthe snapshot matching both id and name.\n"
    "\t\t\tThe format of the image used by device must\n"
    "\t\t\tsupport it, such as qcow2.\n"
    "\t\t\t",
)
async def snapshot_delete_blkdev_internal(
    session: Session, device: BlockName, name: Text, id: Text | None = None
) -> None:
    """QMP: blockdev-snapshot-delete-internal-sync."""
    await session.qmp("blockdev-snapshot-delete-internal-sync", device=device, name=name, id=id)
