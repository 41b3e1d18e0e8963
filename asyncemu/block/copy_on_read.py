# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads that copy what they find below into the node itself. QEMU: bdrv_co_do_copy_on_readv.

The request is serialising, in whole clusters: a write that comes meanwhile would be overwritten with the older data of
the backing file. What is copied is what readers see already, so the write is WRITE_UNCHANGED, and zeroes are written as
zeroes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncemu.block import padding
from asyncemu.block.flags import PREFETCH, WRITE_UNCHANGED
from asyncemu.block.status import is_allocated
from asyncemu.block.zero_detection import view_is_zero
from asyncemu.block.zeroes import zero_tracked
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode

#: Bytes that are copied at once.
_PIECE: Final = 1 << 20


async def read_and_copy(node: BlockNode, offset: int, buffers: Buffers, flags: int) -> None:
    """Fill ``buffers`` (not with PREFETCH) from ``offset`` on, within the node, and copy what is not allocated."""
    length = buffers.nbytes
    end = offset + length
    start, stop = padding.outer_blocks(node.copy_unit or await _find_copy_unit(node), offset, length)
    stop = min(stop, node.size)
    request = node.begin(start, stop, serialising=True)
    try:
        await node.tracked.wait(request)
        if stop > node.size:  # it has been cut off meanwhile
            stop = node.size
            buffers = node.zero_past_the_end(offset, buffers)
            end = offset + buffers.nbytes
        position = start
        while position < stop:
            allocated, known = await is_allocated(node, position, min(stop - position, _PIECE))
            until = position + known
            if not allocated:
                piece = memoryview(bytearray(known))
                await _driver_read(node, position, Buffers((piece,)))
                await _copy(node, position, piece)
                if not flags & PREFETCH:
                    _fill(buffers, offset, end, position, piece)
            elif not flags & PREFETCH:
                first, last = max(position, offset), min(until, end)
                if first < last:
                    await _driver_read(node, first, buffers.slice(first - offset, last - first))
            position = until
    except OSError as error:
        raise node.failed("read", offset, length, error) from error
    finally:
        node.end(request)


async def _find_copy_unit(node: BlockNode) -> int:
    request = node.begin(0, 0)
    try:
        node.copy_unit = max((await node.driver.image_info()).cluster_size, node.limits.request_alignment)
        return node.copy_unit
    finally:
        node.end(request)


async def _driver_read(node: BlockNode, offset: int, buffers: Buffers) -> None:
    if padding.fits(node.limits, offset, buffers.nbytes, buffers):
        await node.driver.preadv(offset, buffers)
    else:
        await padding.read(node, offset, buffers)


async def _copy(node: BlockNode, offset: int, piece: memoryview) -> None:
    if node.debugged:
        await node.own_debug_event("cor_write")
    alignment = node.limits.request_alignment
    if node.driver.defines("write_zeroes") and not len(piece) % alignment and view_is_zero(piece):
        await zero_tracked(node, offset, offset + len(piece), WRITE_UNCHANGED)
    else:
        await padding.write(node, offset, Buffers((piece,)), WRITE_UNCHANGED)
    node.write_generation += 1


def _fill(buffers: Buffers, offset: int, end: int, position: int, piece: memoryview) -> None:
    first, last = max(position, offset), min(position + len(piece), end)
    if first < last:
        buffers.slice(first - offset, last - first).write(piece[first - position : last - position])
