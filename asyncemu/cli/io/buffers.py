# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory for requests: aligned to pages, as direct I/O wants it, or, with ``-m``, on purpose not."""

from __future__ import annotations

import mmap
import os
from typing import Final

from asyncemu.cli.io.command import CommandFailed
from asyncemu.cli.tools.report import complain
from asyncemu.memory.buffers import Buffers

#: What data are filled with when no pattern is asked for.
WRITTEN: Final = 0xCD

#: Bytes by which ``-m`` is off: enough to be aligned to nothing that a disk has as its block size.
_MISALIGNMENT: Final = 16

#: Bytes that are filled or compared at once.
_PIECE: Final = 1 << 20


def allocate(length: int, misaligned: bool) -> memoryview:
    """``length`` bytes of zeroes; the kernel gives memory for what is used of it only."""
    shift = _MISALIGNMENT if misaligned else 0
    # A mapping of nothing is an error.
    return memoryview(mmap.mmap(-1, max(length + shift, 1)))[shift : shift + length]


def filled(length: int, pattern: int, misaligned: bool) -> memoryview:
    """``length`` bytes of ``pattern``."""
    view = allocate(length, misaligned)
    if pattern:
        repeat(view, bytes((pattern,)))
    return view


async def from_file(length: int, path: str, misaligned: bool) -> memoryview:
    """``length`` bytes from the beginning of a file, over and over again when it is shorter.

    Requests of aio_read and aio_write may be under way: they go on meanwhile.
    """
    import aiofiles

    try:
        async with aiofiles.open(path, "rb") as file:
            start = await file.read(length)
    except OSError as error:
        complain(f"{path}: {os.strerror(error.errno or 0)}")
        raise CommandFailed from error
    if not start:
        complain(f"{path}: file is empty")
        raise CommandFailed
    view = allocate(length, misaligned)
    repeat(view, start)
    return view


def repeat(view: memoryview, start: bytes) -> None:
    """Fill ``view`` with ``start``, over and over again."""
    if not start:
        return
    piece = start * max(_PIECE // len(start), 1)
    for at in range(0, len(view), len(piece)):
        part = view[at : at + len(piece)]
        part[:] = piece[: len(part)]


def consists_of(view: memoryview, pattern: int) -> bool:
    """Are all bytes ``pattern``?"""
    piece = bytes((pattern,)) * min(_PIECE, len(view))
    return all(view[at : at + _PIECE] == piece[: len(view) - at] for at in range(0, len(view), _PIECE))


def vector(view: memoryview, lengths: list[int]) -> Buffers:
    """``view`` in parts of these lengths."""
    parts, at = [], 0
    for length in lengths:
        parts.append(view[at : at + length])
        at += length
    return Buffers.of(*parts)
