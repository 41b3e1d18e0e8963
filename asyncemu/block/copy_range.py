# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies from node to node that the storage makes, with no byte passing through us. QEMU: bdrv_co_copy_range.

The request goes down the source's side to the node that has the bytes (``copy_range_from``), then down the target's
side to the node that stores them (``copy_range_to``): there both ends are known, and are files, or the answer is
ENOTSUP. That is no failure of anything: the caller reads and writes.

    BlockBackend → raw (from) → file (from) → qcow2 (to) → file (to): copy_file_range(2)

Each node on the way counts it as a request of its own, a read on the source's side and a write on the target's.
"""

from __future__ import annotations

import errno

from asyncemu.block.child import BlockChild
from asyncemu.block.flags import FUA, NO_WAIT, SERIALISING, ZERO_WRITE
from asyncemu.block.node import BlockNode
from asyncemu.errors import BlockError


async def copy_range(
    source: BlockChild,
    source_offset: int,
    target: BlockChild,
    target_offset: int,
    length: int,
    read_flags: int = 0,
    write_flags: int = 0,
) -> None:
    """Copy ``length`` bytes. BlockError; ENOTSUP: not this way."""
    await copy_range_from(source, source_offset, target, target_offset, length, read_flags, write_flags)
    if write_flags & FUA:
        await target.flush()


async def copy_range_from(
    source: BlockChild,
    source_offset: int,
    target: BlockChild,
    target_offset: int,
    length: int,
    read_flags: int,
    write_flags: int,
) -> None:
    """For drivers: go on at ``source``, which is nearer to the bytes. BlockError."""
    if write_flags & ZERO_WRITE:
        await target.write_zeroes(target_offset, length, write_flags)
        return
    node = source.node
    _check(node, target.node, source_offset, target_offset, length)
    if source_offset + length > node.size:
        raise BlockError(node.name, errno.ENOTSUP, "copy range past the end")
    request = node.begin(source_offset, source_offset + length)
    try:
        if node.tracked.serialising:
            await node.tracked.wait(request)
        await node.driver.copy_range_from(source_offset, target, target_offset, length, read_flags, write_flags)
    except OSError as error:
        raise node.failed("copy range", source_offset, length, error) from error
    finally:
        node.end(request)


async def copy_range_to(
    source: BlockChild,
    source_offset: int,
    target: BlockChild,
    target_offset: int,
    length: int,
    read_flags: int,
    write_flags: int,
) -> None:
    """For drivers: go on at ``target``, which is nearer to the storage; ``source`` has the bytes. BlockError."""
    node = target.node
    _check(source.node, node, source_offset, target_offset, length)
    end = target_offset + length
    if node.read_only:
        raise BlockError(node.name, errno.EROFS, f"copy range of {length} bytes to {target_offset}")
    if end > node.size and not node.driver.growable:
        raise BlockError(node.name, errno.ENOSPC, f"copy range of {length} bytes to {target_offset}")
    request = node.begin(target_offset, end, bool(write_flags & SERIALISING))
    try:
        if node.tracked.serialising:
            await node.tracked.wait(request, no_wait=bool(write_flags & NO_WAIT))
        await node.driver.copy_range_to(source, source_offset, target_offset, length, read_flags, write_flags)
        node.written(end)
    except OSError as error:
        raise node.failed("copy range", target_offset, length, error) from error
    finally:
        node.end(request)


def _check(source: BlockNode, target: BlockNode, source_offset: int, target_offset: int, length: int) -> None:
    """Can it be tried? BlockError."""
    if min(source_offset, target_offset, length) < 0:
        raise BlockError(source.name, errno.EINVAL, f"copy range of {length} bytes at {source_offset}")
    if (
        not source.driver.defines("copy_range_from")
        or not target.driver.defines("copy_range_to")
        or source.context is not target.context
    ):
        raise BlockError(source.name, errno.ENOTSUP, "copy range")
