# SPDX-License-Identifier: GPL-2.0-or-later
"""discard, alloc, map: which bytes an image holds itself, and to let go of some."""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from asyncemu.cli.io.command import BadUsage, Invocation
from asyncemu.cli.io.failing import error_text, failing
from asyncemu.cli.io.numbers import number_of_bytes, request_length
from asyncemu.cli.io.results import print_report, size_text
from asyncemu.cli.tools.failure import ToolError
from asyncemu.errors import AsyncemuError

if TYPE_CHECKING:
    from asyncemu.cli.io.disk import Disk
    from asyncemu.cli.io.exerciser import Exerciser


async def discard(exerciser: Exerciser, line: Invocation) -> None:
    """The bytes are not needed any more."""
    flags = line.flags("Cq")
    if len(line.rest) != 2:
        raise BadUsage
    offset, length = number_of_bytes(line.rest[0]), request_length(line.rest[1])
    began = monotonic_ns()
    with failing("discard"):
        await exerciser.disk.discard(offset, length)
    if "q" not in flags:
        took = monotonic_ns() - began
        print_report("discard", offset, length, took, total=length, machine_readable="C" in flags)


async def alloc(exerciser: Exerciser, line: Invocation) -> None:
    """How many of so many bytes the image itself has."""
    start = offset = number_of_bytes(line.words[0])
    left = number_of_bytes(line.words[1]) if len(line.words) > 1 else 512
    disk = exerciser.disk
    asked = allocated = 0
    while left:
        with failing("is_allocated"):
            there, length = await disk.is_allocated(offset, left)
        if not length:
            break
        allocated += length if there else 0
        asked += length
        offset += length
        left -= length
    print(f"{allocated}/{asked} bytes allocated at offset {size_text(start)}")


async def show_map(exerciser: Exerciser, line: Invocation) -> None:
    """All of the image, in runs."""
    disk = exerciser.disk
    offset, size = 0, disk.size
    while offset < size:
        try:
            there, length = await _run(disk, offset, size - offset)
        except (AsyncemuError, OSError) as error:
            raise ToolError(f"Failed to get allocation status: {error_text(error)}") from error
        if not length:
            raise ToolError("Unexpected end of image")
        what = "    allocated" if there else "not allocated"
        at = f"{size_text(offset)} ({offset:#x})"
        print(f"{size_text(length)} ({length:#x}) bytes {what} at offset {at}")
        offset += length


async def _run(disk: Disk, offset: int, most: int) -> tuple[bool, int]:
    """Is the byte at ``offset`` allocated, and for how many bytes does that hold, ``most`` at most?"""
    there, total = await disk.is_allocated(offset, most)
    while 0 < total < most:
        also, length = await disk.is_allocated(offset + total, most - total)
        if also != there or not length:
            break
        total += length
    return there, total
