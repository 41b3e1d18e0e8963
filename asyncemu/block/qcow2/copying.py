# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies that the storage makes, from and to clusters of an image. QEMU: qcow2_co_copy_range_from, ..._to.

What is not data in a file below as it is (compressed clusters) can't be copied that way: ENOTSUP, and the caller reads
and writes all of it.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, TypeAlias

from asyncemu.block.child import BlockChild
from asyncemu.block.copy_range import copy_range_from, copy_range_to
from asyncemu.block.flags import ZERO_WRITE
from asyncemu.block.qcow2.allocation import WritePart
from asyncemu.block.qcow2.entries import COMPRESSED, NORMAL, UNALLOCATED_ALLOC, UNALLOCATED_PLAIN

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: Those of the read, and those of the write.
Flags: TypeAlias = tuple[int, int]


async def copy_from(
    image: Image, offset: int, target: BlockChild, target_offset: int, length: int, flags: Flags
) -> None:
    """Guest bytes of ``image`` to ``target``: from its data file, from its backing file, or zeroes. OSError."""
    image.check_usable()
    read_flags, write_flags = flags
    epochs = image.refcounts.epochs
    epoch, running = epochs.current, epochs.running
    running[epoch] += 1
    try:
        while length:
            kind, host, done = await image.mapping.run(offset, length)
            backing = image.backing
            if kind == COMPRESSED:
                raise OSError(errno.ENOTSUP, "compressed clusters can't be copied")
            if kind == NORMAL:
                source, at, zero = image.data_file, host, 0
            elif kind in (UNALLOCATED_PLAIN, UNALLOCATED_ALLOC) and backing is not None and offset < backing.size:
                done = min(done, backing.size - offset)
                source, at, zero = backing, offset, 0
            else:
                source, at, zero = image.file, 0, ZERO_WRITE
            await copy_range_from(source, at, target, target_offset, done, read_flags, write_flags | zero)
            offset += done
            target_offset += done
            length -= done
    finally:
        running[epoch] -= 1


async def copy_to(image: Image, source: BlockChild, source_offset: int, offset: int, length: int, flags: Flags) -> None:
    """Bytes of ``source`` to guest bytes of ``image``, allocating as a write does. OSError."""
    await image.begin_write()
    epochs = image.refcounts.epochs
    epoch, running = epochs.current, epochs.running
    running[epoch] += 1
    try:
        while length:
            part = await image.allocator.prepare(offset, length)
            try:
                await _copy_part(image, source, source_offset, part, flags)
            except BaseException:
                if part.allocation is not None:
                    await image.allocator.abort(part.allocation)
                raise
            if part.allocation is not None:
                await image.allocator.link(part.allocation)
            source_offset += part.length
            offset += part.length
            length -= part.length
    finally:
        running[epoch] -= 1


async def _copy_part(image: Image, source: BlockChild, source_offset: int, part: WritePart, flags: Flags) -> None:
    """The bytes, and, where clusters are new, what is around them."""
    allocation, data_file = part.allocation, image.data_file
    await image.check_data_overlap(part.host, part.length)
    await copy_range_to(source, source_offset, data_file, part.host, part.length, *flags)
    if allocation is None or not allocation.needs_copy:
        return
    to_host = allocation.host - allocation.guest
    for start, end in ((allocation.start, allocation.data_start), (allocation.data_end, allocation.end)):
        if start < end:
            await image.check_data_overlap(start + to_host, end - start)
            await data_file.pwrite(start + to_host, await image.writer.old_data(start, end - start))
