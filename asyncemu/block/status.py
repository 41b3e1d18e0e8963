# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the bytes of a node are: data, zeroes, or in a backing file. QEMU: bdrv_co_block_status and its relatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncemu.block import padding
from asyncemu.block.chain import filter_or_cow_child
from asyncemu.block.flags import (
    STATUS_ALLOCATED,
    STATUS_DATA,
    STATUS_EOF,
    STATUS_OFFSET_VALID,
    STATUS_RAW,
    STATUS_RECURSE,
    STATUS_ZERO,
)
from asyncemu.block.types import BlockStatus
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode


async def block_status(node: BlockNode, offset: int, length: int, want_zero: bool) -> BlockStatus:
    """What ``node`` itself says of the first of the bytes. Raises BlockError."""
    size = node.size
    if offset >= size:
        return BlockStatus(STATUS_EOF, 0)
    length = min(length, size - offset)
    if not length:
        return BlockStatus(0, 0)
    request = node.begin(0, 0)
    try:
        status = await _looked_up(node, offset, length, want_zero)
    except OSError as error:
        raise node.failed("block status", offset, length, error) from error
    except Exception as error:
        node.blame_author("block status", error)
        raise
    finally:
        node.end(request)
    flags = status.flags
    if offset + status.length == size:
        flags |= STATUS_EOF
    return status if flags == status.flags else status._replace(flags=flags)


async def _looked_up(node: BlockNode, offset: int, length: int, want_zero: bool) -> BlockStatus:
    driver = node.driver
    if driver.defines("block_status"):
        start, stop = padding.outer_blocks(node.limits.request_alignment, offset, length)
        status = _clamp(await driver.block_status(start, stop - start, want_zero), offset - start, length)
        if status.length <= 0:
            raise RuntimeError(f"{driver!r} knows nothing of its bytes at {offset}")
    else:
        status = _all_data(node, offset, length)
    if status.flags & STATUS_RAW and status.file is not None:
        below = await status.file.block_status(status.map, status.length, want_zero)
        if not below.length:
            # What is past the end of the file reads as zeroes.
            return BlockStatus(STATUS_ZERO | STATUS_ALLOCATED, status.length)
        # The end of what is below is not the end of what is here.
        return below._replace(flags=below.flags & ~STATUS_EOF)
    return await _refined(node, offset, status, want_zero)


def _all_data(node: BlockNode, offset: int, length: int) -> BlockStatus:
    filtered = node.filtered
    if filtered is not None:
        return BlockStatus(STATUS_RAW, length, offset, filtered.node)
    if node.driver.is_format:
        return BlockStatus(STATUS_DATA | STATUS_ALLOCATED, length)
    return BlockStatus(STATUS_DATA | STATUS_OFFSET_VALID | STATUS_ALLOCATED, length, offset, node)


def _clamp(status: BlockStatus, head: int, length: int) -> BlockStatus:
    """From the answer about whole blocks to that about the bytes that begin ``head`` bytes into the first."""
    known = status.length - head
    return BlockStatus(status.flags, min(known, length), status.map + head, status.file)


async def _refined(node: BlockNode, offset: int, status: BlockStatus, want_zero: bool) -> BlockStatus:
    flags, length, at, file = status
    if flags & (STATUS_DATA | STATUS_ZERO):
        flags |= STATUS_ALLOCATED
    elif node.driver.supports_backing:
        backing = node.backing
        if backing is None or (want_zero and offset >= backing.size):
            flags |= STATUS_ZERO
    if (
        want_zero
        and flags & STATUS_RECURSE
        and flags & STATUS_DATA
        and flags & STATUS_OFFSET_VALID
        and file is not None
        and file is not node
    ):
        try:
            below = await file.block_status(at, length, want_zero)
        except BlockError:
            # It is more than was asked for; data is right in any case.
            return BlockStatus(flags & ~STATUS_RECURSE, length, at, file)
        if below.flags & STATUS_EOF and (not below.length or below.flags & STATUS_ZERO):
            # What is past the end of the file reads as zeroes.
            flags |= STATUS_ZERO
        else:
            length = below.length
            flags |= below.flags & STATUS_ZERO
    return BlockStatus(flags & ~STATUS_RECURSE, length, at, file)


async def block_status_above(
    node: BlockNode, base: BlockNode | None, offset: int, length: int, want_zero: bool = True
) -> tuple[BlockStatus, int]:
    """What the chain from ``node`` down to above ``base`` (None: all of it) says, and how deep the answer was found.

    Not STATUS_ALLOCATED: nothing above ``base`` is. QEMU: bdrv_block_status_above.
    """
    if node is base:
        return BlockStatus(0, min(length, max(node.size - offset, 0))), 0
    status = await node.block_status(offset, length, want_zero)
    depth = 1
    if not status.length or status.flags & STATUS_ALLOCATED:
        return status, depth
    eof = status.flags & STATUS_EOF
    length = status.length
    below = filter_or_cow_child(node)
    while below is not None and below.node is not base:
        depth += 1
        status = await below.node.block_status(offset, length, want_zero)
        if not status.length:
            # Below is shorter: a read gives zeroes, which is as if the layer above had them.
            return BlockStatus(STATUS_ZERO | STATUS_ALLOCATED | eof, length), depth
        length, eof = status.length, eof if status.length == length else 0
        if status.flags & STATUS_ALLOCATED:
            break
        below = filter_or_cow_child(below.node)
    # The end that counts is that of the node on top.
    return status._replace(flags=status.flags & ~STATUS_EOF | eof), depth


async def is_allocated(node: BlockNode, offset: int, length: int) -> tuple[bool, int]:
    """Does ``node`` itself decide what is read; for how many bytes that holds. QEMU: bdrv_is_allocated."""
    status = await node.block_status(offset, length, False)
    return bool(status.flags & STATUS_ALLOCATED), status.length


async def is_allocated_above(
    top: BlockNode, base: BlockNode | None, offset: int, length: int, *, include_base: bool = False
) -> tuple[int, int]:
    """The depth (1: ``top``) of the layer above ``base`` (or at it) that decides what is read, 0 for none; how far.

    QEMU: bdrv_is_allocated_above.
    """
    if include_base and base is not None:
        edge = filter_or_cow_child(base)
        base = edge.node if edge is not None else None
    status, depth = await block_status_above(top, base, offset, length, False)
    return (depth if status.flags & STATUS_ALLOCATED else 0), status.length
