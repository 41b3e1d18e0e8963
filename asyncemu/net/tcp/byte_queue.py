# SPDX-License-Identifier: GPL-2.0-or-later
"""ByteQueue: bytes that wait, in chunks; appended at the end, dropped at the start, read anywhere as views."""

from __future__ import annotations

from collections import deque
from typing import Final

from asyncemu.memory.buffers import Buffers

#: Bytes of the memory that ``reserve`` hands out, for a large read from a socket.
RESERVED: Final = 64 << 10
#: Bytes of a chunk in which small pieces are collected; else a byte that waits would cost hundreds.
COLLECTED: Final = 4096


class ByteQueue:
    """At most ``capacity`` bytes; the memory in use is less than three times as much, and one ``reserve``.

    Views of what waits are good until it is dropped.
    """

    __slots__ = ("_chunks", "_filled", "_tail", "capacity", "length")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._chunks: deque[memoryview] = deque()
        #: Bytes that wait.
        self.length = 0
        #: Memory whose first ``_filled`` bytes are used; they end with the last chunk.
        self._tail: memoryview | None = None
        self._filled = 0

    def __len__(self) -> int:
        return self.length

    @property
    def room(self) -> int:
        """Bytes that may still be appended."""
        return self.capacity - self.length

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Append a copy; large ``bytes`` are kept without copying. The caller has seen that there is ``room``."""
        length = len(data)
        tail = self._tail
        if not length:
            return
        if tail is None or len(tail) - self._filled < length:
            if length >= COLLECTED // 2:
                self._tail = None
                self._chunks.append(memoryview(data if isinstance(data, bytes) else bytes(data)))
                self.length += length
                return
            tail = self._allocate(COLLECTED)
        tail[self._filled : self._filled + length] = data
        self.commit(length)

    def reserve(self) -> memoryview:
        """Memory at the end, to write to and ``commit``; empty when there is no room."""
        room = self.room
        tail = self._tail
        if tail is None or len(tail) - self._filled < min(room, COLLECTED):
            tail = self._allocate(min(room, RESERVED))
        return tail[self._filled : self._filled + room]

    def commit(self, length: int) -> None:
        """The first ``length`` bytes of what was reserved are written."""
        tail, filled, chunks = self._tail, self._filled, self._chunks
        assert tail is not None
        end = filled + length
        if filled and chunks:
            # The last chunk is the start of this memory, or the rest of it.
            start = filled - len(chunks[-1])
            chunks[-1] = tail[start:end]
        elif length:
            chunks.append(tail[filled:end])
        self._filled = end
        self.length += length

    def drop(self, length: int) -> None:
        """Remove the first ``length`` bytes. The caller knows that there are so many."""
        chunks = self._chunks
        self.length -= length
        while length:
            first = chunks[0]
            if len(first) > length:
                chunks[0] = first[length:]
                return
            length -= len(first)
            chunks.popleft()
        if not chunks:
            if self._tail is not None and len(self._tail) > COLLECTED:
                # An idle connection holds no large memory.
                self._tail = None
            self._filled = 0

    def clear(self) -> None:
        """Forget everything."""
        self._chunks.clear()
        self.length = self._filled = 0
        self._tail = None

    def views(self, max_views: int) -> Buffers:
        """What waits, from its start; of so many chunks at most."""
        if len(self._chunks) <= max_views:
            return Buffers(self._chunks)
        return Buffers(self._chunks[index] for index in range(max_views))

    def slice(self, start: int, length: int) -> Buffers:
        """``length`` bytes from ``start`` on. The caller knows that they are there, and not none."""
        first = self._chunks[0]
        if not start and len(first) == length:
            # The usual case of a connection that asks and answers.
            return Buffers((first,))
        found = Buffers()
        for chunk in self._chunks:
            size = len(chunk)
            if start >= size:
                start -= size
                continue
            if size - start >= length:
                found.append(chunk[start : start + length] if start or size > length else chunk)
                break
            found.append(chunk[start:] if start else chunk)
            length -= size - start
            start = 0
        return found

    def _allocate(self, size: int) -> memoryview:
        self._tail = memoryview(bytearray(size))
        self._filled = 0
        return self._tail
