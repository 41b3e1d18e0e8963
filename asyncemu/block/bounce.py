# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests that do not fit a driver's alignment, by way of a buffer of ours that does.

Reads take the whole blocks around what is wanted. Writes read the first and the last block when they are not filled,
change them and write them back; ``OverlapOrder`` keeps other writes out meanwhile. Both go in pieces of at most
``_PIECE`` bytes: the guest chooses the length, and may name the same page of RAM a thousand times.
"""

from __future__ import annotations

import mmap
from typing import Any, Final

from asyncemu.block.driver import BlockDriver
from asyncemu.block.iovec import aligned
from asyncemu.memory.buffers import Buffers

#: Bytes of one bounce buffer: large enough to be quick, small enough not to matter in memory. A multiple of all
#: alignments.
_PIECE: Final = 1 << 20

#: An untouched private mapping costs no memory (the kernel's zero page), is page-aligned, and can't be changed.
_ZEROES: Final = memoryview(mmap.mmap(-1, _PIECE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ))


def outer_blocks(driver: BlockDriver[Any], offset: int, length: int) -> tuple[int, int]:
    """Start and end of the whole blocks that cover the bytes."""
    alignment = driver.request_alignment
    return offset // alignment * alignment, -(-(offset + length) // alignment) * alignment


def inner_blocks(driver: BlockDriver[Any], offset: int, length: int) -> tuple[int, int]:
    """Start and end of the whole blocks within the bytes; start >= end when there is none."""
    alignment = driver.request_alignment
    return -(-offset // alignment) * alignment, (offset + length) // alignment * alignment


def fits(driver: BlockDriver[Any], offset: int, length: int, buffers: Buffers) -> bool:
    """Can the driver take the request as it is?"""
    alignment = driver.request_alignment
    if offset % alignment or length % alignment:
        return False
    return driver.memory_alignment == 1 or aligned(buffers, driver.memory_alignment, alignment)


def zeroes(driver: BlockDriver[Any], start: int, end: int) -> memoryview:
    """Zeroes to write at ``start``: up to ``end``, or to a block boundary before it."""
    alignment = driver.request_alignment
    if start % alignment:
        end = min(end, -(-start // alignment) * alignment)
    elif end - start > alignment:
        end = end // alignment * alignment
    return _ZEROES[: end - start]


async def read(driver: BlockDriver[Any], offset: int, buffers: Buffers) -> None:
    """Fill ``buffers`` from ``offset`` bytes on."""
    position, end = offset, offset + buffers.nbytes
    scratch = _scratch(driver, offset, end)
    while position < end:
        start, stop = _piece(driver, position, end)
        piece = scratch[: stop - start]
        await driver.preadv(start, Buffers([piece]))
        part, buffers = buffers.split(min(stop, end) - position)
        part.write(piece[position - start :])
        position = stop


async def write(driver: BlockDriver[Any], offset: int, buffers: Buffers) -> None:
    """Write ``buffers`` at ``offset`` bytes. The caller has the blocks to itself."""
    alignment = driver.request_alignment
    position, end = offset, offset + buffers.nbytes
    scratch = _scratch(driver, offset, end)
    while position < end:
        start, stop = _piece(driver, position, end)
        piece = scratch[: stop - start]
        last_block = stop - alignment
        if position > start:
            await driver.preadv(start, Buffers([piece[:alignment]]))
        if end < stop and not (position > start and last_block == start):
            await driver.preadv(last_block, Buffers([piece[-alignment:]]))
        part, buffers = buffers.split(min(stop, end) - position)
        copied = position - start
        for view in part:
            piece[copied : copied + len(view)] = view
            copied += len(view)
        await driver.pwritev(start, Buffers([piece]))
        position = stop


def _piece(driver: BlockDriver[Any], position: int, end: int) -> tuple[int, int]:
    start, stop = outer_blocks(driver, position, end - position)
    return start, min(stop, start + _PIECE)


def _scratch(driver: BlockDriver[Any], offset: int, end: int) -> memoryview:
    """Memory for the largest piece; page-aligned where the driver cares."""
    start, stop = outer_blocks(driver, offset, end - offset)
    length = min(stop - start, _PIECE)
    return memoryview(bytearray(length) if driver.memory_alignment == 1 or not length else mmap.mmap(-1, length))
