# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads that copy what they find below into the node itself. QEMU: bdrv_co_do_copy_on_readv.

The request is serialising, in whole clusters: a write that comes meanwhile would be overwritten with the older data of
the backing file. What is copied is what readers see already, so the write is WRITE_UNCHANGED, and zeroes are written as
zeroes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncemu.block import padding
from asyncemu.block.flags import PREFETCH
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
    cluster = max((await node.driver.image_info()).cluster_size, node.limits.request_alignment)
    start, stop = padding.outer_blocks(cluster, offset, length)
    stop = min(stop, node.size)
    request = node.begin(start, stop, serialising=True)
    try:
        await node.tracked.wait(request)
        position = start
        while position < stop:
            allocated, known = await is_allocated(node, position, min(stop - position, _PIECE))
            until = position + known
            if not allocated:
                piece = memoryview(bytearray(known))
                await _driver_read(node, position, Buffers((piece,)))
                await _copy(node, position, piece)
                _fill(buffers, offset, end, position, piece, flags)
            elif not flags & PREFETCH:
                first, last = max(position, offset), min(until, end)
                if first < last:
                    await _driver_read(node, first, buffers.slice(first - offset, last - first))
            position = until
    except OSError as error:
        raise node.failed("read", offset, length, error) from error
    finally:
        node.end(request)


async def _driver_read(node: BlockNode, offset: int, buffers: Buffers) -> None:
    if padding.fits(node.limits, offset, buffers.nbytes, buffers):
        await node.driver.preadv(offset, buffers)
    else:
        await padding.read(node, offset, buffers)


async def _copy(node: BlockNode, offset: int, piece: memoryview) -> None:
    if node.debugged:
        await node.debug_event("cor_write")
    if view_is_zero(piece):
        await zero_tracked(node, offset, offset + len(piece), 0)
    elif padding.fits(node.limits, offset, len(piece), Buffers((piece,))):
        await node.driver.pwritev(offset, Buffers((piece,)))
    else:
        await padding.write(node, offset, Buffers((piece,)), 0)
    node.write_generation += 1


def _fill(buffers: Buffers, offset: int, end: int, position: int, piece: memoryview, flags: int) -> None:
    if flags & PREFETCH:
        return
    first, last = max(position, offset), min(position + len(piece), end)
    if first < last:
        buffers.slice(first - offset, last - first).write(piece[first - position : last - position])
