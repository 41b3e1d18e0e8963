# SPDX-License-Identifier: GPL-2.0-or-later
"""The image that is offered: opened, with what the options put on top of it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from asyncemu.cli.tools.failure import ToolError, errno_of, hint_of, in_qemus_words
from asyncemu.cli.tools.opening import ImageArgument, open_image
from asyncemu.cli.tools.option_strings import BadOptions
from asyncemu.errors import AsyncemuError

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode
    from asyncemu.cli.nbd.settings import Settings
    from asyncemu.cli.tools.runner import ToolSession


async def open_exported(session: ToolSession, settings: Settings) -> BlockNode:
    """The node to be offered. Raises ToolError with qemu-nbd's message."""
    node = await _open(session, settings)
    if settings.offset:
        node = await _behind_offset(session, settings, node)
    if settings.load_snapshot is not None:
        await _load_snapshot(settings.load_snapshot, node)
    node.detect_zeroes = settings.detect_zeroes
    return node


async def _open(session: ToolSession, settings: Settings) -> BlockNode:
    (text,) = settings.rest
    if settings.image_opts and settings.format is not None:
        raise ToolError("--image-opts and -f are mutually exclusive")
    argument = ImageArgument(
        text,
        settings.format,
        image_opts=settings.image_opts,
        cache=settings.cache_mode,
        writable=not settings.read_only,
        aio=settings.aio or "",
        options=(("discard", settings.discard),) if settings.discard is not None else (),
    )
    try:
        if settings.snapshot:
            from asyncemu.cli.tools.temporary_overlay import open_overlay

            image = await open_overlay(session, argument)
        else:
            image = await open_image(session, argument)
    except BadOptions:
        raise
    except (AsyncemuError, OSError) as error:
        cause = error.__cause__ if isinstance(error, ToolError) and error.__cause__ is not None else error
        problem = f"Failed to blk_new_open '{text}': {in_qemus_words(cause)}"
        raise ToolError(problem, hint=hint_of(cause)) from error
    node = image.node
    # The export holds the node itself, with what clients may do.
    await image.backend.remove()
    return node


async def _behind_offset(session: ToolSession, settings: Settings, node: BlockNode) -> BlockNode:
    if settings.offset >= 1 << 63:
        raise ToolError(
            "Parameter 'offset' expects a non-negative number below 2^64",
            hint="Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
            "and exabytes, respectively.",
        )
    table: dict[str, Any] = {
        "driver": "raw",
        "offset": settings.offset,
        "file": node.name,
        "read-only": node.read_only,
        "discard": settings.discard or "ignore",
    }
    try:
        return await session.graph.add_table(table, "offset")
    except (AsyncemuError, OSError) as error:
        raise ToolError(in_qemus_words(error)) from error


async def _load_snapshot(wanted: tuple[str, str] | str, node: BlockNode) -> None:
    driver = node.driver
    if not driver.defines("snapshot_load"):
        raise ToolError(
            f"Failed to load snapshot: Block format '{driver.name}' used by device '' does not support temporarily "
            "loading internal snapshots"
        )
    # A text that may be either is an id first.
    tries = [(wanted, ""), ("", wanted)] if isinstance(wanted, str) else [wanted]

    for identity, name in tries:
        if not identity and not name:
            continue
        try:
            await driver.snapshot_load(identity, name)
        except (AsyncemuError, OSError) as error:
            if errno_of(error) != errno.ENOENT:
                raise ToolError(f"Failed to load snapshot: {in_qemus_words(error)}") from error
        else:
            return
    raise ToolError("Failed to load snapshot: Can't find snapshot")
