# SPDX-License-Identifier: GPL-2.0-or-later
"""OverlapOrder: read-modify-write without losing the bytes of a neighbour.

A write that does not fill its first or last aligned block reads that block, changes it and writes it back. Whatever
else is written to the block in between would be lost. So such a write (*exclusive*) never runs beside another write
that touches one of its blocks; all other writes run side by side, as the guest asked for.

Deadlock-free: everybody waits only for those that came earlier.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _Turn:
    __slots__ = ("end", "exclusive", "over", "start")

    def __init__(self, start: int, end: int, exclusive: bool) -> None:
        self.start = start
        self.end = end
        self.exclusive = exclusive
        self.over = asyncio.Event()


class OverlapOrder:
    """The writes of one node that are in flight, in the order of their arrival. Home context only."""

    def __init__(self) -> None:
        self._turns: list[_Turn] = []

    @asynccontextmanager
    async def turn(self, start: int, end: int, *, exclusive: bool) -> AsyncIterator[None]:
        """Inside, no conflicting write to the bytes [start, end), in whole blocks, is in flight."""
        mine = _Turn(start, end, exclusive)
        earlier = [
            other for other in self._turns if other.start < end and start < other.end and (exclusive or other.exclusive)
        ]
        self._turns.append(mine)
        try:
            for other in earlier:
                await other.over.wait()
            yield
        finally:
            self._turns.remove(mine)
            mine.over.set()
