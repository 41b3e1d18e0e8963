# SPDX-License-Identifier: GPL-2.0-or-later
"""From an argument of the command line to an open image: ``disk.qcow2``, ``nbd://host``, ``json:{...}``, --image-opts.

QEMU: img_open, blk_new_open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from asyncemu.block.backend import BlockBackend
from asyncemu.block.driver import BlockDriver
from asyncemu.block.flags import (
    FUA,
    PERM_ALL,
    PERM_CONSISTENT_READ,
    PERM_RESIZE,
    PERM_WRITE,
    PERM_WRITE_UNCHANGED,
    STATUS_ALLOCATED,
    STATUS_ZERO,
)
from asyncemu.block.node import BlockNode
from asyncemu.block.node_filename import node_filename
from asyncemu.block.open_mode import OpenMode
from asyncemu.block.types import BlockStatus
from asyncemu.cli.tools.cache_modes import WRITEBACK, CacheMode
from asyncemu.cli.tools.failure import ToolError, hint_of, in_qemus_words
from asyncemu.cli.tools.report import complain
from asyncemu.cli.tools.runner import ToolSession
from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.memory.buffers import Buffers
from asyncemu.plugins import find

#: Bytes.
SECTOR: Final = 512


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
    #: Nobody else may write meanwhile, whatever its format can live with.
    exclusive: bool = False
    mode: OpenMode = OpenMode()
    #: Further options of the node: ``{"discard": "unmap"}``.
    options: tuple[tuple[str, object], ...] = ()
    #: How its file is read and written; empty: as the driver likes.
    aio: str = ""


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
        """Its block node."""
        return self.backend.node

    @property
    def size(self) -> int:
        """Bytes, in whole sectors, as the tools show and copy it."""
        return -(-self.backend.size // SECTOR) * SECTOR

    @property
    def filename(self) -> str:
        """What it is called in output."""
        return node_filename(self.node)

    async def read(self, offset: int, view: memoryview) -> None:
        """Fill ``view``; what the last sector has beyond the end is zero. BlockError."""
        left = max(self.backend.size - offset, 0)
        if len(view) > left:
            view[left:] = bytes(len(view) - left)
            view = view[:left]
        if view:
            await self.backend.preadv(offset, Buffers((view,)))

    async def block_status(self, offset: int, length: int) -> BlockStatus:
        """What the whole chain says of the first of ``length`` bytes. BlockError."""
        left = self.backend.size - offset
        if left <= 0:
            return BlockStatus(STATUS_ZERO | STATUS_ALLOCATED, length)  # the rest of the last sector
        return await self.backend.block_status(offset, min(length, left))


async def open_image(session: ToolSession, argument: ImageArgument) -> Image:
    """Open it. Raises ToolError with QEMU's message; BadOptions (option_strings.py) of what is no options at all."""
    if argument.image_opts and argument.format is not None:
        raise ToolError("--image-opts and --format are mutually exclusive")
    if argument.image_opts:
        from asyncemu.cli.tools.option_strings import warn_of_short_forms

        warn_of_short_forms(argument.text, "file")
    try:
        node = await session.graph.add_table(image_table(argument), "image", argument.mode)
        if getattr(node.driver, "probed", False) and not node.read_only:
            warn_of_guess(node_filename(node))
        backend = BlockBackend("", session.context, *_permissions(argument))
        try:
            await backend.insert(node)
        except BaseException:
            # Another attempt may follow, as in io.
            await session.graph.remove(node)
            raise
    except (AsyncemuError, OSError) as error:
        problem = f"Could not open '{argument.text}': {in_qemus_words(error)}"
        raise ToolError(problem, hint=hint_of(error)) from error
    return Image(argument.text, backend, FUA if argument.cache.writethrough else 0)


def _permissions(argument: ImageArgument) -> tuple[int, int]:
    """What the tool does with it, and what it leaves to others. QEMU: blk_new_open."""
    permissions = 0
    if not argument.mode.no_io:
        permissions |= PERM_CONSISTENT_READ | (PERM_WRITE if argument.writable else 0)
    if argument.resizable:
        permissions |= PERM_RESIZE
    return permissions, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED if argument.exclusive else PERM_ALL


def warn_of_guess(filename: str) -> None:
    """Nobody said that the image is raw, and it can be written."""
    complain(
        f"WARNING: Image format was not specified for '{filename}' and probing guessed raw.\n"
        "         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be "
        "restricted.\n"
        "         Specify the 'raw' format explicitly to remove the restrictions."
    )


async def close_image(session: ToolSession, image: Image) -> None:
    """Close it and what only it has used. Raises what the last flush raises."""
    node = image.node
    await image.backend.remove()
    await session.graph.remove(node)


def image_table(argument: ImageArgument) -> dict[str, Any]:
    """The options of its block node, for BlockGraph.add_table."""
    from asyncemu.block import image_options

    if argument.image_opts:
        table = image_options.options_table(argument.text)
    else:
        table = image_options.image_table(argument.text, argument.format)
    cache = table.pop("cache", None)
    common: dict[str, object] = {
        "read-only": not argument.writable,
        "cache": {**argument.cache.table(), **(cache if isinstance(cache, Mapping) else {})},
    }
    if argument.force_share:
        common["force-share"] = True
    whole = {**common, **_merged(dict(argument.options), table)}
    if whole.get("driver") == "":
        raise ToolError("Unknown driver ''")
    if argument.aio:
        from asyncemu.cli.tools.node_modes import with_aio

        whole = with_aio(whole, argument.aio)
    return whole


def _merged(options: dict[str, object], table: dict[str, Any]) -> dict[str, Any]:
    """The options beside a name, and the table of what is called so. ToolError: both say which file it is."""
    of_file, named = options.get("file"), table.get("file")
    if not isinstance(of_file, Mapping) or not isinstance(named, Mapping):
        return {**options, **table}
    if "filename" in of_file:
        raise ToolError("Can't specify 'file' and 'filename' options at the same time")
    return {**options, **table, "file": {**named, **of_file}}


def driver_class(name: str) -> type[BlockDriver[Any]]:
    """The block driver that is called so. ToolError."""
    try:
        found = find("blockdev", name, "driver")
    except ConfigError as error:
        raise ToolError(f"Unknown driver '{name}'") from error
    assert issubclass(found, BlockDriver)
    return found
