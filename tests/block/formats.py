# SPDX-License-Identifier: GPL-2.0-or-later
"""Small formats for tests of what is over them."""

from __future__ import annotations

from typing import Any

from asyncemu.block.child import BlockChild
from asyncemu.block.driver import BlockDriver, BlockDriverOptions, ChildSlot
from asyncemu.block.flags import ROLE_COW, STATUS_DATA
from asyncemu.block.types import BlockStatus, ImageInfo
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option
from asyncemu.size import Size

CLUSTER = 4096


class LayerOptions(BlockDriverOptions):
    """Keys of ``test-layer``."""

    size: Size = option(default=1 << 16, description="Bytes.")
    backing: str | dict[str, Any] | None = option(default=None, description="Read where nothing was written.")


class Layer(BlockDriver[LayerOptions], name="test-layer"):
    """A format that keeps its clusters in memory, and reads the others from its backing file.

    ``clusters`` are those that it has, ``compressed`` the numbers of those that were written so.
    """

    children = (ChildSlot("backing", ROLE_COW, optional=True),)
    is_format = True
    supports_backing = True
    backing: BlockChild | None

    async def open(self) -> int:
        self.clusters: dict[int, bytearray] = {}
        self.compressed: list[int] = []
        return int(self.options.size)

    async def image_info(self) -> ImageInfo:
        return ImageInfo(cluster_size=CLUSTER)

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        while buffers:
            number, head = divmod(offset, CLUSTER)
            part, buffers = buffers.split(min(CLUSTER - head, buffers.nbytes))
            if number in self.clusters:
                part.write(self.clusters[number][head:])
            elif self.backing is not None:
                await self.backing.preadv(offset, part)
            else:
                part.fill_zero()
            offset += part.nbytes

    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        data = buffers.tobytes()
        while data:
            number, head = divmod(offset, CLUSTER)
            if number not in self.clusters:
                old = await self.backing.pread(number * CLUSTER, CLUSTER) if self.backing is not None else None
                self.clusters[number] = old if old is not None else bytearray(CLUSTER)
            part, data = data[: CLUSTER - head], data[CLUSTER - head :]
            self.clusters[number][head : head + len(part)] = part
            offset += len(part)

    async def pwritev_compressed(self, offset: int, buffers: Buffers) -> None:
        """Whole clusters, or up to the end."""
        length = buffers.nbytes
        assert not offset % CLUSTER
        assert not length % CLUSTER or offset + length == self.node.size
        self.compressed += range(offset // CLUSTER, -(-(offset + length) // CLUSTER))
        await self.pwritev(offset, buffers)

    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        number, head = divmod(offset, CLUSTER)
        return BlockStatus(STATUS_DATA if number in self.clusters else 0, min(CLUSTER - head, length))
