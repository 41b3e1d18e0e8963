# SPDX-License-Identifier: GPL-2.0-or-later
"""Channel: a connected stream, as both ends of NBD use it: a socket here, TLS over one in tls_channel.py.

Nothing here waits but the methods that are coroutines: transfers are tried in place, and who wants to go on when there
is something to read watches ``fileno`` by itself. Two things a TLS channel has and a socket has not: bytes that have
been received and that readiness does not tell of (``has_unread``), and bytes that were taken and are not on their way
yet (``has_unsent``, ``flush``).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from asyncemu.coroutines import yield_until_fd_readable, yield_until_fd_writable
from asyncemu.memory.buffers import Buffers

#: What is sent: heads and data.
Piece: TypeAlias = bytes | memoryview

#: Bytes that the kernel keeps for a Unix socket (arbitrary; a few replies of clients that copy).
_SEND_BUFFER: Final = 1 << 20

#: Views in one system call: the kernel's limit.
_IOV_MAX: Final = os.sysconf("SC_IOV_MAX")


class Channel(Protocol):
    """In the context that uses it. Transfers raise OSError, BlockingIOError when nothing moves now."""

    @property
    def has_unread(self) -> bool:
        """See the top."""

    @property
    def has_unsent(self) -> bool:
        """See the top."""

    def fileno(self) -> int:
        """What to watch."""

    def receive(self, targets: Buffers) -> int:
        """Put what has come into ``targets``, which are not empty; how many bytes, 0: the stream has ended."""

    def send(self, pieces: Sequence[Piece]) -> int:
        """Take as much as goes, not nothing; how many bytes. Taken, the memory may change."""

    def flush(self) -> None:
        """Send what was taken, as much as goes: ``has_unsent`` tells."""

    def shutdown(self) -> None:
        """No more in either direction: whoever waits for the descriptor is woken. Twice is once."""

    def close(self) -> None:
        """Give the descriptor back. Nobody watches it any more. Twice is once."""


class SocketChannel:
    """A connected stream socket, which is non-blocking from then on and belongs to the channel."""

    has_unread = False
    has_unsent = False

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Replies must not wait for the acknowledgement of earlier ones.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sock.family == socket.AF_UNIX:
            # The kernel's default holds less than one large reply: each would take two turns of both sides' loops.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.socket = sock
        self._sendmsg = sock.sendmsg

    def fileno(self) -> int:
        """See Channel."""
        return self.socket.fileno()

    def receive(self, targets: Buffers) -> int:
        """See Channel."""
        if len(targets) == 1:
            return self.socket.recv_into(targets[0])
        return self.socket.recvmsg_into(targets[:_IOV_MAX])[0]

    def send(self, pieces: Sequence[Piece]) -> int:
        """See Channel."""
        return self._sendmsg(pieces if len(pieces) <= _IOV_MAX else pieces[:_IOV_MAX])

    def flush(self) -> None:
        """Nothing is ever kept."""

    def shutdown(self) -> None:
        """See Channel."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # the peer was first
            return

    def close(self) -> None:
        """See Channel."""
        self.socket.close()


def behind(pieces: Sequence[Piece], count: int) -> list[Piece]:
    """What is behind the first ``count`` bytes of ``pieces``."""
    for index, piece in enumerate(pieces):
        if count < len(piece):
            return [memoryview(piece)[count:], *pieces[index + 1 :]]
        count -= len(piece)
    return []


# ---- waiting, where nobody watches the descriptor otherwise: the handshake


async def receive_some(channel: Channel, limit: int) -> bytes:
    """What has come, at most ``limit`` bytes, once there is something; empty: the stream has ended. OSError."""
    buffer = bytearray(limit)
    targets = Buffers((memoryview(buffer),))
    while True:
        try:
            count = channel.receive(targets)
        except BlockingIOError:
            await yield_until_fd_readable(channel.fileno())
        else:
            return bytes(buffer[:count])


async def send_all(channel: Channel, data: bytes) -> None:
    """Send ``data``. OSError."""
    rest = memoryview(data)
    while rest or channel.has_unsent:
        try:
            if rest:
                rest = rest[channel.send((rest,)) :]
            else:
                channel.flush()
        except BlockingIOError:
            pass
        else:
            if not channel.has_unsent:
                continue
        await yield_until_fd_writable(channel.fileno())
