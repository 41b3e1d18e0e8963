# SPDX-License-Identifier: GPL-2.0-or-later
"""FilterDriver: base of drivers that pass requests on to one child, with the same data at the same offsets.

A subclass overrides what it wants to do otherwise, and calls the rest:

    class Count(FilterDriver[FilterOptions], name="count"):
        async def preadv(self, offset: int, buffers: Buffers) -> None:
            self.reads += 1
            await super().preadv(offset, buffers)

Flushes go on to the child by themselves (flushing.py), and so does the question where the bytes are (status.py).
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from asyncemu.block.child import BlockChild
from asyncemu.block.driver import BlockDriver, BlockDriverOptions, BlockOptionsT, ChildSlot
from asyncemu.block.flags import FUA, MAY_UNMAP, NO_FALLBACK, ROLE_FILTER, WRITE_UNCHANGED
from asyncemu.block.types import ImageInfo, Preallocation, Reopening
from asyncemu.block.unchangeable import refuse_own_changes
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option


class FilterOptions(BlockDriverOptions):
    """Keys of a filter."""

    file: str | dict[str, Any] = option(description="What is below: a node-name, or a table that makes a node.")


#: What the child must know, so that it can be passed on.
_OF_WRITES: Final = FUA
_OF_ZEROES: Final = MAY_UNMAP | FUA | NO_FALLBACK


def passed_flags(below: BlockDriver[Any]) -> tuple[int, int]:
    """``write_flags`` and ``zero_flags`` of a driver that passes requests on to ``below``. QEMU: supported_write_flags.

    What ``below`` can't do is done without it here already: a flush behind a write with FUA, say, passes all drivers.
    """
    return WRITE_UNCHANGED | _OF_WRITES & below.write_flags, WRITE_UNCHANGED | _OF_ZEROES & below.zero_flags


def without_padding(driver: BlockDriver[Any], offset: int, buffers: Buffers) -> Buffers:
    """What of a write is within the node of ``driver``, where that may not grow: below is no room for what pads it."""
    node = driver.node
    if node.limits.request_alignment == 1 or node.may_grow:
        return buffers
    return buffers.head(max(node.size - offset, 0), len(buffers))


class FilterDriver(BlockDriver[BlockOptionsT]):
    """Passes all on to the child ``file``."""

    children: ClassVar[tuple[ChildSlot, ...]] = (ChildSlot("file", ROLE_FILTER),)
    file: BlockChild

    @property
    def below(self) -> BlockChild:
        """The child, for subclasses that have it under another name."""
        return self.file

    async def open(self) -> int:
        """The child's size; read-only and growing as it is, and with its flags."""
        below = self.below.node
        self.write_flags, self.zero_flags = passed_flags(below.driver)
        self.read_only = self.read_only or below.read_only
        self.growable = below.driver.growable
        return below.size

    async def prepare_reopen(self, options: BlockDriverOptions) -> Reopening | None:
        """The options that all drivers have may change, those of the filter may not."""
        refuse_own_changes(self.options, options)
        return None

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        await self.below.preadv(offset, buffers)

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        await self.below.pwritev(offset, without_padding(self, offset, buffers), flags)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        await self.below.write_zeroes(offset, length, flags)

    async def discard(self, offset: int, length: int) -> None:
        await self.below.discard(offset, length)

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        await self.below.truncate(size, exact=exact, preallocation=preallocation, zero=zero)
        return self.below.size

    def has_zero_init(self) -> bool:
        return self.below.node.driver.has_zero_init()

    async def image_info(self) -> ImageInfo:
        return await self.below.node.driver.image_info()
