# SPDX-License-Identifier: GPL-2.0-or-later
"""Flush: all writes that were done when it began survive a crash of the host when it returns. QEMU: bdrv_co_flush.

From above: what the driver caches goes into its children, then the driver's own storage is made safe, then the children
that hold its data, all of them, also when one fails. One runs at a time; a flush that finds that nothing was written
since the last one leaves out the second step. A flush that fails has flushed nothing: the next one does all again.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode


async def flush(node: BlockNode) -> None:
    """Flush ``node`` and what it stands on. Raises BlockError."""
    if node.read_only:
        return
    generation = node.write_generation
    request = node.begin(0, 0)
    try:
        while node.flushing is not None:
            await asyncio.shield(node.flushing)
        node.flushing = node.context.loop.create_future()
        try:
            await _flush(node, generation)
        finally:
            node.flushing.set_result(None)
            node.flushing = None
    except OSError as error:
        raise BlockError(node.name, error.errno or errno.EIO, "flush") from error
    except Exception as error:
        node.blame_author("flush", error)
        raise
    finally:
        node.end(request)


async def _flush(node: BlockNode, generation: int) -> None:
    driver = node.driver
    child = node.primary_child if node.debugged else None
    if child is not None and child.debugged:
        await child.debug_event("flush_to_os")
    await driver.flush_to_os()
    if not node.no_flush and node.flushed_generation < generation:
        if child is not None and child.debugged:
            await child.debug_event("flush_to_disk")
        await driver.flush()
    failure: BlockError | None = None
    for edge in node.data_children():
        try:
            await edge.node.flush()
        except BlockError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    node.flushed_generation = max(node.flushed_generation, generation)
