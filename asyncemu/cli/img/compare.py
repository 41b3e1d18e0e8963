# SPDX-License-Identifier: GPL-2.0-or-later
"""``img compare``: do two images have the same contents?

Exit status: 0 yes, 1 no, 2 an image can't be opened, 3 or 4 metadata or data can't be read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from asyncemu.block.flags import STATUS_ALLOCATED, STATUS_DATA, STATUS_ZERO
from asyncemu.block.types import BlockStatus
from asyncemu.cli.img.options import FORCE_SHARE, HELP, IMAGE_OPTS, OBJECT, Arguments, cache_mode
from asyncemu.cli.img.program import usage_error
from asyncemu.cli.img.sectors import first_difference, first_nonzero
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.opening import Image, ImageArgument, open_image
from asyncemu.cli.tools.progress import ProgressLine
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.errors import BlockError

SHORT: Final = ":hf:F:T:pqsU"
LONG: Final = {**HELP, **OBJECT, **IMAGE_OPTS, **FORCE_SHARE}

#: Bytes of one read.
PIECE: Final = 2 << 20


class Mismatch(Exception):
    """They differ; ``str`` says where."""


def command(argv: Sequence[str]) -> int:
    """Compare them; the exit status."""
    arguments = Arguments(argv, SHORT, LONG)
    given = dict(arguments)
    names = arguments.rest
    try:
        cache = cache_mode(given.get("T", "writeback"), "source cache")
    except ToolError as error:
        raise ToolError(*error.messages, status=2) from error
    if len(names) != 2:
        raise usage_error("Expecting two image file names")
    formats = (given.get("f"), given.get("F"))
    image_arguments = [
        ImageArgument(name, form, image_opts="image-opts" in given, cache=cache, force_share="U" in given)
        for name, form in zip(names, formats, strict=True)
    ]
    quiet, strict = "q" in given, "s" in given

    async def main(session: ToolSession) -> int:
        with ProgressLine("p" in given and not quiet, 2.0) as progress:
            try:
                images = [await open_image(session, each) for each in image_arguments]
            except ToolError as error:
                raise ToolError(*error.messages, status=2, hint=error.hint) from error
            try:
                await _Comparison(images[0], images[1], progress, quiet=quiet).run(strict)
            except Mismatch as mismatch:
                _say(quiet, str(mismatch))
                return 1
            _say(quiet, "Images are identical.")
            return 0

    return run_tool(main, arguments.objects)


class _Comparison:
    def __init__(self, first: Image, second: Image, progress: ProgressLine, *, quiet: bool) -> None:
        self._images = first, second
        self._progress = progress
        self._quiet = quiet
        self._buffers = memoryview(bytearray(PIECE)), memoryview(bytearray(PIECE))

    async def run(self, strict: bool) -> None:
        """Mismatch or ToolError when they are not equal."""
        first, second = self._images
        sizes = first.size, second.size
        common, total = min(sizes), max(sizes)
        self._progress.report(0)
        if strict and sizes[0] != sizes[1]:
            raise Mismatch("Strict mode: Image size mismatch!")
        offset = 0
        while offset < common:
            offset += await self._compare_at(offset, common - offset, strict)
            self._progress.of(offset, total)
        if sizes[0] != sizes[1]:
            _say(self._quiet, "Warning: Image size mismatch!")
            await self._expect_zeroes(first if sizes[0] > sizes[1] else second, offset)

    async def _compare_at(self, offset: int, length: int, strict: bool) -> int:
        """Bytes that were compared."""
        first, second = self._images
        one, other = await self._status(first, offset, length), await self._status(second, offset, length)
        length = min(one.length, other.length, length)
        if strict and one.flags & _COMPARED != other.flags & _COMPARED:
            raise Mismatch(f"Strict mode: Offset {offset} block status mismatch!")
        if one.flags & other.flags & STATUS_ZERO:
            return length
        one_has, other_has = one.flags & STATUS_ALLOCATED, other.flags & STATUS_ALLOCATED
        if not one_has and not other_has:
            return length
        length = min(length, PIECE)
        if one_has and other_has:
            views = self._buffers[0][:length], self._buffers[1][:length]
            await self._read(first, offset, views[0])
            await self._read(second, offset, views[1])
            at = first_difference(*views)
        else:
            view = self._buffers[0][:length]
            await self._read(first if one_has else second, offset, view)
            at = first_nonzero(view)
        if at is not None:
            raise Mismatch(f"Content mismatch at offset {offset + at}!")
        return length

    async def _expect_zeroes(self, image: Image, offset: int) -> None:
        """The rest of the larger one."""
        total = image.size
        while offset < total:
            status = await self._status(image, offset, total - offset)
            length = status.length
            if status.flags & STATUS_ALLOCATED and not status.flags & STATUS_ZERO:
                length = min(length, PIECE)
                view = self._buffers[0][:length]
                await self._read(image, offset, view)
                at = first_nonzero(view)
                if at is not None:
                    raise Mismatch(f"Content mismatch at offset {offset + at}!")
            offset += length
            self._progress.of(offset, total)

    async def _status(self, image: Image, offset: int, length: int) -> BlockStatus:
        try:
            return await image.block_status(offset, length)
        except BlockError as error:
            raise ToolError(f"Sector allocation test failed for {image.text}", status=3) from error

    async def _read(self, image: Image, offset: int, view: memoryview) -> None:
        try:
            await image.read(offset, view)
        except BlockError as error:
            reason = os.strerror(error.errno)
            raise ToolError(f"Error while reading offset {offset} of {image.text}: {reason}", status=4) from error


#: What strict mode wants to be equal.
_COMPARED: Final = STATUS_DATA | STATUS_ZERO | STATUS_ALLOCATED


def _say(quiet: bool, line: str) -> None:
    if not quiet:
        sys.stdout.write(line + "\n")
