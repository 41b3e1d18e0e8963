# SPDX-License-Identifier: GPL-2.0-or-later
"""``img map``: where the bytes of an image are."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from asyncemu.block.flags import STATUS_ALLOCATED, STATUS_DATA, STATUS_OFFSET_VALID, STATUS_ZERO
from asyncemu.block.node import BlockNode
from asyncemu.block.node_filename import node_filename
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
from asyncemu.cli.tools.getopt_long import REQUIRED_ARGUMENT
from asyncemu.cli.tools.opening import Image, ImageArgument, open_image
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.cli.tools.sizes import size_argument
from asyncemu.errors import BlockError

SHORT: Final = ":f:s:l:hU"
LONG: Final = {
    **HELP,
    **FORMAT,
    **OUTPUT,
    **OBJECT,
    **IMAGE_OPTS,
    **FORCE_SHARE,
    "start-offset": (REQUIRED_ARGUMENT, "s"),
    "max-length": (REQUIRED_ARGUMENT, "l"),
}


class MapEntry(NamedTuple):
    """A range of bytes that are all in one way somewhere."""

    start: int
    length: int
    #: Of the layer in the backing chain that they are in; 0: the image itself.
    depth: int = 0
    #: That layer has them, and not only by having no backing file.
    present: bool = False
    zero: bool = False
    data: bool = False
    #: Where they are in the file named ``filename``; None: nowhere as they are.
    offset: int | None = None
    filename: str = ""

    def continued_by(self, following: MapEntry) -> bool:
        """Are the two one range?"""
        if not self.length or self[2:6] != following[2:6] or self.filename != following.filename:
            return False
        if self.offset is None or following.offset is None:
            return self.offset is following.offset
        return self.offset + self.length == following.offset


def command(argv: Sequence[str]) -> int:
    """Print it; the exit status."""
    arguments = Arguments(argv, SHORT, LONG)
    given: dict[str, str] = {}
    start, most = 0, None
    for option, argument in arguments:
        if option == "s":
            start = size_argument("start offset", argument)
        elif option == "l":
            most = size_argument("max length", argument)
        given[option] = argument
    image_argument = ImageArgument(
        arguments.one_image(), given.get("f"), image_opts="image-opts" in given, force_share="U" in given
    )
    as_json = output_is_json(given.get("output", "human"))

    async def main(session: ToolSession) -> int:
        image = await open_image(session, image_argument)
        end = image.size if most is None else min(start + most, image.size)
        async with aclosing(_entries(image, start, end)) as entries:
            await (_print_json if as_json else _print_text)(entries)
        return 0

    return run_tool(main, arguments.objects)


async def _print_json(entries: AsyncIterator[MapEntry]) -> None:
    before = "["
    async for each in entries:
        sys.stdout.write(f"{before}{_as_json(each)}")
        before = ",\n"
    sys.stdout.write("]\n")


async def _print_text(entries: AsyncIterator[MapEntry]) -> None:
    """Only what is data."""
    sys.stdout.write(f"{'Offset':<16}{'Length':<16}{'Mapped to':<16}File\n")
    async for each in entries:
        if each.data and each.offset is None:
            raise ToolError("File contains external, encrypted or compressed clusters.")
        if each.data and not each.zero:
            numbers = "".join(f"{_hexadecimal(number):<16}" for number in (each.start, each.length, each.offset or 0))
            sys.stdout.write(f"{numbers}{each.filename}\n")


async def _entries(image: Image, start: int, end: int) -> AsyncGenerator[MapEntry, None]:
    """Ranges that are as long as they can be; one of length 0 where there is nothing."""
    current = MapEntry(start, 0)
    while current.start + current.length < end:
        offset = current.start + current.length
        try:
            found = await _entry(image, offset, end - offset)
        except BlockError as error:
            raise ToolError(f"Could not read file metadata: {os.strerror(error.errno)}") from error
        if current.continued_by(found):
            current = current._replace(length=current.length + found.length)
            continue
        if current.length:
            yield current
        current = found
    yield current


async def _entry(image: Image, offset: int, length: int) -> MapEntry:
    """What the first layer that knows says."""
    size = image.backend.size
    if offset >= size:
        return MapEntry(offset, length, present=True, zero=True, offset=offset, filename=image.filename)
    node: BlockNode | None = image.node
    depth = 0
    length = min(length, size - offset)
    while node is not None:
        while (filtered := node.filtered) is not None and not node.driver.is_format:
            node = filtered.node
        status = await node.block_status(offset, length)
        length = status.length
        if status.flags & (STATUS_ZERO | STATUS_DATA):
            break
        backing = node.backing
        if backing is None or not length:
            return MapEntry(offset, length, depth)
        node = backing.node
        depth += 1
    flags = status.flags
    valid = bool(flags & STATUS_OFFSET_VALID)
    return MapEntry(
        offset,
        length,
        depth,
        present=bool(flags & STATUS_ALLOCATED),
        zero=bool(flags & STATUS_ZERO),
        data=bool(flags & STATUS_DATA),
        offset=status.map if valid else None,
        filename=node_filename(status.file) if valid and status.file is not None else "",
    )


def _as_json(entry: MapEntry) -> str:
    flags = ", ".join(
        f'"{name}": {"true" if value else "false"}'
        for name, value in (("present", entry.present), ("zero", entry.zero), ("data", entry.data))
    )
    offset = f', "offset": {entry.offset}' if entry.offset is not None else ""
    return f'{{ "start": {entry.start}, "length": {entry.length}, "depth": {entry.depth}, {flags}{offset}}}'


def _hexadecimal(number: int) -> str:
    """printf(3)'s %#x."""
    return f"{number:#x}" if number else "0"
