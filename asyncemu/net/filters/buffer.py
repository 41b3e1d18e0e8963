# SPDX-License-Identifier: GPL-2.0-or-later
"""filter-buffer: frames wait, and go on together every ``interval``. QEMU: net/filter-buffer.c."""

from __future__ import annotations

from collections import deque
from typing import Final

from pydantic import Field

from asyncemu.loop import AioContext, Clock
from asyncemu.net.filter import FilterOptions, NetFilter, Way
from asyncemu.net.frame import Frame, Frames

#: What waits in one direction at most; senders keep what is more.
MAX_FRAMES: Final = 4096
MAX_BYTES: Final = 16 << 20

_US: Final = 1000


class BufferOptions(FilterOptions):
    """Options of filter-buffer."""

    interval: int = Field(ge=1, le=(1 << 32) - 1, description="Microseconds from one release to the next.")


class _Waiting:
    """One direction."""

    __slots__ = ("due", "flushing", "frames", "nbytes", "refused")

    def __init__(self) -> None:
        self.frames: deque[Frame] = deque()
        self.nbytes = 0
        #: So many of them, from the first on, have had their time.
        self.due = 0
        #: Somebody was sent away as there was no room.
        self.refused = False
        self.flushing = False


class Buffer(NetFilter[BufferOptions], name="filter-buffer"):
    """The time is the guest's: nothing is released while the machine stands still."""

    description = "Holds frames back and releases them together, every so often."

    def __init__(self, options: BufferOptions, id: str, context: AioContext, clock: Clock) -> None:
        super().__init__(options, id, context, clock)
        #: Frames that waited and that nobody took when the filter was taken off the link, or that lost its device.
        self.lost = 0
        self._waiting = {True: _Waiting(), False: _Waiting()}
        self._timer = context.timer(clock, self._release)

    async def open(self) -> None:
        self._timer.mod(self.clock.now() + self.options.interval * _US)

    async def close(self) -> None:
        self._timer.cancel()

    def pass_on(self, frames: Frames, way: Way) -> int:
        waiting = self._waiting[way.to_netdev]
        for index, frame in enumerate(frames):
            length = frame.nbytes
            if len(waiting.frames) >= MAX_FRAMES or waiting.nbytes + length > MAX_BYTES:
                waiting.refused = True
                return index
            waiting.frames.append(frame.copy())
            waiting.nbytes += length
        return len(frames)

    def next_ready(self, way: Way) -> None:
        self._flush(way)

    def status_changed(self) -> None:
        if self.enabled:
            self._timer.mod(self.clock.now() + self.options.interval * _US)
        else:
            self._timer.cancel()
            self._release_all()

    def _release(self) -> None:
        self._timer.mod(self.clock.now() + self.options.interval * _US)
        self._release_all()

    def _release_all(self) -> None:
        for way in list(self.ways):
            waiting = self._waiting[way.to_netdev]
            waiting.due = len(waiting.frames)
            self._flush(way)
        looked_at = {way.to_netdev for way in self.ways} if self.enabled else set()
        for to_netdev in {True, False} - looked_at:
            self.lost += len(self._waiting[to_netdev].frames)
            self._waiting[to_netdev] = _Waiting()

    def _flush(self, way: Way) -> None:
        waiting = self._waiting[way.to_netdev]
        if waiting.flushing:
            return
        waiting.flushing = True
        while waiting.due:
            frame = waiting.frames[0]
            if not way.forward((frame,)):
                break
            waiting.frames.popleft()
            waiting.due -= 1
            waiting.nbytes -= frame.nbytes
        waiting.flushing = False
        if waiting.refused and len(waiting.frames) < MAX_FRAMES and waiting.nbytes < MAX_BYTES:
            waiting.refused = False
            way.ready()
