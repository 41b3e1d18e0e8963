# SPDX-License-Identifier: GPL-2.0-or-later
"""Discard: what is not needed any more. QEMU: bdrv_co_pdiscard.

A hint, and so only what is worth it reaches the driver: whole blocks of the discard alignment in the middle, and a head
and a tail of whole request blocks, which a driver may refuse (ENOTSUP) without harm.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from asyncemu.block import padding
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode


async def discard(node: BlockNode, offset: int, length: int) -> None:
    """Tell the driver; bounds are checked. Raises BlockError."""
    if offset + length > node.size:
        raise BlockError(node.name, errno.EINVAL, f"discard of {length} bytes at {offset}, size {node.size}")
    if not node.discards or not node.driver.defines("discard"):
        return
    start, end = padding.inner_blocks(node.limits.request_alignment, offset, length)
    if offset + length == node.size and node.size % node.limits.request_alignment:
        # The last block reaches past the end; all of it that there is goes.
        end = node.size
    if start >= end:
        return
    request = node.begin(start, end)
    try:
        if node.tracked.serialising:
            await node.tracked.wait(request)
            end = min(end, node.size)
        await _discard_blocks(node, start, end)
        node.write_generation += 1
    except OSError as error:
        raise node.failed("discard", offset, length, error) from error
    except Exception as error:
        node.blame_author("discard", error)
        raise
    finally:
        node.end(request)


async def _discard_blocks(node: BlockNode, start: int, end: int) -> None:
    limits = node.limits
    alignment = max(limits.discard_alignment, limits.request_alignment)
    longest = (limits.max_discard or 1 << 62) // alignment * alignment or alignment
    while start < end:
        stop = min(end, start + longest)
        if start % alignment:
            stop = min(stop, (start // alignment + 1) * alignment)
        elif stop % alignment and stop - start > alignment:
            stop = stop // alignment * alignment
        try:
            await node.driver.discard(start, stop - start)
        except (OSError, BlockError) as error:
            if error.errno != errno.ENOTSUP:
                raise
        start = stop
