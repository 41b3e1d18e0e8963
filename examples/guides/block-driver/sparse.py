# SPDX-License-Identifier: GPL-2.0-or-later
"""Sparse: a block driver, a disk in memory that keeps only the blocks that were written."""

from __future__ import annotations

from asyncemu.block import BlockDriver, BlockDriverOptions
from asyncemu.memory import Buffers
from asyncemu.plain_options import option
from asyncemu.size import Size

BLOCK = 4096


class SparseOptions(BlockDriverOptions):
    """Keys in vm.toml."""

    size: Size = option(default=1 << 30, description="Size of the disk.")


class Sparse(BlockDriver[SparseOptions], name="sparse"):
    """Keeps in memory what was written."""

    async def open(self) -> int:
        self._blocks: dict[int, bytes] = {}
        self.limits.request_alignment = BLOCK
        return int(self.options.size)

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        numbers = range(offset // BLOCK, (offset + buffers.nbytes) // BLOCK)
        buffers.write(b"".join(self._blocks.get(number, bytes(BLOCK)) for number in numbers))

    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        data = buffers.tobytes()
        for start in range(0, len(data), BLOCK):
            self._blocks[(offset + start) // BLOCK] = data[start : start + BLOCK]

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        for number in range(offset // BLOCK, (offset + length) // BLOCK):
            self._blocks.pop(number, None)
