# SPDX-License-Identifier: GPL-2.0-or-later
"""KnownData: where an export was last found to hold data, so that not each read has to ask again.

A read asks in order to send holes as holes. To take a hole for data is no error: its zeroes are read and sent. So this
needs to know only of those holes that matter, which clients of the export make themselves. QEMU: the block status cache
of its protocol drivers.
"""

from __future__ import annotations

from asyncemu.block.backend import BlockBackend
from asyncemu.block.flags import STATUS_ZERO


class KnownData:
    """Of one export. Home: the backend's."""

    __slots__ = ("_backend", "_end", "_looks_ahead", "_start")

    def __init__(self, backend: BlockBackend) -> None:
        self._backend = backend
        self._start = 0
        self._end = 0
        # Where a file system says where the next hole is, that costs the same however far it is. A format with layers
        # walks through its tables.
        self._looks_ahead = not backend.node.driver.supports_backing

    def covers(self, start: int, end: int) -> bool:
        """Are the bytes [start, end) known to be data?"""
        return self._start <= start and end <= self._end

    async def is_hole(self, start: int, end: int) -> tuple[bool, int]:
        """Does what begins at ``start`` read as zeroes; where that ends, ``end`` at the latest. Raises BlockError."""
        if self._start <= start < self._end:
            return False, min(end, self._end)
        asked = self._backend.size - start if self._looks_ahead else end - start
        status = await self._backend.block_status(start, asked)
        # Nothing known: the node has become shorter, and reading will say so.
        known = start + status.length if status.length else end
        if status.flags & STATUS_ZERO:
            return True, min(end, known)
        self._start, self._end = start, known
        return False, min(end, known)

    def forget(self, offset: int, length: int) -> None:
        """There may be holes now."""
        if offset < self._end and self._start < offset + length:
            self._start = self._end = 0
