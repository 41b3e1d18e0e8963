# SPDX-License-Identifier: GPL-2.0-or-later
"""``img commit``: write what an image has into an image behind it, and empty it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from asyncemu.block.backend import BlockBackend
from asyncemu.block.chain import backing_chain_next
from asyncemu.block.filenames import full_backing_filename
from asyncemu.block.flags import (
    MAY_UNMAP,
    PERM_ALL,
    PERM_CONSISTENT_READ,
    PERM_RESIZE,
    PERM_WRITE,
    STATUS_ALLOCATED,
    STATUS_ZERO,
)
from asyncemu.block.node import BlockNode
from asyncemu.block.reopen import reopen
from asyncemu.block.status import block_status_above
from asyncemu.cli.img.options import HELP, IMAGE_OPTS, OBJECT, Arguments, cache_mode
from asyncemu.cli.tools.failure import ToolError, errno_of, in_qemus_words
from asyncemu.cli.tools.opening import Image, ImageArgument, open_image
from asyncemu.cli.tools.progress import ProgressLine
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.cli.tools.sizes import size_argument
from asyncemu.coroutines import RateLimit
from asyncemu.errors import AsyncemuError, BlockError, ConfigError
from asyncemu.loop import Clock, ClockKind, MonotonicSource
from asyncemu.memory.buffers import Buffers

SHORT: Final = ":f:ht:b:dpqr:"
LONG: Final = {**HELP, **OBJECT, **IMAGE_OPTS}

#: Bytes of one read and write.
_PIECE: Final = 2 << 20


def command(argv: Sequence[str]) -> int:
    """Do it; the exit status."""
    arguments = Arguments(argv, SHORT, LONG)
    given: dict[str, str] = {}
    rate = 0
    for option, argument in arguments:
        if option == "r":
            rate = size_argument("rate limit", argument)
        given[option] = argument
    cache = cache_mode(given.get("t", "writeback"))
    image_argument = ImageArgument(
        arguments.one_image(),
        given.get("f"),
        image_opts="image-opts" in given,
        cache=cache,
        writable=True,
        options=(("discard", "unmap"),),
    )
    # An image between would not be empty for those over it.
    keeps_top = "d" in given or "b" in given
    quiet = "q" in given

    async def main(session: ToolSession) -> int:
        with ProgressLine("p" in given and not quiet) as progress:
            image = await open_image(session, image_argument)
            base = _base(image, given.get("b"))
            progress.report(0)
            await _commit(session, image, base, rate, progress)
            if not keeps_top:
                await _empty(image)
            progress.report(1)
        if not quiet:
            sys.stdout.write("Image committed.\n")
        return 0

    return run_tool(main, arguments.objects, copies=True)


def _base(image: Image, name: str | None) -> BlockNode:
    """The image to write to. ToolError."""
    if name is None:
        found = backing_chain_next(image.node)
        if found is None:
            raise ToolError("Image does not have a backing file")
        return found
    found = find_backing(image.node, name)
    if found is None:
        raise ToolError(f"Did not find '{name}' in the backing chain of '{image.text}'")
    return found


def find_backing(top: BlockNode, name: str) -> BlockNode | None:
    """The image below ``top`` that the one above it calls ``name``, or that is the file ``name``.

    QEMU: bdrv_find_backing_image.
    """
    node: BlockNode | None = top
    wanted = os.path.realpath(name)
    while node is not None:
        backing = backing_chain_next(node)
        if backing is not None and node.driver.backing_file:
            if node.driver.backing_file == name:
                return backing
            try:
                full = full_backing_filename(node, node.driver.backing_file)
            except ConfigError:
                full = ""
            if full and os.path.realpath(full) == wanted:
                return backing
        node = backing
    return None


async def _commit(session: ToolSession, image: Image, base: BlockNode, rate: int, progress: ProgressLine) -> None:
    try:
        await reopen(session.graph, {base: {"read-only": False, "discard": "unmap"}}, keep=True)
        target = BlockBackend("", session.context, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL)
        await target.insert(base)
    except (AsyncemuError, OSError) as error:
        raise ToolError(in_qemus_words(error)) from error
    try:
        if target.size < image.backend.size:
            await target.truncate(image.backend.size)
        await _copy(image, base, target, rate, progress)
        await target.flush()
    except BlockError as error:
        raise ToolError(os.strerror(error.errno)) from error
    finally:
        await target.remove()


async def _copy(image: Image, base: BlockNode, target: BlockBackend, rate: int, progress: ProgressLine) -> None:
    """All that is allocated above ``base``. BlockError."""
    limit, clock = RateLimit(), Clock(ClockKind.REALTIME, MonotonicSource())
    limit.set_speed(rate)
    buffer = memoryview(bytearray(_PIECE))
    size = image.backend.size
    offset = 0
    while offset < size:
        status, _ = await block_status_above(image.node, base, offset, size - offset)
        length = status.length
        if not status.flags & STATUS_ALLOCATED:
            pass
        elif status.flags & STATUS_ZERO:
            await target.write_zeroes(offset, length, MAY_UNMAP | image.write_flags)
        else:
            length = min(length, _PIECE)
            view = buffer[:length]
            await image.backend.preadv(offset, Buffers((view,)))
            await target.pwritev(offset, Buffers((view,)), image.write_flags)
            await limit.wait(length, clock)
        offset += length
        progress.of(offset, size)


async def _empty(image: Image) -> None:
    """What has been committed is read from behind it from now on."""
    driver = image.node.driver
    if not driver.defines("make_empty"):
        return
    try:
        await driver.make_empty()
        await image.backend.flush()
    except (AsyncemuError, OSError) as error:
        raise ToolError(f"Could not empty {image.text}: {os.strerror(errno_of(error))}") from error
