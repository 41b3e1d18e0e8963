# SPDX-License-Identifier: GPL-2.0-or-later
"""``img rebase``: another backing file for an image, whose contents stay the same (unless ``-u`` takes it on trust)."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from asyncemu.block.filenames import backing_name_beside
from asyncemu.block.node import BlockNode
from asyncemu.block.open_mode import OpenMode
from asyncemu.block.status import is_allocated, is_allocated_above
from asyncemu.cli.img.commit import find_backing
from asyncemu.cli.img.new_image import format_class
from asyncemu.cli.img.options import FORCE_SHARE, HELP, IMAGE_OPTS, OBJECT, Arguments, cache_mode
from asyncemu.cli.img.program import usage_error
from asyncemu.cli.img.sectors import differing_runs
from asyncemu.cli.tools.cache_modes import CacheMode
from asyncemu.cli.tools.failure import ToolError, errno_of
from asyncemu.cli.tools.opening import Image, ImageArgument, open_image
from asyncemu.cli.tools.progress import ProgressLine
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.errors import AsyncemuError, BlockError
from asyncemu.memory.buffers import Buffers

SHORT: Final = ":hf:F:b:upt:T:qU"
LONG: Final = {**HELP, **OBJECT, **IMAGE_OPTS, **FORCE_SHARE}

#: Bytes that are compared at once.
_PIECE: Final = 2 << 20


class Change(NamedTuple):
    """What the user wants."""

    #: The new backing file; empty: none; None: the old one stays.
    backing_file: str | None
    backing_format: str | None
    cache: CacheMode
    force_share: bool


def command(argv: Sequence[str]) -> int:
    """Do it; the exit status."""
    arguments = Arguments(argv, SHORT, LONG)
    given = dict(arguments)
    quiet, unsafe = "q" in given, "u" in given
    filename = arguments.one_image()
    if not unsafe and "b" not in given:
        raise usage_error("Must specify backing file (-b) or use unsafe mode (-u)")
    cache = cache_mode(given.get("t", "writeback"))
    change = Change(
        given.get("b"), given.get("F"), cache_mode(given.get("T", "writeback"), "source cache"), "U" in given
    )
    image_argument = ImageArgument(
        filename,
        given.get("f"),
        image_opts="image-opts" in given,
        cache=cache,
        writable=True,
        mode=OpenMode(open_backing=not unsafe),
    )

    async def main(session: ToolSession) -> int:
        with ProgressLine("p" in given and not quiet) as progress:
            progress.report(0)
            image = await open_image(session, image_argument)
            if change.backing_format is not None:
                format_class(change.backing_format, "Invalid format name: '{}'")
            if not unsafe:
                await _copy(session, image, change, progress)
            await _change(image, change)
            progress.report(1)
        return 0

    return run_tool(main, arguments.objects, copies=True)


async def _change(image: Image, change: Change) -> None:
    """Store the new names."""
    name = change.backing_file or ""
    failed = f"Could not change the backing file to '{name}': "
    driver = image.node.driver
    if not driver.defines("change_backing_file"):
        raise ToolError(failed + os.strerror(errno.ENOTSUP))
    if name and change.backing_format is None:
        raise ToolError(f"{failed}backing format must be specified")
    try:
        await driver.change_backing_file(name, change.backing_format or "" if name else "")
    except (AsyncemuError, OSError) as error:
        number = errno_of(error)
        if number == errno.ENOSPC:
            raise ToolError(f"{failed}No space left in the file header") from error
        raise ToolError(failed + os.strerror(number)) from error


async def _copy(session: ToolSession, image: Image, change: Change, progress: ProgressLine) -> None:
    """Copy into the image what would read differently with the new backing file."""
    new, kept = await _new_backing(session, image, change)
    await _Copying(image, image.node.backing.node if image.node.backing is not None else None, new, kept).run(progress)


async def _new_backing(session: ToolSession, image: Image, change: Change) -> tuple[BlockNode | None, BlockNode | None]:
    """The new one, and the same when it is in the chain already: layers from there on need no comparing."""
    name = change.backing_file
    if not name:
        return None, None
    full = backing_name_beside(image.filename, name)
    if full is None:
        raise ToolError(f"Could not resolve backing filename: Cannot use relative backing file names for '{name}'")
    in_chain = find_backing(image.node, full)
    if in_chain is not None:
        return in_chain, in_chain
    argument = ImageArgument(full, change.backing_format, cache=change.cache, force_share=change.force_share)
    try:
        opened = await open_image(session, argument)
    except ToolError as error:
        problem = error.messages[0].removeprefix(f"Could not open '{full}': ")
        raise ToolError(f"Could not open new backing file '{name}': {problem}", hint=error.hint) from error
    return opened.node, None


class _Copying:
    def __init__(self, image: Image, old: BlockNode | None, new: BlockNode | None, kept: BlockNode | None) -> None:
        self._image = image
        self._old = old
        self._new = new
        self._kept = kept
        self._buffers = memoryview(bytearray(_PIECE)), memoryview(bytearray(_PIECE))

    async def run(self, progress: ProgressLine) -> None:
        """ToolError."""
        size = self._image.backend.size
        # Of the pieces that are compared there may be more, as they may be shorter: progress is overrated then.
        step = 1 / -(-size // _PIECE) if size else 1
        offset = 0
        while offset < size:
            length = min(_PIECE, size - offset)
            differs, length = await self._may_differ(offset, length)
            if differs:
                length = await self._compare(offset, length)
                progress.advance(step)
            offset += length

    async def _may_differ(self, offset: int, length: int) -> tuple[bool, int]:
        """Is it read from below, and not from what stays there? For how many bytes that holds."""
        node, old = self._image.node, self._old
        try:
            allocated, length = await is_allocated(node, offset, length)
            if allocated or old is None:
                return False, length
            if self._kept is None or offset >= old.size:
                return True, length
            depth, length = await is_allocated_above(old, self._kept, offset, min(length, old.size - offset))
            return bool(depth), length
        except BlockError as error:
            raise ToolError(f"error while reading image metadata: {os.strerror(error.errno)}") from error

    async def _compare(self, offset: int, length: int) -> int:
        """Write what differs; bytes that were looked at."""
        old, new = self._old, self._new
        past_old = old is None or offset >= old.size
        if old is not None and not past_old:
            length = min(length, old.size - offset)
        if new is not None and offset < new.size:
            length = min(length, new.size - offset)
        one, other = self._buffers[0][:length], self._buffers[1][:length]
        await self._read(None if past_old else old, offset, one, "old")
        await self._read(new, offset, other, "new")
        at = offset
        for differs, run in differing_runs(one, other):
            if differs:
                await self._write(at, one[at - offset : at - offset + run], zeroes=past_old)
            at += run
        return length

    async def _read(self, node: BlockNode | None, offset: int, view: memoryview, which: str) -> None:
        try:
            if node is None:
                view[:] = bytes(len(view))
            else:
                await node.preadv(offset, Buffers((view,)))
        except BlockError as error:
            raise ToolError(f"error while reading from {which} backing file") from error

    async def _write(self, offset: int, view: memoryview, *, zeroes: bool) -> None:
        backend, flags = self._image.backend, self._image.write_flags
        try:
            if zeroes:
                await backend.write_zeroes(offset, len(view), flags)
            else:
                await backend.pwritev(offset, Buffers((view,)), flags)
        except BlockError as error:
            raise ToolError(f"Error while writing to COW image: {os.strerror(error.errno)}") from error
