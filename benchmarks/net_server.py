# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's side of the net benchmark: what guests/netbench connects to, on loopback, in a thread.

A connection begins with an order: two u64, little endian, which are what to do and how many bytes. The UDP socket of
the same port sends each datagram back.
"""

from __future__ import annotations

import contextlib
import enum
import selectors
import socket
import struct
import threading
from functools import partial
from types import TracebackType
from typing import Final

ORDER: Final = struct.Struct("<QQ")
#: Bytes of one call of the kernel; arbitrary, enough that Python is not what is measured.
PIECE: Final = 1 << 18
#: For a connection that does nothing: seconds.
PATIENCE: Final = 60.0
_BACKLOG: Final = 1024


class Kind(enum.IntEnum):
    """What a connection is to do."""

    #: Take so many bytes, then send one.
    SINK = 1
    #: Send so many bytes.
    SOURCE = 2
    #: Send everything back.
    ECHO = 3
    #: Send one byte.
    GREET = 4


class NetServer:
    """Serves from ``with`` on until its end. Bulk connections have threads of their own, all others share one."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._datagrams.bind(("127.0.0.1", self.port))
        self._stopper, self._stopped = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._serve, name="net-server", daemon=True)

    def __enter__(self) -> NetServer:
        for source, action in ((self._listener, self._accept), (self._datagrams, self._reflect), (self._stopped, None)):
            self._selector.register(source, selectors.EVENT_READ, action)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopper.close()
        self._thread.join()

    def _serve(self) -> None:
        stopped = False
        while not stopped:
            for key, _ in self._selector.select():
                if key.data is None:
                    stopped = True
                else:
                    key.data()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ, partial(self._begin, connection))

    def _reflect(self) -> None:
        data, sender = self._datagrams.recvfrom(PIECE)
        self._datagrams.sendto(data, sender)

    def _begin(self, connection: socket.socket) -> None:
        """Read the order, which comes whole: it is the first that is sent."""
        try:
            kind, count = ORDER.unpack(connection.recv(ORDER.size, socket.MSG_WAITALL))
        except (OSError, struct.error):
            self._end(connection)
            return
        if kind == Kind.ECHO:
            self._selector.modify(connection, selectors.EVENT_READ, partial(self._echo, connection))
        elif kind == Kind.GREET:
            with contextlib.suppress(OSError):
                connection.sendall(b"!")
            self._end(connection)
        else:
            self._selector.unregister(connection)
            action = _sink if kind == Kind.SINK else _source
            threading.Thread(target=action, args=(connection, count), name="net-bulk", daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(PIECE)
            connection.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()


def _sink(connection: socket.socket, count: int) -> None:
    buffer = memoryview(bytearray(PIECE))
    with connection, contextlib.suppress(OSError):
        connection.settimeout(PATIENCE)
        while count > 0 and (done := connection.recv_into(buffer, min(count, PIECE))):
            count -= done
        if not count:
            connection.sendall(b"!")
            # The client closes first, and has the byte then.
            connection.recv(1)


def _source(connection: socket.socket, count: int) -> None:
    data = memoryview(bytes(PIECE))
    with connection, contextlib.suppress(OSError):
        connection.settimeout(PATIENCE)
        while count > 0:
            connection.sendall(data[: min(count, PIECE)])
            count -= PIECE
