# SPDX-License-Identifier: GPL-2.0-or-later
"""From an argument of the command line to an open image: ``disk.qcow2``, ``nbd://host``, ``json:{...}``, --image-opts.

QEMU: img_open, blk_new_open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from asyncemu.block.backend import BlockBackend
from asyncemu.block.driver import BlockDriver
from asyncemu.block.flags import FUA, PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE
from asyncemu.block.node import BlockNode
from asyncemu.block.open_mode import OpenMode
from asyncemu.cli.tools.cache_modes import WRITEBACK, CacheMode
from asyncemu.cli.tools.failure import ToolError, in_qemus_words
from asyncemu.cli.tools.option_strings import nested, split_options
from asyncemu.cli.tools.runner import ToolSession
from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.plugins import find


class ImageArgument(NamedTuple):
    """An image as a command line names it."""

    #: A file name, a name with a protocol, ``json:...``; or options, with ``image_opts``.
    text: str
    #: ``-f``; None: a look at it tells.
    format: str | None = None
    image_opts: bool = False
    cache: CacheMode = WRITEBACK
    writable: bool = False
    #: The tool may change the size.
    resizable: bool = False
    #: ``-U``: others may write meanwhile.
    force_share: bool = False
    mode: OpenMode = OpenMode()
    #: Say nothing of a raw image whose format nobody named.
    quiet: bool = False
    #: Further options of the node: ``{"discard": "unmap"}``.
    options: tuple[tuple[str, object], ...] = ()


class Image:
    """An open image."""

    def __init__(self, text: str, backend: BlockBackend, write_flags: int) -> None:
        #: As on the command line.
        self.text = text
        self.backend = backend
        #: Flags of each write: FUA where the cache mode is writethrough.
        self.write_flags = write_flags

    @property
    def node(self) -> BlockNode:
        return self.backend.node


async def open_image(session: ToolSession, argument: ImageArgument) -> Image:
    """Open it. Raises ToolError with QEMU's message."""
    if argument.image_opts and argument.format is not None:
        raise ToolError("--image-opts and --format are mutually exclusive")
    try:
        node = await session.graph.add_table(image_table(argument), "image", argument.mode)
        permissions = PERM_CONSISTENT_READ
        if argument.writable:
            permissions |= PERM_WRITE
        if argument.resizable:
            permissions |= PERM_RESIZE
        backend = BlockBackend("", session.context, permissions, PERM_ALL)
        await backend.insert(node)
    except (AsyncemuError, OSError) as error:
        raise ToolError(f"Could not open '{argument.text}': {in_qemus_words(error)}") from error
    if argument.writable and not argument.quiet:
        _warn_of_guessed_raw(argument, node)
    return Image(argument.text, backend, FUA if argument.cache.writethrough else 0)


async def close_image(session: ToolSession, image: Image) -> None:
    """Close it and what only it has used. Raises what the last flush raises."""
    node = image.node
    await image.backend.remove()
    await session.graph.remove(node)


def image_table(argument: ImageArgument) -> dict[str, Any]:
    """The options of its block node, for BlockGraph.add_table."""
    table = _table_of_options(argument.text) if argument.image_opts else _table_of_name(argument)
    cache = table.pop("cache", None)
    common: dict[str, object] = {
        "read-only": not argument.writable,
        "cache": {**argument.cache.table(), **(cache if isinstance(cache, Mapping) else {})},
    }
    if argument.force_share:
        common["force-share"] = True
    return {**common, **dict(argument.options), **table}


def _table_of_options(text: str) -> dict[str, Any]:
    table = nested(split_options(text, implied_key="file"))
    if "driver" not in table and "file" not in table:
        raise ToolError("Must specify either driver or file")
    return table


def _table_of_name(argument: ImageArgument) -> dict[str, Any]:
    from asyncemu.block.probing import protocol_table

    below = protocol_table(argument.text)
    if argument.text.startswith("json:"):
        return below
    if argument.format is None:
        return {"file": below}
    if not _is_format(argument.format):
        return {**below, "driver": argument.format}
    return {"driver": argument.format, "file": below}


def _is_format(name: str) -> bool:
    """Is ``name`` a driver over a file? Raises ToolError when it is none at all."""
    return bool(driver_class(name).is_format)


def driver_class(name: str) -> type[BlockDriver[Any]]:
    """The block driver that is called so. ToolError."""
    try:
        found = find("blockdev", name, "driver")
    except ConfigError as error:
        raise ToolError(f"Unknown driver '{name}'") from error
    assert issubclass(found, BlockDriver)
    return found


def _warn_of_guessed_raw(argument: ImageArgument, node: BlockNode) -> None:
    """A guest may have written what looks like another format's header there."""
    named = argument.format is not None or argument.image_opts or argument.text.startswith("json:")
    if node.driver.name != "raw" or named:
        return
    from asyncemu.cli.tools.report import complain

    complain(f"WARNING: Image format was not specified for '{argument.text}' and probing guessed raw.")
    complain(
        "         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be "
        "restricted."
    )
    complain("         Specify the 'raw' format explicitly to remove the restrictions.")
