# SPDX-License-Identifier: GPL-2.0-or-later
"""read, readv."""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from asyncemu.cli.io.buffers import allocate, consists_of, vector
from asyncemu.cli.io.command import BadUsage, CommandFailed, Invocation
from asyncemu.cli.io.failing import failing
from asyncemu.cli.io.numbers import number_of_bytes, pattern_byte, request_length, sector_aligned, vector_lengths
from asyncemu.cli.io.results import dump, print_report
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.cli.io.exerciser import Exerciser


async def read(exerciser: Exerciser, line: Invocation) -> None:
    """One buffer, from the disk or from the VM state."""
    flags: set[str] = set()
    pattern: int | None = None
    pattern_offset, pattern_length = 0, None
    for letter, argument in line.options("bCl:pP:qs:v"):
        flags.add(letter)
        if letter == "P":
            pattern = pattern_byte(argument)
        elif letter == "s":
            pattern_offset = number_of_bytes(argument)
        elif letter == "l":
            pattern_length = number_of_bytes(argument)
    if len(line.rest) != 2:
        raise BadUsage
    offset, length = number_of_bytes(line.rest[0]), request_length(line.rest[1])
    if pattern is None and flags & {"l", "s"}:
        raise BadUsage
    if pattern_length is None:
        pattern_length = length - pattern_offset
    if pattern_length < 0 or pattern_offset + pattern_length > length:
        raise CommandFailed("pattern verification range exceeds end of read data")
    if "b" in flags:
        sector_aligned("offset", offset)
        sector_aligned("count", length)
    view = allocate(length, exerciser.misaligned)
    began = monotonic_ns()
    with failing("read"):
        if "b" in flags:
            from asyncemu.cli.io.vm_state import load_vm_state

            await load_vm_state(exerciser.backend.node, offset, Buffers.of(view))
        else:
            await exerciser.disk.preadv(offset, Buffers.of(view))
    took = monotonic_ns() - began
    verified = view[pattern_offset : pattern_offset + pattern_length]
    same = show_read(view, offset, took, flags, pattern, verified, offset + pattern_offset)
    if not same:
        raise CommandFailed


async def readv(exerciser: Exerciser, line: Invocation) -> None:
    """Several buffers in one request."""
    flags: set[str] = set()
    pattern: int | None = None
    for letter, argument in line.options("CP:qv"):
        flags.add(letter)
        if letter == "P":
            pattern = pattern_byte(argument)
    if len(line.rest) < 2:
        raise BadUsage
    offset, lengths = number_of_bytes(line.rest[0]), vector_lengths(line.rest[1:])
    view = allocate(sum(lengths), exerciser.misaligned)
    began = monotonic_ns()
    with failing("readv"):
        await exerciser.disk.preadv(offset, vector(view, lengths))
    if not show_read(view, offset, monotonic_ns() - began, flags, pattern, view, offset):
        raise CommandFailed


def show_read(
    view: memoryview,
    offset: int,
    took_ns: int,
    flags: set[str],
    pattern: int | None,
    verified: memoryview,
    verified_offset: int,
) -> bool:
    """Print what was read. Is ``verified``, a part of it, all ``pattern``?"""
    same = pattern is None or consists_of(verified, pattern)
    if not same:
        print(f"Pattern verification failed at offset {verified_offset}, {len(verified)} bytes")
    if "q" not in flags:
        if "v" in flags:
            dump(view, offset)
        print_report("read", offset, len(view), took_ns, total=len(view), machine_readable="C" in flags)
    return same
