# SPDX-License-Identifier: GPL-2.0-or-later
"""Metadata contexts of an export: what BLOCK_STATUS tells of. Spec: proto.md, "Metadata querying".

``base:allocation`` and QEMU's ``qemu:allocation-depth``; a dirty bitmap is another MetadataSource, whose name begins
with QEMU_DIRTY_BITMAP.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Final, Protocol

from asyncemu.block.backend import BlockBackend
from asyncemu.block.flags import STATUS_DATA, STATUS_ZERO
from asyncemu.block.nbd.constants import BASE_ALLOCATION, QEMU_ALLOCATION_DEPTH, STATE_HOLE, STATE_ZERO

#: Extents in one chunk: a mebibyte of them. QEMU: NBD_MAX_BLOCK_STATUS_EXTENTS.
MAX_EXTENTS: Final = (1 << 20) // 8

#: After so many questions to the node, which may all be answered in place, others of the loop have a turn (arbitrary;
#: about a millisecond).
TURN: Final = 64

_MAX_LENGTH: Final = 0xFFFFFFFF


class ExtentList:
    """Consecutive extents: neighbours of one status are one. QEMU: NBDExtentArray."""

    def __init__(self, limit: int = MAX_EXTENTS) -> None:
        self._limit = limit
        #: (length in bytes, status flags).
        self.extents: list[tuple[int, int]] = []

    def add(self, length: int, status: int) -> bool:
        """The next ``length`` bytes, not none; False: there is no room, and nothing more can be added."""
        extents = self.extents
        if extents:
            last_length, last_status = extents[-1]
            if last_status == status and last_length + length <= _MAX_LENGTH:
                extents[-1] = last_length + length, status
                return True
        if len(extents) >= self._limit:
            return False
        extents.append((length, status))
        return True


class MetadataSource(Protocol):
    """One metadata context of an export. Home: the export's."""

    name: str

    async def fill(self, extents: ExtentList, offset: int, length: int) -> None:
        """Add what is known of ``length`` bytes, which are within the export. Raises BlockError.

        It stops where ``extents`` has no room, or where it has done enough: at least one extent is there then.
        """


class AllocationSource:
    """``base:allocation``."""

    name = BASE_ALLOCATION

    def __init__(self, backend: BlockBackend) -> None:
        self._backend = backend

    async def fill(self, extents: ExtentList, offset: int, length: int) -> None:
        """See MetadataSource."""
        for count in itertools.count(1):
            status = await self._backend.block_status(offset, length)
            flags = 0 if status.flags & STATUS_DATA else STATE_HOLE
            if status.flags & STATUS_ZERO:
                flags |= STATE_ZERO
            if not status.length or not extents.add(status.length, flags) or status.length == length:
                return
            offset += status.length
            length -= status.length
            if count % TURN == 0:
                await asyncio.sleep(0)


class DepthSource:
    """``qemu:allocation-depth``: which layer of the chain decides what is read, from 1; 0: none."""

    name = QEMU_ALLOCATION_DEPTH

    def __init__(self, backend: BlockBackend) -> None:
        self._backend = backend

    async def fill(self, extents: ExtentList, offset: int, length: int) -> None:
        """See MetadataSource."""
        for count in itertools.count(1):
            depth, known = await self._backend.allocation_depth(offset, length)
            if not known or not extents.add(known, depth) or known == length:
                return
            offset += known
            length -= known
            if count % TURN == 0:
                await asyncio.sleep(0)
