# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing compressed clusters, several at a time: the worker threads compress, the data go behind each other.

QEMU: qcow2_co_pwritev_compressed_part. There a cluster that has been written cannot be compressed any more (EIO); one
that is compressed already can be, and is freed here.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

from asyncemu.block.qcow2.compression import INLINE_SIZE, compress
from asyncemu.block.qcow2.entries import COMPRESSED_FLAG
from asyncemu.block.qcow2.geometry import OFFSET_MASK
from asyncemu.block.qcow2.reader import MAX_WORKERS, wait_to_the_end
from asyncemu.coroutines import AioTaskPool
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image


async def write_compressed(image: Image, offset: int, buffers: Buffers) -> None:
    """Whole clusters, the last of the disk perhaps in part. OSError: ENOTSUP, EINVAL, EIO."""
    geometry = image.geometry
    length = buffers.nbytes
    if geometry.has_data_file:
        raise OSError(errno.ENOTSUP, "an external data file can't be compressed")
    end = offset + length
    if offset & geometry.cluster_mask or (end & geometry.cluster_mask and end != image.header.size):
        raise OSError(errno.EINVAL, "compressed writes are of whole clusters")
    await image.begin_write()
    epochs = image.refcounts.epochs
    epoch, running = epochs.current, epochs.running
    running[epoch] += 1
    try:
        if length <= geometry.cluster_size:
            if length:
                await _write_cluster(image, offset, buffers)
            return
        pool = AioTaskPool(MAX_WORKERS)
        try:
            while length and pool.status is None:
                size = min(length, geometry.cluster_size)
                part, buffers = buffers.split(size)
                await pool.start_task(partial(_write_cluster, image, offset, part))
                offset += size
                length -= size
        finally:
            await wait_to_the_end(pool)
        if pool.status is not None:
            raise pool.status
    finally:
        running[epoch] -= 1


async def _write_cluster(image: Image, offset: int, buffers: Buffers) -> None:
    geometry = image.geometry
    size = geometry.cluster_size
    kind = image.header.compression_type
    # A copy: the guest may change its memory meanwhile, and what has been compressed must be what was looked at.
    data = buffers.tobytes().ljust(size, b"\0")
    if size <= INLINE_SIZE:
        compressed = compress(kind, data)
    else:
        compressed = await image.context.worker_pool.run(compress, kind, data)
    if len(compressed) >= size:
        await image.writer.write(offset, buffers)
        return
    length = len(compressed)
    async with image.lock:
        await _check_free(image, offset)
        host = await image.refcounts.allocate_bytes(length)
    linked = False
    try:
        # Others write into the same cluster of the file, even the same sector; only bytes count.
        if hit := image.overlap.hit(host, length, 0):
            raise await image.overlap_corruption(hit, host, length)
        if image.file.debugged:
            await image.file.debug_event("write_compressed")
        await image.file.pwritev(host, Buffers.of(compressed))
        async with image.lock:
            await image.before_link()
            await _link(image, offset, geometry.compressed_entry(host, length))
            linked = True
    finally:
        if not linked:
            async with image.lock:
                await image.refcounts.release(host, length)


async def _check_free(image: Image, offset: int) -> None:
    """With the lock held. OSError (EIO): there are data, compressed or not; what is compressed overwrites nothing.

    QEMU: qcow2_alloc_compressed_cluster_offset, which goes by the entry, too, and takes a cluster that is zero.
    """
    await image.allocator.wait_for_allocations(offset, offset + image.geometry.cluster_size)
    table = await image.l2_tables.load_for_change(offset)
    entry = table.payload[image.l2_tables.index(offset) * image.geometry.entry_words]
    if entry & (COMPRESSED_FLAG | OFFSET_MASK):
        raise OSError(errno.EIO, "the cluster has been written already")


async def _link(image: Image, offset: int, entry: int) -> None:
    """With the lock held."""
    if image.file.debugged:
        await image.file.debug_event("l2_update_compressed")
    await _check_free(image, offset)
    table = await image.l2_tables.load_for_change(offset)
    step = image.geometry.entry_words
    at = image.l2_tables.index(offset) * step
    table.payload[at] = entry | COMPRESSED_FLAG
    if step == 2:
        table.payload[at + 1] = 0
    table.mark(at * 8, (at + step) * 8)
    image.metadata.new_mapping()
