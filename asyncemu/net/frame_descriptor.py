# SPDX-License-Identifier: GPL-2.0-or-later
"""FrameDescriptor: a descriptor that takes and gives one frame a system call, as the outside of a port.

descriptor ──read──▶ Arrivals ──▶ port.send          a full guest: we read no more, and the kernel drops
descriptor ◀──write── transmit ◀── port              a full descriptor: frames stay in the guest's ring
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Final

from asyncemu.memory.buffers import Buffers
from asyncemu.net.arrivals import Arrivals
from asyncemu.net.frame import Frames, VnetHeader
from asyncemu.net.plain_frames import plain
from asyncemu.net.port import NetPort

#: Views of one system call at most: IOV_MAX of Linux.
MAX_VIEWS: Final = 1024


class FrameDescriptor(ABC):
    """Home: the port's. Subclasses own the descriptor."""

    def __init__(self, port: NetPort) -> None:
        #: Frames of the guest whose header does not fit them.
        self.malformed = 0
        self.port = port
        self.arrivals = Arrivals(port, self.read)
        self._reading = True
        # Segments of a frame that was taken, behind which there was no more room.
        self._rest: deque[bytes] = deque()
        self._full = False
        # uvloop stops watching a descriptor when there is an error (EPOLLERR), without a word.
        self._erred = False

    # ---- for subclasses

    @abstractmethod
    def fileno(self) -> int:
        """-1: it is closed."""

    @abstractmethod
    def read(self, views: Buffers) -> tuple[int, VnetHeader] | None:
        """See Arrivals.Read."""

    @abstractmethod
    def write(self, views: Sequence[bytes | memoryview]) -> bool:
        """One frame, of MAX_VIEWS at most. False: there is no room now; whatever else fails loses the frame."""

    def erred(self) -> None:
        """A system call has failed for what went before; it goes on."""
        self._erred = True

    # ---- life

    def start(self) -> None:
        """Read from now on."""
        self._watch()

    def stop(self) -> None:
        """Watch no more; before it is closed."""
        if self.fileno() >= 0:
            self.port.context.set_fd_handler(self.fileno(), None)

    # ---- to the descriptor

    def transmit(self, frames: Frames) -> int:
        """Finished frames: how many were taken; ``port.ready`` follows for the others."""
        if self._full:
            return 0
        if self.fileno() < 0:
            return len(frames)
        for index, frame in enumerate(frames):
            parts = plain(frame)
            self.malformed += not parts
            for number, part in enumerate(parts):
                if self.send(part.buffers):
                    continue
                # What has begun is finished; else the guest's next attempt would repeat the first segments.
                self._rest += [each.tobytes() for each in parts[number:]] if number else ()
                return self.wait(index + (number > 0))
        return len(frames)

    def send(self, views: Sequence[bytes | memoryview]) -> bool:
        """One frame of any number of views. False: there is no room now."""
        return self.write(views if len(views) <= MAX_VIEWS else (b"".join(views),))

    def wait(self, taken: int) -> int:
        """Until there is room; ``taken`` is what ``transmit`` returns then."""
        self._full = True
        self._watch()
        return taken

    def _writable(self) -> None:
        while self._rest:
            if not self.send((self._rest[0],)):
                return
            self._rest.popleft()
        self._full = False
        self._watch()
        self.port.ready()

    @property
    def is_full(self) -> bool:
        """Does it wait for room?"""
        return self._full

    # ---- from the descriptor

    def writable(self) -> None:
        """The peer of the port takes frames again."""
        if not self._reading:
            self._reading = True
            self._watch()
            self._readable()

    def _readable(self) -> None:
        if self.fileno() < 0:
            return
        self._reading = self.arrivals.take()
        if self._erred or not self._reading:
            self._watch()

    def _watch(self) -> None:
        fd = self.fileno()
        if fd < 0:
            return
        if self._erred:
            self._erred = False
            self.port.context.set_fd_handler(fd, None)
        self.port.context.set_fd_handler(
            fd, self._readable if self._reading else None, self._writable if self._full else None
        )
