# SPDX-License-Identifier: GPL-2.0-or-later
"""Wire: a connected stream socket, and the descriptors that travel over a unix one (unix(7), SCM_RIGHTS)."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence
from typing import Final

#: Descriptors that come with one piece of data at most, as in QEMU; the kernel closes those that find no room.
MAX_FDS: Final = 16

_DESCRIPTOR_SIZE: Final = array.array("i").itemsize


class Wire:
    """Owns ``connection``, which does not block."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.passes_fds = connection.family == socket.AF_UNIX
        self._received: list[int] = []
        self._to_send: list[int] = []

    def fileno(self) -> int:
        """For an event loop; -1 when it is closed."""
        return self._connection.fileno()

    def receive(self, limit: int) -> bytes:
        """Up to ``limit`` bytes, none at the end. Raises BlockingIOError, OSError."""
        if not self.passes_fds:
            return self._connection.recv(limit)
        data, messages, _, _ = self._connection.recvmsg(
            limit, socket.CMSG_LEN(MAX_FDS * _DESCRIPTOR_SIZE), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, content in messages:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._take_in(content)
        return data

    def _take_in(self, content: bytes) -> None:
        _close_all(self._received)
        descriptors = array.array("i")
        descriptors.frombytes(content[: len(content) - len(content) % _DESCRIPTOR_SIZE])
        self._received = descriptors.tolist()

    def take_fds(self) -> list[int]:
        """Those that came last, now the caller's."""
        taken, self._received = self._received, []
        return taken

    def send(self, data: bytes) -> int:
        """How many bytes were sent. Raises BlockingIOError, OSError."""
        if not self._to_send:
            return self._connection.send(data)
        sent = socket.send_fds(self._connection, [data], self._to_send)
        _close_all(self._to_send)
        self._to_send = []
        return sent

    def send_fds(self, fds: Sequence[int]) -> None:
        """Copies of these go with the bytes that are sent next. OSError (EBADF, EMFILE), ValueError: too many."""
        if len(fds) > MAX_FDS:
            raise ValueError(f"{len(fds)} descriptors; {MAX_FDS} at most can be sent at once")
        copies: list[int] = []
        try:
            for fd in fds:
                copies.append(os.dup(fd))
        except OSError:
            _close_all(copies)
            raise
        _close_all(self._to_send)
        self._to_send = copies

    def peer_left(self) -> bool:
        """Has the peer gone, and nothing that it sent is left to read?"""
        try:
            return not self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def shut(self) -> None:
        """End it both ways, whatever waits for it; the event loop hears of it."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the peer was first

    def close(self) -> None:
        """With the descriptors that nobody took. May be called again."""
        _close_all(self._received)
        _close_all(self._to_send)
        self._received, self._to_send = [], []
        # One that we were given is open elsewhere, too: the peer is to see the end all the same.
        self.shut()
        self._connection.close()


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
