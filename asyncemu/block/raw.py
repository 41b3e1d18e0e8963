# SPDX-License-Identifier: GPL-2.0-or-later
"""RawDriver: another node as it is, or a window of it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from asyncemu.block.driver import BlockDriver, BlockDriverOptions
from asyncemu.block.node import BlockNode
from asyncemu.errors import ConfigError
from asyncemu.memory.buffers import Buffers
from asyncemu.size import Size


class RawOptions(BlockDriverOptions):
    """Keys of the ``raw`` driver; QEMU's names."""

    file: str | dict[str, Any] = Field(description="What is below: a node-name, or a table that makes a node.")
    offset: Size = Field(default=0, description="Where the window begins.")
    size: Size | None = Field(default=None, description="Length of the window; default: up to the end.")


class RawDriver(BlockDriver[RawOptions], name="raw"):
    """Shifts offsets; the node below does the rest, alignment included."""

    description = "Another node as it is, or a window of it."

    children = ("file",)
    file: BlockNode

    async def open(self) -> int:
        """The size of the window in bytes. ConfigError when it is not within the node below."""
        below = self.file
        self._offset = int(self.options.offset)
        if self._offset > below.size:
            raise ConfigError(
                "offset", f"{self._offset} is past the end of {below.name!r}, which has {below.size} bytes"
            )
        room = below.size - self._offset
        size = room if self.options.size is None else int(self.options.size)
        if size > room:
            raise ConfigError(
                "size", f"{size} bytes at offset {self._offset} reach past the end of {below.name!r}", f"at most {room}"
            )
        self.read_only = self.read_only or below.read_only
        return size

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        await self.file.preadv(self._offset + offset, buffers)

    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        await self.file.pwritev(self._offset + offset, buffers)

    async def flush(self) -> None:
        await self.file.flush()

    async def discard(self, offset: int, length: int) -> None:
        await self.file.discard(self._offset + offset, length)

    async def write_zeroes(self, offset: int, length: int, *, may_unmap: bool = False) -> None:
        await self.file.write_zeroes(self._offset + offset, length, may_unmap=may_unmap)
