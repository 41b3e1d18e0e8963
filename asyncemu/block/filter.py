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

from typing import Any, ClassVar

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


class FilterDriver(BlockDriver[BlockOptionsT]):
    """Passes all on to the child ``file``."""

    children: ClassVar[tuple[ChildSlot, ...]] = (ChildSlot("file", ROLE_FILTER),)
    file: BlockChild
    # The node below does without what its driver does not know.
    write_flags = FUA | WRITE_UNCHANGED
    zero_flags = MAY_UNMAP | FUA | NO_FALLBACK | WRITE_UNCHANGED

    @property
    def below(self) -> BlockChild:
        """The child, for subclasses that have it under another name."""
        return self.file

    async def open(self) -> int:
        """The child's size; read-only and growing as it is."""
        below = self.below.node
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
        if self.limits.request_alignment > 1 and not self.growable:
            # The last block may reach past the end: below there is no room for what pads it.
            buffers = buffers.head(max(self.below.size - offset, 0), len(buffers))
        await self.below.pwritev(offset, buffers, flags)

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
