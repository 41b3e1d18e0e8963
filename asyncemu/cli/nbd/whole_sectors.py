# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk that ends within a sector, offered as one of whole sectors, as qemu-nbd counts them.

The rest of the last sector reads as zeroes; a write there makes the file longer.
"""

from __future__ import annotations

from asyncemu.block.backend import BlockBackend
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE, STATUS_ZERO
from asyncemu.block.types import BlockStatus
from asyncemu.cli.tools.opening import SECTOR
from asyncemu.loop import AioContext
from asyncemu.memory.buffers import Buffers


class WholeSectors(BlockBackend):
    """What the export holds. Requests are within ``size``; home as of a BlockBackend."""

    def __init__(self, name: str, context: AioContext, *, writable: bool) -> None:
        permissions = PERM_CONSISTENT_READ | (PERM_WRITE | PERM_RESIZE if writable else 0)
        super().__init__(name, context, permissions, PERM_ALL & ~PERM_RESIZE)
        self.allow_write_beyond_end = True

    @property
    def size(self) -> int:
        """Bytes."""
        return -(-super().size // SECTOR) * SECTOR

    async def preadv(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        """Fill ``buffers`` from byte ``offset`` on. BlockError."""
        inside, outside = buffers.split(self._inside(offset, buffers.nbytes))
        outside.fill_zero()
        if inside.nbytes:
            await super().preadv(offset, inside, flags)

    async def discard(self, offset: int, length: int) -> None:
        """The bytes are not needed any more. BlockError."""
        inside = self._inside(offset, length)
        if inside:
            await super().discard(offset, inside)

    async def block_status(self, offset: int, length: int, want_zero: bool = True) -> BlockStatus:
        """What the whole chain says of the first of ``length`` bytes. BlockError."""
        inside = self._inside(offset, length)
        return await super().block_status(offset, inside, want_zero) if inside else BlockStatus(STATUS_ZERO, length)

    async def allocation_depth(self, offset: int, length: int) -> tuple[int, int]:
        """Of the first of ``length`` bytes; the rest of the last sector is where its beginning is. BlockError."""
        inside = self._inside(offset, length)
        if inside:
            return await super().allocation_depth(offset, inside)
        depth, _ = await super().allocation_depth(self.node.size - 1, 1)
        return depth, length

    def _inside(self, offset: int, length: int) -> int:
        """How many of the bytes there are."""
        return min(max(self.node.size - offset, 0), length)
