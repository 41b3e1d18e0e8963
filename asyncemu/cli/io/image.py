# SPDX-License-Identifier: GPL-2.0-or-later
"""open, close, info, length, truncate, flush."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from asyncemu.block.types import Preallocation
from asyncemu.cli.io.command import BadUsage, CommandFailed, Invocation
from asyncemu.cli.io.numbers import number_of_bytes
from asyncemu.cli.io.results import size_text
from asyncemu.cli.tools.failure import ToolError
from asyncemu.errors import AsyncemuError, BlockError

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode
    from asyncemu.cli.io.exerciser import Exerciser

_PREALLOCATIONS: Final = ("off", "metadata", "falloc", "full")


async def open_image(exerciser: Exerciser, line: Invocation) -> None:
    """Take another image."""
    from asyncemu.cli.io.opening import LETTERS, OpenOptions, Target, add_options, open_target

    options = OpenOptions()
    for letter, argument in line.options(LETTERS + "o:"):
        if not options.take(letter, argument):
            options.text = add_options(options.text, argument)
    if len(line.rest) > 1:
        raise BadUsage
    if exerciser.is_open:
        raise ToolError("file open already, try 'help close'")
    target = Target(line.rest[0] if line.rest else None)
    exerciser.take(await open_target(exerciser.session, target, options))


async def close_image(exerciser: Exerciser, line: Invocation) -> None:
    """Close it."""
    await exerciser.close_image()


async def info(exerciser: Exerciser, line: Invocation) -> None:
    """What the driver knows of it."""
    node = exerciser.backend.node
    driver = node.driver
    print(f"format name: {driver.name}")
    if not driver.is_format:
        # QEMU's name of the protocol: of its three drivers called nbd it finds that of the Unix socket.
        print(f"format name: {'nbd+unix' if driver.name == 'nbd' else driver.name}")
    if not _tells_of_itself(node):
        raise CommandFailed
    found = await driver.image_info()
    print(f"cluster size: {size_text(found.cluster_size)}")
    print(f"vm state offset: {size_text(found.vm_state_offset)}")
    if found.format_specific is not None:
        from asyncemu.block.image_text import table_lines

        data = cast("Mapping[str, Any]", found.format_specific["data"])
        print("Format specific information:", *table_lines(data, 1), sep="\n")


def _tells_of_itself(node: BlockNode) -> bool:
    """Has its driver, or that of what it passes on, anything to say? QEMU: drivers with bdrv_co_get_info."""
    below = node.filtered
    if below is None and node.driver.name == "raw":
        below = node.primary_child
    if below is not None:
        return _tells_of_itself(below.node)
    return node.driver.is_format or node.driver.name in ("file", "host_device")


async def length(exerciser: Exerciser, line: Invocation) -> None:
    """Its size."""
    print(size_text(exerciser.disk.size))


async def truncate(exerciser: Exerciser, line: Invocation) -> None:
    """Another size."""
    preallocation = "off"
    for _, argument in line.options("m:"):
        if argument not in _PREALLOCATIONS:
            raise ToolError(f"Invalid preallocation mode '{argument}'")
        preallocation = argument
    if not line.rest:
        raise BadUsage
    size = number_of_bytes(line.rest[0])
    try:
        await exerciser.backend.truncate(size, preallocation=cast(Preallocation, preallocation))
    except BlockError as error:
        if error.errno == errno.ENOTSUP and not exerciser.backend.node.driver.defines("truncate"):
            raise ToolError("Image format driver does not support resize") from error
        raise


async def flush(exerciser: Exerciser, line: Invocation) -> None:
    """All that was written is to survive a crash of the host."""
    try:
        await exerciser.backend.flush()
    except (AsyncemuError, OSError) as error:
        # qemu-io says nothing; the exit status does.
        raise CommandFailed from error
