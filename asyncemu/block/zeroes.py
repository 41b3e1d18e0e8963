# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing zeroes: by the driver's own means where it has some, else with buffers. QEMU: bdrv_co_pwrite_zeroes.

What does not fill a block of the request alignment is written as data; the rest is cut where the driver's alignment and
limit for zeroes want it. A piece that the driver refuses (ENOTSUP) is written as data, the next one is tried again.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from asyncemu.block import padding
from asyncemu.block.flags import FUA, MAY_UNMAP, NO_FALLBACK, SERIALISING
from asyncemu.errors import BlockError
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode


async def write_zeroes(node: BlockNode, offset: int, length: int, flags: int) -> None:
    """Make the bytes of ``node`` read as zero; bounds are checked. Raises BlockError."""
    if not node.discards:
        flags &= ~MAY_UNMAP
    end = offset + length
    node.check_room(offset, length)
    if flags & NO_FALLBACK and (offset | length) % node.limits.request_alignment:
        raise BlockError(node.name, errno.ENOTSUP, f"write zeroes of {length} bytes at {offset}")
    start, stop = padding.inner_blocks(node.limits.request_alignment, offset, length)
    if start >= stop:
        start = stop = end
    # The request as a whole: drained sections wait for it between its pieces.
    whole = node.begin(0, 0)
    try:
        await _write_data(node, offset, start, flags)
        if start < stop:
            await _zero_blocks(node, start, stop, flags)
        await _write_data(node, stop, end, flags)
    finally:
        node.end(whole)


async def _zero_blocks(node: BlockNode, start: int, end: int, flags: int) -> None:
    request = node.begin(start, end, serialising=bool(flags & SERIALISING))
    try:
        if node.tracked.serialising:
            await node.tracked.wait(request)
            node.check_room(start, end - start)
        if node.debugged:
            await node.own_debug_event("pwritev_zero")
        await zero_tracked(node, start, end, flags)
        if node.debugged:
            await node.own_debug_event("pwritev_done")
        node.written(end)
    except OSError as error:
        raise node.failed("write zeroes", start, end - start, error) from error
    except Exception as error:
        node.blame_author("write zeroes", error)
        raise
    finally:
        node.end(request)


async def zero_tracked(node: BlockNode, start: int, end: int, flags: int) -> None:
    """As above, of whole blocks, for a request that is tracked already. Raises OSError, too."""
    driver, limits = node.driver, node.limits
    alignment = limits.write_zeroes_alignment or limits.request_alignment
    longest = (limits.max_write_zeroes or 1 << 62) // alignment * alignment or alignment
    known = driver.zero_flags
    if flags & NO_FALLBACK and not known & NO_FALLBACK and node.children:
        # It would pass the request on without the flag.
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    needs_flush = False
    able = driver.defines("write_zeroes")
    while start < end:
        stop = min(end, start + longest)
        if start % alignment:
            stop = min(stop, (start // alignment + 1) * alignment)
        elif stop % alignment and stop - start > alignment:
            stop = stop // alignment * alignment
        try:
            if not able:
                raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
            await driver.write_zeroes(start, stop - start, flags & known)
            needs_flush = needs_flush or bool(flags & FUA and not known & FUA)
        except (OSError, BlockError) as error:
            if error.errno != errno.ENOTSUP or flags & NO_FALLBACK:
                raise
            # One flush at the end, instead of one for each piece.
            needs_flush = needs_flush or bool(flags & FUA and not driver.write_flags & FUA)
            await _data_tracked(node, start, stop, flags & driver.write_flags & FUA)
        start = stop
    if needs_flush:
        node.write_generation += 1
        await node.flush()


async def _data_tracked(node: BlockNode, start: int, end: int, flags: int) -> None:
    while start < end:
        zeroes = padding.zeroes(node.limits, start, end)
        await padding.write(node, start, Buffers((zeroes,)), flags)
        start += len(zeroes)


async def _write_data(node: BlockNode, start: int, end: int, flags: int) -> None:
    """Less than a block: as any write that is not aligned."""
    while start < end:
        zeroes = padding.zeroes(node.limits, start, end)
        await node.write_special(start, len(zeroes), Buffers((zeroes,)), flags & (FUA | SERIALISING))
        start += len(zeroes)
