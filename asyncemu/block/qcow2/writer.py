# SPDX-License-Identifier: GPL-2.0-or-later
"""Writer: guest data into clusters, with copy-on-write around what does not fill them.

The path of most requests, clusters that the L2 table names as this image's own, has no lock and changes no metadata.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING, Final

from asyncemu.block.flags import NO_FALLBACK
from asyncemu.block.qcow2.allocation import Allocation, WritePart
from asyncemu.block.qcow2.entries import COPIED, UNALLOCATED_ALLOC, UNALLOCATED_PLAIN, ZERO_ALLOC, ZERO_PLAIN
from asyncemu.block.qcow2.reader import MAX_WORKERS, wait_to_the_end
from asyncemu.coroutines import AioTaskPool
from asyncemu.errors import BlockError
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: So many bytes of zeroes around the data are written with them; more are left to the file system, if it can.
_ZEROES_WORTH_A_CALL: Final = 128 << 10


class Writer:
    """Of one image. Home context of the node."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._geometry = image.geometry
        self._epochs = image.refcounts.epochs

    async def write(self, offset: int, buffers: Buffers) -> None:
        """Write guest data. Raises OSError, BlockError."""
        image = self._image
        epochs = self._epochs
        epoch, running = epochs.current, epochs.running
        running[epoch] += 1
        try:
            length = buffers.nbytes
            if image.ready_to_write and (host := self._own_clusters(offset, length)) >= 0:
                await self._write_data(host, length, buffers)
            else:
                await image.begin_write()
                await self._write_parts(offset, buffers, length)
        finally:
            running[epoch] -= 1

    def _own_clusters(self, offset: int, length: int) -> int:
        """Where all of the bytes are, in a row, in clusters that only the active tables name; else -1."""
        image, geometry = self._image, self._geometry
        host = image.reader.quick(offset, length)
        if host < 0:
            return -1
        tables = image.l2_tables
        table = image.l2_cache.tables[tables.slice_offset(tables.table_offset(offset), offset)]
        if not image.l1.entries[offset >> geometry.l1_shift] & COPIED:
            return -1
        words, index, step = table.payload, tables.index(offset), geometry.entry_words
        last = index + ((offset & geometry.cluster_mask) + max(length, 1) - 1 >> geometry.cluster_bits)
        for at in range(index, last + 1):
            if not words[at * step] & COPIED:
                return -1
        return host

    async def _write_parts(self, offset: int, buffers: Buffers, length: int) -> None:
        image = self._image
        pool: AioTaskPool | None = None
        try:
            while length and (pool is None or pool.status is None):
                part = await image.allocator.prepare(offset, length)
                done = part.length
                if done == length:
                    data, rest = buffers, Buffers()
                else:
                    data, rest = buffers.split(done)
                if pool is None and done == length:
                    await self._write_part(part, data)
                else:
                    pool = pool or AioTaskPool(MAX_WORKERS)
                    await pool.start_task(partial(self._write_part, part, data))
                buffers = rest
                offset += done
                length -= done
        finally:
            if pool is not None:
                await wait_to_the_end(pool)
        if pool is not None and pool.status is not None:
            raise pool.status

    async def _write_part(self, part: WritePart, data: Buffers) -> None:
        allocation = part.allocation
        if allocation is None:
            await self._write_data(part.host, part.length, data)
            return
        try:
            if allocation.needs_copy:
                await self._write_with_copy(part, allocation, data)
            else:
                await self._write_data(part.host, part.length, data)
        except BaseException:
            await self._image.allocator.abort(allocation)
            raise
        await self._image.allocator.link(allocation)

    async def _write_data(self, host: int, length: int, data: Buffers) -> None:
        image = self._image
        await image.check_data_overlap(host, length)
        data_file = image.data_file
        if data_file.debugged:
            await data_file.debug_event("write_aio")
        await data_file.pwritev(host, data)

    # ---- copy-on-write

    async def _write_with_copy(self, part: WritePart, allocation: Allocation, data: Buffers) -> None:
        """The data and what is around them, in one write. QEMU: perform_cow, merge_cow, handle_alloc_space."""
        image = self._image
        to_host = allocation.host - allocation.guest
        head = (allocation.start, allocation.data_start - allocation.start)
        tail = (allocation.data_end, allocation.end - allocation.data_end)
        # blkdebug's rules find the requests that QEMU makes, which are zero writes at all sizes.
        worth_it = head[1] + tail[1] > (0 if image.data_file.debugged else _ZEROES_WORTH_A_CALL)
        if worth_it and await self._zeroed_by_file(allocation, head, tail):
            await self._write_data(part.host, part.length, data)
            return
        before = await self.old_data(*head)
        behind = await self.old_data(*tail)
        start = allocation.start + to_host
        length = allocation.end - allocation.start
        await image.check_data_overlap(start, length)
        if image.data_file.debugged:
            await image.data_file.debug_event("cow_write")
            await image.data_file.debug_event("write_aio")
        await image.data_file.pwritev(start, Buffers((*Buffers.of(before), *data, *Buffers.of(behind))))

    async def old_data(self, offset: int, length: int) -> bytes | bytearray:
        """What guest bytes read as before they are allocated."""
        if not length:
            return b""
        image = self._image
        if await self._known_zero(offset, length):
            return bytes(length)
        if image.file.debugged:
            await image.file.debug_event("cow_read")
        return await image.reader.pread(offset, length)

    async def _known_zero(self, offset: int, length: int) -> bool:
        """Does the mapping say that the bytes read as zeroes?"""
        image = self._image
        while length:
            kind, _, done = await image.mapping.run(offset, length)
            if kind in (UNALLOCATED_PLAIN, UNALLOCATED_ALLOC):
                backing = image.backing
                if backing is not None and offset < backing.size:
                    return False
            elif kind not in (ZERO_PLAIN, ZERO_ALLOC):
                return False
            offset += done
            length -= done
        return True

    async def _zeroed_by_file(self, allocation: Allocation, head: tuple[int, int], tail: tuple[int, int]) -> bool:
        """Has the file made all of the new clusters' part read as zeroes, faster than by writing zeroes?"""
        image = self._image
        if not (await self._known_zero(*head) and await self._known_zero(*tail)):
            return False
        start = allocation.start + allocation.host - allocation.guest
        length = allocation.end - allocation.start
        await image.check_data_overlap(start, length)
        if image.data_file.debugged:
            await image.data_file.debug_event("cluster_alloc_space")
        try:
            await image.data_file.write_zeroes(start, length, NO_FALLBACK)
        except (OSError, BlockError) as error:
            if error.errno in (errno.ENOTSUP, errno.EAGAIN):
                return False
            raise
        return True
