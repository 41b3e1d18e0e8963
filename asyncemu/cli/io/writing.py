# SPDX-License-Identifier: GPL-2.0-or-later
"""write, writev."""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from asyncemu.block.flags import FUA, MAY_UNMAP, NO_FALLBACK, WRITE_COMPRESSED
from asyncemu.cli.io.buffers import WRITTEN, filled, from_file, vector
from asyncemu.cli.io.command import BadUsage, CommandFailed, Invocation
from asyncemu.cli.io.failing import failing
from asyncemu.cli.io.numbers import MAX_REQUEST, number_of_bytes, pattern_byte, sector_aligned, vector_lengths
from asyncemu.cli.io.results import print_report
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.cli.io.exerciser import Exerciser


async def write(exerciser: Exerciser, line: Invocation) -> None:
    """One buffer, or zeroes without one; to the disk or to the VM state."""
    flags: set[str] = set()
    pattern, path = WRITTEN, ""
    for letter, argument in line.options("bcCfnpP:qs:uz"):
        flags.add(letter)
        if letter == "P":
            pattern = pattern_byte(argument)
        elif letter == "s":
            path = argument
    if len(line.rest) != 2:
        raise BadUsage
    _check_flags(flags)
    offset, length = number_of_bytes(line.rest[0]), number_of_bytes(line.rest[1])
    if length > MAX_REQUEST and "n" not in flags:
        raise CommandFailed(f"length cannot exceed {MAX_REQUEST} without -n, given {line.rest[1]}")
    if flags & {"b", "c"}:
        sector_aligned("offset", offset)
        sector_aligned("count", length)
    data = Buffers()
    if "z" not in flags:
        misaligned = exerciser.misaligned
        view = await from_file(length, path, misaligned) if "s" in flags else filled(length, pattern, misaligned)
        data = Buffers.of(view)
    began = monotonic_ns()
    with failing("write"):
        await _write(exerciser, flags, offset, length, data)
    if "q" not in flags:
        took = monotonic_ns() - began
        print_report("wrote", offset, length, took, total=length, machine_readable="C" in flags)


async def _write(exerciser: Exerciser, flags: set[str], offset: int, length: int, data: Buffers) -> None:
    disk = exerciser.disk
    if "b" in flags:
        from asyncemu.cli.io.vm_state import save_vm_state

        await save_vm_state(exerciser.backend.node, offset, data)
        if exerciser.image.write_flags & FUA:
            await exerciser.backend.flush()
    elif "z" in flags:
        await disk.write_zeroes(offset, length, zero_flags(flags))
    elif "c" in flags:
        await disk.pwritev(offset, data, WRITE_COMPRESSED)
    else:
        await disk.pwritev(offset, data, FUA if "f" in flags else 0)


def zero_flags(flags: set[str]) -> int:
    """Request flags of a zero write with these letters."""
    wanted = {"f": FUA, "n": NO_FALLBACK, "u": MAY_UNMAP}
    return sum(wanted[letter] for letter in flags & wanted.keys())


def _check_flags(flags: set[str]) -> None:
    if flags >= {"b", "z"}:
        raise CommandFailed("-b and -z cannot be specified at the same time")
    if "f" in flags and flags & {"b", "c"}:
        raise CommandFailed("-f and -b or -c cannot be specified at the same time")
    if "z" not in flags:
        for letter in "nu":
            if letter in flags:
                raise CommandFailed(f"-{letter} requires -z to be specified")
    if len(flags & {"z", "P", "s"}) > 1:
        raise CommandFailed("Only one of -z, -P, and -s can be specified at the same time")


async def writev(exerciser: Exerciser, line: Invocation) -> None:
    """Several buffers in one request."""
    flags: set[str] = set()
    pattern = WRITTEN
    for letter, argument in line.options("CfqP:"):
        flags.add(letter)
        if letter == "P":
            pattern = pattern_byte(argument)
    if len(line.rest) < 2:
        raise BadUsage
    offset, lengths = number_of_bytes(line.rest[0]), vector_lengths(line.rest[1:])
    length = sum(lengths)
    data = vector(filled(length, pattern, exerciser.misaligned), lengths)
    began = monotonic_ns()
    with failing("writev"):
        await exerciser.disk.pwritev(offset, data, FUA if "f" in flags else 0)
    if "q" not in flags:
        took = monotonic_ns() - began
        print_report("wrote", offset, length, took, total=length, machine_readable="C" in flags)
