# SPDX-License-Identifier: GPL-2.0-or-later
"""aio_read, aio_write, aio_flush: requests that go on while other commands run.

The command has succeeded when the request has begun; how it ends is printed when it does.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from asyncemu.block.flags import FUA
from asyncemu.block.statistics import READ, WRITE
from asyncemu.cli.io.buffers import WRITTEN, allocate, filled, vector
from asyncemu.cli.io.command import BadUsage, CommandFailed, Invocation
from asyncemu.cli.io.failing import error_text
from asyncemu.cli.io.numbers import number_of_bytes, pattern_byte, vector_lengths
from asyncemu.cli.io.reading import show_read
from asyncemu.cli.io.results import print_report
from asyncemu.cli.io.writing import zero_flags
from asyncemu.errors import AsyncemuError
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.cli.io.disk import Disk
    from asyncemu.cli.io.exerciser import Exerciser


async def aio_read(exerciser: Exerciser, line: Invocation) -> None:
    """Several buffers in one request."""
    flags: set[str] = set()
    pattern: int | None = None
    for letter, argument in line.options("CP:iqv"):
        flags.add(letter)
        if letter == "P":
            pattern = pattern_byte(argument)
        elif letter == "i":
            exerciser.backend.statistics.invalid_operations[READ] += 1
            print("injecting invalid read request")
            return
    if len(line.rest) < 2:
        raise BadUsage
    offset, lengths = number_of_bytes(line.rest[0]), vector_lengths(line.rest[1:])
    view = allocate(sum(lengths), exerciser.misaligned)
    exerciser.begin(_read(exerciser.disk, offset, view, vector(view, lengths), flags, pattern))


async def _read(
    disk: Disk, offset: int, view: memoryview, buffers: Buffers, flags: set[str], pattern: int | None
) -> None:
    began = monotonic_ns()
    try:
        await disk.preadv(offset, buffers)
    except (AsyncemuError, OSError) as error:
        print(f"readv failed: {error_text(error)}")
        return
    show_read(view, offset, monotonic_ns() - began, flags, pattern, view, offset)


async def aio_write(exerciser: Exerciser, line: Invocation) -> None:
    """Several buffers in one request, or zeroes without any."""
    flags: set[str] = set()
    pattern = WRITTEN
    for letter, argument in line.options("CfiP:quz"):
        flags.add(letter)
        if letter == "P":
            pattern = pattern_byte(argument)
        elif letter == "i":
            exerciser.backend.statistics.invalid_operations[WRITE] += 1
            print("injecting invalid write request")
            return
    words = line.rest
    if len(words) < 2:
        raise BadUsage
    zeroes = "z" in flags
    if zeroes and len(words) != 2:
        raise CommandFailed("-z supports only a single length parameter")
    if "u" in flags and not zeroes:
        raise CommandFailed("-u requires -z to be specified")
    offset = number_of_bytes(words[0])
    if zeroes:
        exerciser.begin(_write(exerciser.disk, offset, number_of_bytes(words[1]), None, flags))
        return
    lengths = vector_lengths(words[1:])
    length = sum(lengths)
    data = vector(filled(length, pattern, exerciser.misaligned), lengths)
    exerciser.begin(_write(exerciser.disk, offset, length, data, flags))


async def _write(disk: Disk, offset: int, length: int, data: Buffers | None, flags: set[str]) -> None:
    """``data`` None: zeroes."""
    began = monotonic_ns()
    try:
        if data is None:
            await disk.write_zeroes(offset, length, zero_flags(flags))
        else:
            await disk.pwritev(offset, data, FUA if "f" in flags else 0)
    except (AsyncemuError, OSError) as error:
        print(f"aio_write failed: {error_text(error)}")
        return
    if "q" not in flags:
        took = monotonic_ns() - began
        print_report("wrote", offset, length, took, total=length, machine_readable="C" in flags)


async def aio_flush(exerciser: Exerciser, line: Invocation) -> None:
    """Wait for all that are under way."""
    await exerciser.wait_for_requests()
