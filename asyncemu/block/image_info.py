# SPDX-License-Identifier: GPL-2.0-or-later
"""What an image is, as QMP and ``img info`` tell it. QEMU: bdrv_query_image_info."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncemu.block.filenames import backing_name_beside

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode
    from asyncemu.block.types import SnapshotInfo


async def image_info(node: BlockNode, filename: str, size: int) -> dict[str, Any]:
    """QMP's ImageInfo of the image ``node``, which is called ``filename`` and has ``size`` bytes. At its home."""
    driver = node.driver
    about = await driver.image_info()
    info: dict[str, Any] = {"filename": filename, "format": driver.name, "virtual-size": size}
    try:
        info["actual-size"] = await driver.allocated_size()
    except OSError:
        pass  # a protocol that does not know
    if about.encrypted:
        info["encrypted"] = True
    if about.cluster_size:
        info["cluster-size"] = about.cluster_size
    if _tells_of_itself(node):
        info["dirty-flag"] = about.dirty
    if about.format_specific is not None:
        info["format-specific"] = about.format_specific
    if driver.backing_file:
        info["backing-filename"] = driver.backing_file
        full = backing_name_beside(filename, driver.backing_file)
        if full is not None:
            info["full-backing-filename"] = full
        if driver.backing_format:
            info["backing-filename-format"] = driver.backing_format
    if driver.defines("snapshot_list"):
        snapshots = await driver.snapshot_list()
        if snapshots:
            info["snapshots"] = [snapshot_table(each) for each in snapshots]
    return info


def _tells_of_itself(node: BlockNode) -> bool:
    """Has the driver, or below a raw image that of its file, anything to say? QEMU: bdrv_get_info."""
    while node.driver.name == "raw" and (file := node.primary_child) is not None:
        node = file.node
    return node.driver.is_format or node.driver.name in ("file", "host_device")


def snapshot_table(snapshot: SnapshotInfo) -> dict[str, Any]:
    """QMP's SnapshotInfo."""
    info = {
        "id": snapshot.id,
        "name": snapshot.name,
        "vm-state-size": snapshot.vm_state_size,
        "date-sec": snapshot.date_seconds,
        "date-nsec": snapshot.date_nanoseconds,
        "vm-clock-sec": snapshot.vm_clock_ns // 1_000_000_000,
        "vm-clock-nsec": snapshot.vm_clock_ns % 1_000_000_000,
    }
    if snapshot.icount >= 0:
        info["icount"] = snapshot.icount
    return info
