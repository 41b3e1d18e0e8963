# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of a MemoryDisk: which requests fail, wait, or are done by half.

    disk = node.driver
    disk.inject(Fault("pwritev", nth=3, error=errno.ENOSPC))            # the third write from now on
    disk.inject(Fault("preadv", sectors=range(8, 16), times=None))      # all reads that touch these sectors: EIO
    disk.inject(Fault("pwritev", stored=512))                           # a torn write: 512 bytes, then EIO
    slow = disk.inject(Fault("flush", error=0, held=True))              # waits until it is told to go on
    ...
    await slow.reached()
    slow.release()

A request meets the faults in the order in which they were injected; the first that fits decides. Without any, or when
none fits, it is done.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Container
from typing import Final, Literal

Method = Literal["preadv", "pwritev", "flush", "discard", "write_zeroes", "truncate"]

#: Bytes that ``sectors`` counts.
SECTOR: Final = 512

#: Sectors of one request that are looked at, at most: a whole disk may be discarded at once.
MAX_SECTORS: Final = 1 << 16


class Fault:
    """What happens to some of the requests. Everything in the disk's home."""

    def __init__(
        self,
        method: Method | None = None,
        *,
        nth: int = 1,
        times: int | None = 1,
        sectors: Container[int] | None = None,
        error: int = errno.EIO,
        held: bool = False,
        stored: int = 0,
    ) -> None:
        """For requests of ``method`` (None: of any) that touch one of ``sectors`` (None: any): the ``nth`` of them and
        those behind it, ``times`` in all (None: for ever).

        ``held``: they wait until ``release``. Then they fail with the errno ``error``; 0: they are done after all.
        ``stored``: bytes of a write that reach the disk although it fails.
        """
        if nth < 1 or (times is not None and times < 1) or stored < 0:
            raise ValueError(f"nth {nth}, times {times}, stored {stored}")
        self.method = method
        self.error = error
        self.held = held
        self.stored = stored
        #: Requests that it has decided.
        self.hits = 0
        self._skip = nth - 1
        self._left = times
        self._sectors = sectors
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    def fits(self, method: str, offset: int, length: int) -> bool:
        """Does it decide this request? Counts it."""
        if self.method not in (None, method) or self._left == 0 or not self._touches(offset, length):
            return False
        if self._skip:
            self._skip -= 1
            return False
        if self._left is not None:
            self._left -= 1
        self.hits += 1
        return True

    def _touches(self, offset: int, length: int) -> bool:
        if self._sectors is None:
            return True
        first, last = offset // SECTOR, (offset + max(length, 1) - 1) // SECTOR
        return any(sector in self._sectors for sector in range(first, min(last, first + MAX_SECTORS) + 1))

    async def reached(self) -> None:
        """Return when a request has met it."""
        await self._reached.wait()

    def release(self) -> None:
        """Let those that wait go on, and those that come."""
        self._released.set()

    async def strike(self) -> None:
        """For the disk: wait, if it is held, and fail. OSError."""
        self._reached.set()
        if self.held:
            await self._released.wait()
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
