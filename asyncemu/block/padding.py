# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests that a driver does not take as they are: unaligned, in memory that it can't use, too long, too scattered.

Reads take the whole blocks around what is wanted. Writes read the first and the last block when they are not filled,
change them and write them back; the request is serialising meanwhile (tracked.py). Both go in pieces of at most
``_PIECE`` bytes: the guest chooses the length, and may name the same page of RAM a thousand times.
QEMU: bdrv_pad_request, bdrv_padding_rmw_read.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from asyncemu.block.limits import BlockLimits
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode

#: Bytes of one bounce buffer: large enough to be quick, small enough not to matter in memory. A multiple of all
#: alignments.
_PIECE: Final = 1 << 20

#: More views than any limit that is none.
_MANY: Final = 1 << 30

#: An untouched private mapping costs no memory (the kernel's zero page), is page-aligned, and can't be changed.
_ZEROES: Final = memoryview(mmap.mmap(-1, _PIECE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ))


def outer_blocks(alignment: int, offset: int, length: int) -> tuple[int, int]:
    """Start and end of the whole blocks that cover the bytes."""
    return offset // alignment * alignment, -(-(offset + length) // alignment) * alignment


def inner_blocks(alignment: int, offset: int, length: int) -> tuple[int, int]:
    """Start and end of the whole blocks within the bytes; start >= end when there is none."""
    return -(-offset // alignment) * alignment, (offset + length) // alignment * alignment


def fits(limits: BlockLimits, offset: int, length: int, buffers: Buffers) -> bool:
    """Can the driver take the request as it is?"""
    alignment = limits.request_alignment
    if offset % alignment or length % alignment:
        return False
    if (limits.max_transfer and length > limits.max_transfer) or (limits.max_iov and len(buffers) > limits.max_iov):
        return False
    return limits.memory_alignment == 1 or _aligned(buffers, limits)


def _aligned(buffers: Buffers, limits: BlockLimits) -> bool:
    # Only direct I/O minds; others do without ctypes, which takes milliseconds to import.
    from asyncemu.block.iovec import aligned

    return aligned(buffers, limits.memory_alignment, limits.request_alignment)


def zeroes(limits: BlockLimits, start: int, end: int) -> memoryview:
    """Zeroes to write at ``start``: up to ``end``, or to a block boundary before it."""
    alignment = limits.request_alignment
    if start % alignment:
        end = min(end, -(-start // alignment) * alignment)
    elif end - start > alignment:
        end = end // alignment * alignment
    return _ZEROES[: end - start]


async def read(node: BlockNode, offset: int, buffers: Buffers) -> None:
    """Fill ``buffers`` from ``offset`` bytes on, within the node's last block."""
    limits = node.limits
    if _only_long(limits, offset, buffers):
        for start, part in _split(limits, offset, buffers):
            await node.driver.preadv(start, part)
        return
    position, end = offset, offset + buffers.nbytes
    scratch = _scratch(limits, offset, end)
    while position < end:
        start, stop = _piece(limits, position, end)
        piece = scratch[: stop - start]
        await node.driver.preadv(start, Buffers([piece]))
        part, buffers = buffers.split(min(stop, end) - position)
        part.write(piece[position - start :])
        position = stop


async def write(node: BlockNode, offset: int, buffers: Buffers, flags: int) -> None:
    """Write ``buffers`` at ``offset`` bytes. The caller has the blocks to itself."""
    limits = node.limits
    if _only_long(limits, offset, buffers):
        for start, part in _split(limits, offset, buffers):
            await node.driver_pwritev(start, part, flags)
        return
    position, end = offset, offset + buffers.nbytes
    scratch = _scratch(limits, offset, end)
    while position < end:
        start, stop = _piece(limits, position, end)
        piece = scratch[: stop - start]
        await _read_edges(node, start, piece, position > start, end < stop)
        part, buffers = buffers.split(min(stop, end) - position)
        copied = position - start
        for view in part:
            piece[copied : copied + len(view)] = view
            copied += len(view)
        if node.debugged:
            await node.own_debug_event("pwritev")
        await node.driver_pwritev(start, Buffers([piece]), flags)
        if node.debugged:
            await node.own_debug_event("pwritev_done")
        position = stop


async def _read_edges(node: BlockNode, start: int, piece: memoryview, head: bool, tail: bool) -> None:
    """Read what is there of the first block, for ``head``, and the last, for ``tail``. QEMU: bdrv_padding_rmw_read."""
    alignment = node.limits.request_alignment
    if head and tail and len(piece) <= 2 * alignment:
        # Both in one read.
        await _read_edge(node, start, piece, "head", "tail")
        return
    if head:
        await _read_edge(node, start, piece[:alignment], "head")
    if tail:
        await _read_edge(node, start + len(piece) - alignment, piece[-alignment:], "tail")


async def _read_edge(node: BlockNode, offset: int, block: memoryview, *edges: str) -> None:
    for edge in edges if node.debugged else ():
        await node.own_debug_event(f"pwritev_rmw_{edge}")
    # A driver is asked for what there is; behind that, where the write makes it longer, are zeroes.
    end = outer_blocks(node.limits.request_alignment, 0, node.size)[1]
    inside = min(max(end - offset, 0), len(block))
    if inside:
        await node.driver.preadv(offset, Buffers([block[:inside]]))
    block[inside:] = bytes(len(block) - inside)
    for edge in edges if node.debugged else ():
        await node.own_debug_event(f"pwritev_rmw_after_{edge}")


def _only_long(limits: BlockLimits, offset: int, buffers: Buffers) -> bool:
    """Is it only too long or too scattered, so that parts of it go as they are?"""
    alignment = limits.request_alignment
    if offset % alignment:
        return False
    if alignment == 1 and limits.memory_alignment == 1:
        return True
    return _aligned(buffers, limits)


def _split(limits: BlockLimits, offset: int, buffers: Buffers) -> Iterator[tuple[int, Buffers]]:
    max_transfer = (limits.max_transfer or 1 << 62) // limits.request_alignment * limits.request_alignment
    while buffers:
        part = buffers.head(max_transfer, limits.max_iov or _MANY)
        yield offset, part
        length = part.nbytes
        offset += length
        buffers = buffers.split(length)[1]


def _piece_size(limits: BlockLimits) -> int:
    alignment = limits.request_alignment
    return max(min(_PIECE, limits.max_transfer or _PIECE) // alignment, 1) * alignment


def _piece(limits: BlockLimits, position: int, end: int) -> tuple[int, int]:
    start, stop = outer_blocks(limits.request_alignment, position, end - position)
    return start, min(stop, start + _piece_size(limits))


def _scratch(limits: BlockLimits, offset: int, end: int) -> memoryview:
    """Memory for the largest piece; page-aligned where the driver cares."""
    start, stop = outer_blocks(limits.request_alignment, offset, end - offset)
    length = min(stop - start, _piece_size(limits))
    return memoryview(bytearray(length) if limits.memory_alignment == 1 or not length else mmap.mmap(-1, length))
