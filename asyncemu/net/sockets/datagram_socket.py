# SPDX-License-Identifier: GPL-2.0-or-later
"""DatagramSocket: a datagram for each frame, as the outside of a port. QEMU: net/dgram.c, net/socket.c.

Who has no peer yet loses frames, as on any wire: errors that the last datagram caused (ECONNREFUSED, ENOENT...) are
counted, and that is all.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import Any, Final

from asyncemu.memory.buffers import Buffers
from asyncemu.net.arrivals import Arrivals
from asyncemu.net.frame import PLAIN, Frames, VnetHeader
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.plain_frames import plain
from asyncemu.net.port import NetPort

#: Views of one system call at most: IOV_MAX of Linux.
_MAX_VIEWS: Final = 1024

# As a plain number: an enum's operators take as long as the system call.
_TRUNCATED: Final = int(socket.MSG_TRUNC)

#: Reads in a row that may give an error: each is that of one datagram sent.
_MAX_ERRORS: Final = 64


class DatagramSocket:
    """Owns the socket. Home: the port's. ``remote``: where frames go; None: the socket is connected."""

    def __init__(self, port: NetPort, datagrams: socket.socket, remote: Any = None) -> None:
        #: Datagrams that the host or the peer would not have.
        self.refused = 0
        #: Frames of the guest whose header does not fit them.
        self.malformed = 0
        self.socket = datagrams
        self._remote = remote
        self._port = port
        self._arrivals = Arrivals(port, self._read)
        self._reading = True
        # Segments of a frame that was taken, behind which the host had no more room.
        self._rest: deque[bytes] = deque()
        self._full = False

    def start(self) -> None:
        """Read from now on."""
        self._watch()

    def close(self) -> None:
        """A second close does nothing."""
        if self.socket.fileno() >= 0:
            self._port.context.set_fd_handler(self.socket.fileno(), None)
            self.socket.close()

    @property
    def dropped_arriving(self) -> int:
        """Datagrams that are no frame."""
        return self._arrivals.dropped

    # ---- to the socket

    def transmit(self, frames: Frames) -> int:
        """How many were taken; ``port.ready`` follows for the others."""
        if self._full:
            return 0
        for index, frame in enumerate(frames):
            parts = plain(frame)
            self.malformed += not parts
            for number, part in enumerate(parts):
                if self._send(part.buffers):
                    continue
                # What has begun is finished; else the guest's next attempt would repeat the first segments.
                self._rest += [each.tobytes() for each in parts[number:]] if number else ()
                self._full = True
                self._watch()
                return index + (number > 0)
        return len(frames)

    def _send(self, views: list[memoryview] | tuple[bytes, ...]) -> bool:
        """False: there is no room now."""
        if len(views) > _MAX_VIEWS:
            views = (b"".join(views),)
        try:
            if self._remote is None:
                self.socket.sendmsg(views)
            else:
                self.socket.sendmsg(views, (), 0, self._remote)
        except BlockingIOError:
            return False
        except OSError:
            self.refused += 1
        return True

    def _writable(self) -> None:
        while self._rest:
            if not self._send((self._rest[0],)):
                return
            self._rest.popleft()
        self._full = False
        self._watch()
        self._port.ready()

    # ---- from the socket

    def writable(self) -> None:
        """The peer of the port takes frames again."""
        if not self._reading:
            self._reading = True
            self._watch()
            self._readable()

    def _readable(self) -> None:
        if self.socket.fileno() >= 0 and not self._arrivals.take():
            self._reading = False
            self._watch()

    def _read(self, views: Buffers) -> tuple[int, VnetHeader] | None:
        for _ in range(_MAX_ERRORS):
            try:
                length, _, flags, _ = self.socket.recvmsg_into(views)
            except BlockingIOError:
                return None
            except OSError:
                self.refused += 1
                continue
            if not length or flags & _TRUNCATED:
                raise Malformed("no bytes, or too many")
            return length, PLAIN
        return None

    # ---- inside

    def _watch(self) -> None:
        if self.socket.fileno() >= 0:
            self._port.context.set_fd_handler(
                self.socket.fileno(),
                self._readable if self._reading else None,
                self._writable if self._full else None,
            )
