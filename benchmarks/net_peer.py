# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m benchmarks.net_peer``: the other end of the connections of a network benchmark, in a process of its own.

It prints the ports that it listens at on 127.0.0.1, TCP then UDP, and goes on until its standard input ends. What a TCP
connection does, its first byte says:

    d   what comes is discarded; at its end one byte goes back
    s   eight bytes say how many bytes to send
    e   what comes goes back

A UDP datagram goes back to its sender as often as its first byte says.

The peer reads much at a time: to wake it up for each segment would cost whoever sends more than all else that he does.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from types import TracebackType
from typing import Final

_PIECE: Final = 256 << 10


class Peer:
    """The process; its ports within the ``with`` block."""

    def __enter__(self) -> Peer:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.net_peer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.tcp, self.udp = map(int, self._process.stdout.readline().split())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=20)


def _serve(connection: socket.socket) -> None:
    memory = memoryview(bytearray(_PIECE))
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        what = connection.recv(1)
        if what == b"d":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _PIECE)
        if what == b"s":
            left = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")
            while left:
                left -= connection.send(memory[: min(left, len(memory))])
        while length := connection.recv_into(memory):
            if what == b"e":
                connection.sendall(memory[:length])
        if what == b"d":
            connection.send(b"!")


def _serve_quietly(connection: socket.socket) -> None:
    try:
        _serve(connection)
    except ConnectionError:
        # The benchmark was interrupted.
        pass


def _accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve_quietly, args=(connection,), daemon=True).start()


def _echo(sock: socket.socket) -> None:
    memory = memoryview(bytearray(65536))
    while True:
        length, sender = sock.recvfrom_into(memory)
        for _ in range(memory[0]):
            sock.sendto(memory[:length], sender)


def main() -> None:
    """Serve until standard input ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    threading.Thread(target=_echo, args=(datagrams,), daemon=True).start()
    print(listener.getsockname()[1], datagrams.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
