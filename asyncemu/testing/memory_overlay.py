# SPDX-License-Identifier: GPL-2.0-or-later
"""MemoryOverlay: a MemoryDisk over a backing file, as an image format is, without a file of its own.

    base = await graph.add(MemoryDisk, MemoryDiskOptions(), "base")
    top = await graph.add(MemoryOverlay, MemoryOverlayOptions(backing="base"), "top")

Importing this module makes the driver name ``memory-overlay`` known to vm.toml.
"""

from __future__ import annotations

from typing import Any, ClassVar

from asyncemu.block.child import BlockChild
from asyncemu.block.driver import ChildSlot
from asyncemu.block.flags import MAY_UNMAP, NO_FALLBACK, ROLE_COW, STATUS_DATA, STATUS_OFFSET_VALID
from asyncemu.block.types import BlockStatus, ImageInfo, Preallocation
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions


class MemoryOverlayOptions(MemoryDiskOptions):
    """Keys of the ``memory-overlay`` driver."""

    backing: str | dict[str, Any] | None = option(default=None, description="What is read where nothing was written.")
    cluster_size: int = option(default=512, ge=1, description="Bytes that are allocated together.")
    backing_file: str = option(default="", description="The backing file that the image names.")
    backing_format: str = option(default="", description="Its format, as the image names it.")


class MemoryOverlay(MemoryDisk, name="memory-overlay"):
    """``allocated`` has the numbers of the clusters that are here; the others are the backing file's."""

    options_type = MemoryOverlayOptions
    options: MemoryOverlayOptions
    children: ClassVar[tuple[ChildSlot, ...]] = (ChildSlot("backing", ROLE_COW, optional=True),)
    supports_backing = True
    zero_flags = MAY_UNMAP | NO_FALLBACK
    backing: BlockChild | None

    async def open(self) -> int:
        """The size in bytes; nothing is allocated."""
        self.allocated: set[int] = set()
        self.backing_file = self.options.backing_file
        self.backing_format = self.options.backing_format
        return await super().open()

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        await self._begin("preadv", offset, buffers.nbytes, buffers)
        for cluster in self._clusters(offset, buffers.nbytes):
            start, stop = self._within(cluster, offset, buffers.nbytes)
            part = buffers.slice(start - offset, stop - start)
            if cluster not in self.allocated and self.backing is not None:
                await self.backing.preadv(start, part)
            else:
                part.write(bytes(self.data[start:stop]).ljust(stop - start, b"\0"))

    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        data = buffers.tobytes()
        await self._begin("pwritev", offset, len(data), buffers)
        await self._allocate(offset, len(data))
        self._store(offset, data)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        await self._begin("write_zeroes", offset, length)
        await self._allocate(offset, length)
        self._store(offset, bytes(length))

    async def discard(self, offset: int, length: int) -> None:
        """Whole clusters are the backing file's again."""
        await self._begin("discard", offset, length)
        size = self.options.cluster_size
        self.allocated.difference_update(range(-(-offset // size), (offset + length) // size))

    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        await self._begin("block_status", offset, length)
        clusters = self._clusters(offset, length)
        here = clusters[0] in self.allocated
        count = next((index for index, each in enumerate(clusters) if (each in self.allocated) is not here), None)
        stop = offset + length if count is None else clusters[count] * self.options.cluster_size
        flags = STATUS_DATA | STATUS_OFFSET_VALID if here else 0
        return BlockStatus(flags, stop - offset, offset, self.node)

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        """``zero``: what is new is allocated."""
        old = len(self.data)
        await super().truncate(size, exact=exact, preallocation=preallocation, zero=zero)
        if zero and size > old:
            await self._allocate(old, size - old)
            self._store(old, bytes(size - old))
        return size

    async def image_info(self) -> ImageInfo:
        return ImageInfo(cluster_size=self.options.cluster_size)

    async def make_empty(self) -> None:
        self.allocated.clear()

    async def change_backing_file(self, backing_file: str, backing_format: str) -> None:
        self.backing_file, self.backing_format = backing_file, backing_format

    def _clusters(self, offset: int, length: int) -> range:
        size = self.options.cluster_size
        return range(offset // size, -(-(offset + length) // size)) if length else range(0)

    def _within(self, cluster: int, offset: int, length: int) -> tuple[int, int]:
        size = self.options.cluster_size
        return max(cluster * size, offset), min((cluster + 1) * size, offset + length)

    async def _allocate(self, offset: int, length: int) -> None:
        """Take what is not overwritten of the clusters from the backing file."""
        size = self.options.cluster_size
        for cluster in self._clusters(offset, length):
            start, stop = self._within(cluster, offset, length)
            if cluster in self.allocated:
                continue
            below = bytearray()
            if self.backing is not None and stop - start < size:
                below = await self.backing.pread(cluster * size, size)
            # Another write may have done it meanwhile.
            if cluster not in self.allocated:
                self.allocated.add(cluster)
                end = min((cluster + 1) * size, len(self.data))
                kept = below.ljust(size, b"\0")[: max(end - cluster * size, 0)]
                self.data[cluster * size : end] = kept
