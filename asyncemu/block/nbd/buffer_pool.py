# SPDX-License-Identifier: GPL-2.0-or-later
"""BufferPool: memory for the data of one client's requests, used again: the kernel zeroes each new page.

One pool a client: what a driver leaves as it is in a buffer, the client has seen before.
"""

from __future__ import annotations

import mmap
from typing import Final

#: The smallest buffer; the others are this times a power of two.
_SMALLEST: Final = mmap.PAGESIZE
#: Bytes kept for later, of one client (arbitrary: sixteen requests of a megabyte).
MAX_KEPT: Final = 16 << 20


class BufferPool:
    """Buffers are page-aligned, as direct I/O wants them."""

    __slots__ = ("_free", "_kept")

    def __init__(self) -> None:
        self._free: dict[int, list[mmap.mmap]] = {}
        self._kept = 0

    def take(self, length: int) -> memoryview:
        """Memory for ``length`` bytes, with anything in it."""
        size = _SMALLEST if length <= _SMALLEST else 1 << (length - 1).bit_length()
        free = self._free.get(size)
        if free:
            self._kept -= size
            return memoryview(free.pop())[:length]
        return memoryview(mmap.mmap(-1, size))[:length]

    def give(self, view: memoryview) -> None:
        """Take back what ``take`` gave; nobody uses it any more."""
        memory = view.obj
        assert isinstance(memory, mmap.mmap)
        size = len(memory)
        if self._kept + size <= MAX_KEPT:
            self._kept += size
            self._free.setdefault(size, []).append(memory)
