# SPDX-License-Identifier: GPL-2.0-or-later
"""``img info``: what an image is, and the images behind it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from asyncemu.block.filenames import backing_name_beside
from asyncemu.block.node import BlockNode
from asyncemu.block.open_mode import OpenMode
from asyncemu.block.types import SnapshotInfo
from asyncemu.cli.img.options import (
    FORCE_SHARE,
    FORMAT,
    HELP,
    IMAGE_OPTS,
    OBJECT,
    OUTPUT,
    Arguments,
    output_is_json,
)
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.getopt_long import NO_ARGUMENT
from asyncemu.cli.tools.opening import Image, ImageArgument, close_image, open_image
from asyncemu.cli.tools.runner import ToolSession, run_tool

SHORT: Final = ":hf:U"
LONG: Final = {
    **HELP,
    **FORMAT,
    **OUTPUT,
    **OBJECT,
    **IMAGE_OPTS,
    **FORCE_SHARE,
    "backing-chain": (NO_ARGUMENT, "backing-chain"),
}

#: Metadata of this image only.
_MODE: Final = OpenMode(open_backing=False, no_io=True)


def command(argv: Sequence[str]) -> int:
    """Print it; the exit status."""
    arguments = Arguments(argv, SHORT, LONG)
    given = dict(arguments)
    argument = ImageArgument(
        arguments.one_image(),
        given.get("f"),
        image_opts="image-opts" in given,
        force_share="U" in given,
        mode=_MODE,
    )
    as_json = output_is_json(given.get("output", "human"))
    chain = "backing-chain" in given

    async def main(session: ToolSession) -> int:
        infos = await _collect(session, argument, chain)
        if as_json:
            from asyncemu.cli.tools.qemu_json import pretty

            sys.stdout.write(pretty(infos if chain else infos[0]) + "\n")
        else:
            from asyncemu.cli.img.image_text import image_text

            sys.stdout.write("\n".join(image_text(info) for info in infos))
        return 0

    return run_tool(main, arguments.objects)


async def _collect(session: ToolSession, argument: ImageArgument, chain: bool) -> list[dict[str, Any]]:
    """QMP's ImageInfo of the image, or of it and all behind it."""
    infos: list[dict[str, Any]] = []
    seen: set[str] = set()
    while True:
        if argument.text in seen:
            raise ToolError(f"Backing file '{argument.text}' creates an infinite loop.")
        seen.add(argument.text)
        image = await open_image(session, argument)
        info = await image_info(image)
        await close_image(session, image)
        infos.append(info)
        backing = info.get("full-backing-filename", info.get("backing-filename"))
        if not chain or backing is None:
            return infos
        argument = ImageArgument(
            backing, info.get("backing-filename-format"), force_share=argument.force_share, mode=_MODE
        )


async def image_info(image: Image) -> dict[str, Any]:
    """QMP's ImageInfo. QEMU: bdrv_query_image_info."""
    driver = image.node.driver
    about = await driver.image_info()
    filename = image.filename
    info: dict[str, Any] = {"filename": filename, "format": driver.name, "virtual-size": image.size}
    try:
        info["actual-size"] = await driver.allocated_size()
    except OSError:
        pass  # a protocol that does not know
    if about.encrypted:
        info["encrypted"] = True
    if about.cluster_size:
        info["cluster-size"] = about.cluster_size
    if _tells_of_itself(image.node):
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
