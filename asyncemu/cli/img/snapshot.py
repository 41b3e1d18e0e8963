# SPDX-License-Identifier: GPL-2.0-or-later
"""``img snapshot``: list, take, apply and delete internal snapshots."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Sequence
from typing import Final

from asyncemu.block.image_info import snapshot_table
from asyncemu.block.image_text import snapshot_lines
from asyncemu.block.types import SnapshotInfo
from asyncemu.cli.img.options import FORCE_SHARE, HELP, IMAGE_OPTS, OBJECT, Arguments
from asyncemu.cli.img.program import usage_error
from asyncemu.cli.tools.failure import ToolError, errno_of, in_qemus_words
from asyncemu.cli.tools.opening import Image, ImageArgument, open_image, warn_of_guess
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.errors import AsyncemuError, ConfigError

SHORT: Final = ":la:c:d:hqU"
LONG: Final = {**HELP, **OBJECT, **IMAGE_OPTS, **FORCE_SHARE}

#: Bytes of a name; the rest is cut off. QEMU: sn_snapshot.name.
_LONGEST_NAME: Final = 255


def command(argv: Sequence[str]) -> int:
    """Do it; the exit status."""
    arguments = Arguments(argv, SHORT, LONG)
    given: dict[str, str] = {}
    action, name = "", ""
    for option, argument in arguments:
        if option in ("l", "a", "c", "d"):
            if action:
                raise usage_error("Cannot mix '-l', '-a', '-c', '-d'")
            action, name = option, argument
        given[option] = argument
    image_argument = ImageArgument(
        arguments.one_image(),
        image_opts="image-opts" in given,
        writable=action != "l",
        resizable=action == "a",
        force_share="U" in given,
    )

    async def main(session: ToolSession) -> int:
        image = await open_image(session, image_argument)
        match action:
            case "l":
                await _list(image)
            case "c":
                await _create(image, name)
            case "a":
                await _apply(image, name)
            case "d":
                await _delete(image, name)
        return 0

    return run_tool(main, arguments.objects)


async def _list(image: Image) -> None:
    driver = image.node.driver
    snapshots = await driver.snapshot_list() if driver.defines("snapshot_list") else ()
    if snapshots:
        lines = snapshot_lines([snapshot_table(each) for each in snapshots])
        sys.stdout.write("\n".join(["Snapshot list:", *lines]) + "\n")


async def _create(image: Image, name: str) -> None:
    driver = image.node.driver
    name = os.fsdecode(os.fsencode(name)[:_LONGEST_NAME])
    try:
        if not driver.defines("snapshot_create"):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        # Microseconds are what gettimeofday(2) has, and what others compare.
        nanoseconds -= nanoseconds % 1000
        await driver.snapshot_create(SnapshotInfo("", name, 0, seconds, nanoseconds, 0))
    except (AsyncemuError, OSError) as error:
        number = errno_of(error)
        raise ToolError(f"Could not create snapshot '{name}': {-number} ({os.strerror(number)})") from error


async def _apply(image: Image, name: str) -> None:
    driver = image.node.driver
    what = f"Could not apply snapshot '{name}': "
    if not driver.defines("snapshot_goto"):
        if getattr(driver, "probed", False):
            # QEMU's opens the image a second time here, to look for a driver below that has snapshots.
            warn_of_guess(image.filename)
        raise ToolError(f"{what}Block driver does not support snapshots")
    try:
        await driver.snapshot_goto(name)
    except ConfigError as error:
        raise ToolError(what + in_qemus_words(error)) from error
    except (AsyncemuError, OSError) as error:
        raise ToolError(f"{what}Failed to load snapshot: {os.strerror(errno_of(error))}") from error


async def _delete(image: Image, name: str) -> None:
    driver = image.node.driver
    what = f"Could not delete snapshot '{name}': "
    snapshots = await driver.snapshot_list() if driver.defines("snapshot_list") else ()
    # A name, or where there is none an id? QEMU looks for the name only.
    found = next((each for each in snapshots if each.name == name), None)
    if found is None:
        raise ToolError(f"{what}snapshot not found")
    try:
        await driver.snapshot_delete(found.id, name)
    except (AsyncemuError, OSError) as error:
        raise ToolError(what + in_qemus_words(error)) from error
