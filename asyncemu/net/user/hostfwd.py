# SPDX-License-Identifier: GPL-2.0-or-later
"""Doors of the host that lead to the guest: sockets that listen for TCP, UDP, or on a Unix socket. QEMU: hostfwd.

The guest sees who calls by the caller's own address, and the host as 10.0.2.2, so that its answers find the way back.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from asyncemu.loop import Timer
from asyncemu.memory.buffers import Buffers
from asyncemu.net.user.addresses import LOOPBACK4, packed
from asyncemu.net.user.forwards import HostForward
from asyncemu.net.user.reach import Reach
from asyncemu.net.user.tcp_relays import TcpRelays
from asyncemu.net.user.udp_relay import Caller, UdpRelay
from asyncemu.net.user.udp_socket import UdpSocket

#: Callers that the kernel keeps while others are accepted, and how many are accepted in one go.
BACKLOG: Final = 1024
ACCEPTS: Final = 32

#: How long to wait, in ns, when there are no descriptors left for callers: they stay in the kernel's queue.
_PAUSE: Final = 100_000_000
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class StreamDoor:
    """Accepts connections, and continues each to the guest. Home: the stack's."""

    def __init__(
        self, relays: TcpRelays, reach: Reach, forward: HostForward, guest: Callable[[HostForward], bytes]
    ) -> None:
        """Raises OSError."""
        self.forward = forward
        self._relays = relays
        self._reach = reach
        self._guest = guest
        self.sock = _listen(forward)
        self._context = relays.stack.context
        self._again: Timer = self._context.timer(relays.stack.clock, self._watch)
        self._watch()

    def _watch(self) -> None:
        self._context.set_fd_handler(self.sock.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        stack = self._relays.stack
        stack.now = stack.clock.now()
        for _ in range(ACCEPTS):
            try:
                sock, address = self.sock.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._context.set_fd_handler(self.sock.fileno(), None)
                    self._again.mod(stack.clock.now() + _PAUSE)
                    break
                # That caller has left already: accept(2).
                continue
            sock.setblocking(False)
            if self.forward.protocol == "tcp":
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            guest = self._guest(self.forward)
            # Who calls on a Unix socket has no address, and is of this host.
            host, port = (packed(address[0]), address[1]) if self.forward.protocol == "tcp" else (LOOPBACK4, 0)
            name = self._reach.called(host, ipv6=len(guest) == 16)
            self._relays.dial(sock, (name, port), (guest, self.forward.guest_port))
        stack.settle()

    def close(self) -> None:
        """Nobody comes in any more."""
        self._again.cancel()
        self._context.set_fd_handler(self.sock.fileno(), None)
        self.sock.close()
        if self.forward.protocol == "unix":
            Path(self.forward.path).unlink(missing_ok=True)


class DatagramDoor(UdpSocket):
    """Datagrams of anybody for the guest's port, and its answers to them. Home: the stack's."""

    def __init__(
        self, relay: UdpRelay, reach: Reach, forward: HostForward, guest: Callable[[HostForward], bytes]
    ) -> None:
        """Raises OSError."""
        self.forward = forward
        self._relay = relay
        self._reach = reach
        self._guest = guest
        super().__init__(relay.stack, _bind(forward), guest(forward), forward.guest_port)

    def on_readable(self) -> None:
        guest = self._guest(self.forward)
        if guest != self.guest:
            self.guest = guest
            self._paths.clear()
            self._heads.clear()
        super().on_readable()

    def called(self, address: tuple[str, int]) -> tuple[bytes, int] | None:
        host, port = address[:2]
        name = self._reach.called(packed(host), ipv6=len(self.guest) == 16)
        self._relay.remember((self.guest, self.port, name, port), Caller(self, address))
        return name, port

    def send(self, payload: Buffers, address: tuple[str, int]) -> int:
        problem = super().send(payload, address)
        if problem:
            self.stack.drop("UDP that the host did not send")
        return problem


def _listen(forward: HostForward) -> socket.socket:
    if forward.protocol == "unix":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            path = Path(forward.path)
            if _is_stale(path):
                path.unlink()
            # Before bind: Linux makes the file with the socket's own mode. It is for its owner only.
            os.fchmod(sock.fileno(), 0o600)
            sock.bind(forward.path)
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
        return sock
    sock = _bind(forward)
    try:
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _bind(forward: HostForward) -> socket.socket:
    family = socket.AF_INET6 if ":" in forward.host else socket.AF_INET
    kind = socket.SOCK_STREAM if forward.protocol == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if forward.protocol == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((forward.host, forward.host_port))
    except OSError:
        sock.close()
        raise
    return sock


def _is_stale(path: Path) -> bool:
    """Is it the socket file of a server that is gone?"""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED
