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
        #: Whole buffers by their size.
        self._free: dict[int, list[memoryview]] = {}
        self._kept = 0

    def take(self, length: int) -> memoryview:
        """Memory for ``length`` bytes, with anything in it."""
        size = _SMALLEST if length <= _SMALLEST else 1 << (length - 1).bit_length()
        free = self._free.get(size)
        if free:
            self._kept -= size
            whole = free.pop()
        else:
            whole = memoryview(mmap.mmap(-1, size))
        return whole if length == size else whole[:length]

    def give(self, view: memoryview) -> None:
        """Take back what ``take`` gave; nobody uses it any more."""
        memory: mmap.mmap = view.obj  # type: ignore[assignment]
        size = len(memory)
        if self._kept + size > MAX_KEPT:
            return
        self._kept += size
        whole = view if len(view) == size else memoryview(memory)
        free = self._free.get(size)
        if free is None:
            self._free[size] = [whole]
        else:
            free.append(whole)
