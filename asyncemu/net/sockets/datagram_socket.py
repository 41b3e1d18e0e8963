# SPDX-License-Identifier: GPL-2.0-or-later
"""DatagramSocket: a datagram for each frame, as the outside of a port. QEMU: net/dgram.c, net/socket.c.

Who has no peer yet loses frames, as on any wire: errors that the last datagram caused (ECONNREFUSED, ENOENT...) are
counted, and that is all.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Final

from asyncemu.memory.buffers import Buffers
from asyncemu.net.frame import PLAIN, VnetHeader
from asyncemu.net.frame_descriptor import FrameDescriptor
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.port import NetPort

# As a plain number: an enum's operators take as long as the system call.
_TRUNCATED: Final = int(socket.MSG_TRUNC)

#: Reads in a row that may give an error: each is that of one datagram sent.
_MAX_ERRORS: Final = 64


class DatagramSocket(FrameDescriptor):
    """Owns the socket. Home: the port's. ``remote``: where frames go; None: the socket is connected."""

    def __init__(self, port: NetPort, datagrams: socket.socket, remote: Any = None) -> None:
        super().__init__(port)
        #: Datagrams that the host or the peer would not have.
        self.refused = 0
        self.socket = datagrams
        self._remote = remote

    def fileno(self) -> int:
        """See FrameDescriptor."""
        return self.socket.fileno()

    def close(self) -> None:
        """A second close does nothing."""
        self.stop()
        self.socket.close()

    @property
    def dropped_arriving(self) -> int:
        """Datagrams that are no frame."""
        return self.arrivals.dropped

    def write(self, views: Sequence[bytes | memoryview]) -> bool:
        """See FrameDescriptor."""
        try:
            if self._remote is None:
                self.socket.sendmsg(views)
            else:
                self.socket.sendmsg(views, (), 0, self._remote)
        except BlockingIOError:
            return False
        except OSError:
            self.refused += 1
            self.erred()
        return True

    def read(self, views: Buffers) -> tuple[int, VnetHeader] | None:
        """See FrameDescriptor."""
        for _ in range(_MAX_ERRORS):
            try:
                length, _, flags, _ = self.socket.recvmsg_into(views)
            except BlockingIOError:
                return None
            except OSError:
                self.refused += 1
                self.erred()
                continue
            if not length or flags & _TRUNCATED:
                raise Malformed("no bytes, or too many")
            return length, PLAIN
        return None
