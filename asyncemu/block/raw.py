# SPDX-License-Identifier: GPL-2.0-or-later
"""RawDriver: another node as it is, or a window of it."""

from __future__ import annotations

from typing import Any

from asyncemu.block.child import BlockChild
from asyncemu.block.driver import BlockDriver, BlockDriverOptions, ChildSlot
from asyncemu.block.flags import (
    FUA,
    MAY_UNMAP,
    NO_FALLBACK,
    ROLE_DATA,
    ROLE_FILTER,
    ROLE_PRIMARY,
    STATUS_OFFSET_VALID,
    STATUS_RAW,
)
from asyncemu.block.types import BlockStatus, Preallocation
from asyncemu.errors import ConfigError
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option
from asyncemu.size import Size


class RawOptions(BlockDriverOptions):
    """Keys of the ``raw`` driver; QEMU's names."""

    file: str | dict[str, Any] = option(description="What is below: a node-name, or a table that makes a node.")
    offset: Size = option(default=0, description="Where the window begins.")
    size: Size | None = option(default=None, description="Length of the window; default: up to the end.")


class RawDriver(BlockDriver[RawOptions], name="raw"):
    """Shifts offsets; the node below does the rest, alignment included."""

    description = "Another node as it is, or a window of it."

    children = (ChildSlot("file", ROLE_FILTER),)
    file: BlockChild
    is_format = True
    growable = True
    write_flags = FUA
    zero_flags = MAY_UNMAP | FUA | NO_FALLBACK

    async def open(self) -> int:
        """The size of the window in bytes. ConfigError when it is not within the node below."""
        below = self.file
        self._offset = int(self.options.offset)
        if self._offset > below.size:
            raise ConfigError(
                "offset", f"{self._offset} is past the end of {below.node.name!r}, which has {below.size} bytes"
            )
        room = below.size - self._offset
        size = room if self.options.size is None else int(self.options.size)
        if size > room:
            raise ConfigError(
                "size",
                f"{size} bytes at offset {self._offset} reach past the end of {below.node.name!r}",
                f"at most {room}",
            )
        self.read_only = self.read_only or below.node.read_only
        self.growable = self.options.size is None and below.node.driver.growable
        return size

    def child_role(self, slot: ChildSlot) -> int:
        """A window is no filter: offsets differ."""
        if self.options.offset or self.options.size is not None:
            return ROLE_DATA | ROLE_PRIMARY
        return slot.role

    def child_resized(self, child: BlockChild) -> int | None:
        return None if self.options.size is not None else max(child.size - self._offset, 0)

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        await self.file.preadv(self._offset + offset, buffers)

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        await self.file.pwritev(self._offset + offset, buffers, flags)

    async def discard(self, offset: int, length: int) -> None:
        await self.file.discard(self._offset + offset, length)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        await self.file.write_zeroes(self._offset + offset, length, flags)

    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        return BlockStatus(STATUS_RAW | STATUS_OFFSET_VALID, length, self._offset + offset, self.file.node)

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        if self.options.size is not None:
            raise ConfigError("size", "Cannot resize fixed-size raw disks")
        await self.file.truncate(size + self._offset, exact=exact, preallocation=preallocation, zero=zero)
        return self.file.size - self._offset

    def has_zero_init(self) -> bool:
        return self.file.node.driver.has_zero_init()
