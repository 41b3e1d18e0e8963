# SPDX-License-Identifier: GPL-2.0-or-later
"""Preallocation: clusters for guest bytes that nobody has written yet.

``metadata``: tables only; the file is as long as it must be, and sparse. ``falloc``, ``full``: all clusters in a row,
in storage that the file below has set aside. They read as zeroes because the file does, or, where a cluster was used
before, is made to; QEMU shows what was there.
QEMU: preallocate_co, and the modes of qcow2_co_truncate.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from asyncemu.block.flags import MAY_UNMAP
from asyncemu.block.qcow2.allocation import Allocation, WritePart
from asyncemu.block.qcow2.refcount_growth import make_area
from asyncemu.block.types import Preallocation
from asyncemu.errors import BlockError, ConfigError
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.block.child import BlockChild
    from asyncemu.block.qcow2.image import Image


async def preallocate_metadata(image: Image, start: int, end: int, mode: Preallocation) -> None:
    """Map guest bytes [start, end), in the order in which clusters are free. ``mode``: of the data file's new size."""
    target = image.external_data if image.geometry.has_data_file else image.file
    last = 0
    position = min(end, image.geometry.round_up(start))
    if start < position:
        # The rest of a cluster whose front is part of the disk.
        await image.writer.write(start, Buffers.of(bytes(position - start)))
    while position < end:
        part = await image.allocator.prepare(position, end - position)
        if part.allocation is not None:
            await _clear(image, target, part)
            part.allocation.preallocates = True
            await image.allocator.link(part.allocation)
        last = part.host + part.length
        position += part.length
    # Reads must not hit the end of the file.
    if target is not None and last > target.size:
        await target.truncate(last, preallocation="off" if mode == "metadata" else mode)


async def _clear(image: Image, target: BlockChild | None, part: WritePart) -> None:
    """What ``target`` has in new clusters is of those who had them before."""
    allocation = part.allocation
    assert allocation is not None
    used = 0 if target is None else min(part.host + part.length, target.size) - part.host
    if target is None or used <= 0:
        return
    try:
        await image.check_data_overlap(part.host, used)
        await target.write_zeroes(part.host, used, MAY_UNMAP)
    except BaseException:
        await image.allocator.abort(allocation)
        raise


async def preallocate_storage(image: Image, start: int, end: int, mode: Preallocation) -> None:
    """Map guest bytes [start, end) to a new area at the end of the file. ConfigError, with QEMU's texts."""
    geometry = image.geometry
    position = geometry.round_up(start)
    clusters = geometry.clusters(end) - geometry.clusters(start)
    # L2 tables need not be in the area, but must be countable without a further block; one more for each end.
    l2_tables = -(-clusters // geometry.l2_entries) + 2
    async with image.lock:
        size = geometry.round_up(image.file.size)
        try:
            host = await make_area(image.refcounts, image, size, clusters + l2_tables, exact=True)
            got = await image.refcounts.allocate_at(host, clusters)
        except (OSError, BlockError) as error:
            reason = os.strerror(error.errno or errno.EIO)
            raise ConfigError("preallocation", f"Failed to resize refcount structures: {reason}") from error
    if got != clusters:
        raise ConfigError("preallocation", "Failed to allocate data clusters")
    try:
        await image.file.truncate(host + (clusters << geometry.cluster_bits), preallocation=mode)
    except (OSError, BlockError, ConfigError) as error:
        problem = error.problem if isinstance(error, ConfigError) else str(error)
        raise ConfigError("preallocation", f"Failed to resize underlying file: {problem}") from error
    while clusters:
        count = min(clusters, image.l2_tables.slice_end(position) - position >> geometry.cluster_bits)
        length = count << geometry.cluster_bits
        whole = position, position + length
        allocation = Allocation(position, host, count, False, whole, whole)
        allocation.preallocates = True
        image.allocator.in_flight.append(allocation)
        try:
            await image.allocator.link(allocation)
        except BaseException:
            # Its own clusters have been given back.
            async with image.lock:
                await image.refcounts.release(host + length, clusters - count << geometry.cluster_bits)
            raise
        clusters -= count
        position += length
        host += length
