# SPDX-License-Identifier: GPL-2.0-or-later
"""NetQueue: frames that wait until a full peer takes them; for who can't leave them where they come from.

Bounded: a frame for which there is no room is dropped and counted, as on a wire. QEMU: NetQueue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from asyncemu.net.frame import Frame, Frames

#: Frames and bytes that wait at most. QEMU lets 10,000 wait; a guest that takes nothing for so long wants none of them.
MAX_FRAMES: Final = 1024
MAX_BYTES: Final = 4 << 20


class NetQueue:
    """In front of ``send``, which takes frames or not. At the home of who owns it."""

    def __init__(self, send: Callable[[Frames], int], max_frames: int = MAX_FRAMES, max_bytes: int = MAX_BYTES) -> None:
        self._send = send
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._frames: deque[Frame] = deque()
        self._nbytes = 0
        self._flushing = False
        #: Frames that found no room.
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._frames)

    def send(self, frame: Frame) -> bool:
        """Send a frame, now or later, behind those that wait; a copy is made only when it waits. False: dropped."""
        if not self._frames and not self._flushing and self._send((frame,)):
            return True
        length = frame.nbytes
        if len(self._frames) >= self._max_frames or self._nbytes + length > self._max_bytes:
            self.dropped += 1
            return False
        self._frames.append(frame.copy())
        self._nbytes += length
        return True

    def flush(self) -> bool:
        """Frames are taken again: send what waits. True when nothing does any more."""
        if self._flushing:
            return False
        self._flushing = True
        try:
            while self._frames:
                frame = self._frames[0]
                if not self._send((frame,)):
                    return False
                self._frames.popleft()
                self._nbytes -= frame.nbytes
        finally:
            self._flushing = False
        return True

    def clear(self) -> None:
        """Forget what waits. QEMU: qemu_purge_queued_packets."""
        self._frames.clear()
        self._nbytes = 0
