# SPDX-License-Identifier: GPL-2.0-or-later
"""Socket addresses of a chardev: from its options to sockets that listen or are connected, each error in one line.

Who names no host listens for this host alone, and a unix socket is for its owner alone: mode 0600 from the moment that
it exists.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asyncemu import own_sockets

#: Clients that the kernel keeps while one is served. Arbitrary; the next one matters, not the many.
BACKLOG: Final = 8

#: TCP's.
MAX_PORT: Final = 65535

#: sizeof(sun_path), unix(7).
SUN_PATH: Final = 108

#: What bind(2) says of a family that this host has not: no loss where there is an address of another one.
_NO_SUCH_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


@dataclass(frozen=True, slots=True)
class InetAddress:
    """Where to listen or connect. ``last_port`` (QEMU: ``to``): listen at the first free port up to it.

    Without a ``host``: this host's own addresses, 127.0.0.1 and ::1.
    """

    host: str
    port: int
    last_port: int
    family: socket.AddressFamily = socket.AF_UNSPEC

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def resolve(
        self,
        loop: asyncio.AbstractEventLoop,
        kind: socket.SocketKind = socket.SOCK_STREAM,
    ) -> list[tuple[socket.AddressFamily, Any]]:
        """Families and addresses for sockets of ``kind``. Raises UnknownHost."""
        # Without a host and without AI_PASSIVE: the loopback addresses (getaddrinfo(3)).
        try:
            found = await loop.getaddrinfo(self.host or None, self.port, family=self.family, type=kind)
        except (socket.gaierror, UnicodeError) as error:
            # getaddrinfo's errors have numbers of their own, which are no errno.
            problem = error.strerror if isinstance(error, socket.gaierror) else "Name or service not known"
            raise UnknownHost(self.host, str(problem)) from error
        return [(family, address) for family, _, _, _, address in found]

    async def listen(self, loop: asyncio.AbstractEventLoop) -> list[socket.socket]:
        """Listen at all addresses of the host, at one port. Raises OSError or UnknownHost."""
        resolved = await self.resolve(loop)
        for port in range(self.port, self.last_port + 1):
            try:
                return _listen_all(resolved, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or port == self.last_port:
                    raise
        raise AssertionError("unreachable: last_port is at least port")

    async def connect(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        """Connect to the first address of the host that answers. Raises OSError (of the last one) or UnknownHost."""
        failure: OSError = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        for family, address in await self.resolve(loop):
            connection = socket.socket(family, socket.SOCK_STREAM)
            connection.setblocking(False)
            try:
                await loop.sock_connect(connection, address)
            except OSError as error:
                connection.close()
                failure = error
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        raise failure


def parse_address(text: str) -> Path | InetAddress:
    """``unix:PATH`` or ``tcp:HOST:PORT``, as QEMU writes them. ValueError says what else it is."""
    kind, _, rest = text.partition(":")
    host, _, port = rest.rpartition(":")
    if kind == "unix" and rest:
        return Path(rest)
    if kind != "tcp" or not port.isascii() or not port.isdecimal() or len(port) > 5 or int(port) > MAX_PORT:
        raise ValueError(f"is not an address; write unix:PATH, or tcp:HOST:PORT with a port up to {MAX_PORT}")
    return InetAddress(host.removeprefix("[").removesuffix("]"), int(port), int(port))


class UnknownHost(Exception):
    """The host's name means nothing here."""

    def __init__(self, host: str, problem: str) -> None:
        super().__init__(f"host {host!r}: {problem}")


class WrongSocket(Exception):
    """A descriptor is not what it was said to be."""

    def __init__(self, number: int, expected: str) -> None:
        super().__init__(f"fd {number} is not a stream socket that {expected}")


def _listen_all(resolved: list[tuple[socket.AddressFamily, Any]], port: int) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in resolved:
            try:
                listener = _listen_one(family, (address[0], port, *address[2:]))
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                missing = error
                continue
            listeners.append(listener)
            # Port 0 is any free one: the same for all families.
            port = listener.getsockname()[1]
        if not listeners:
            raise missing or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _listen_one(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # IPv4 has a listener of its own.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    own_sockets.register(listener)
    return listener


@dataclass(frozen=True, slots=True)
class AbstractName:
    """A unix socket without a file (unix(7)): any user of this host may connect.

    ``tight``: the name is as long as it is; otherwise it is filled up with zeros, as some programs expect.
    """

    name: str
    tight: bool = True

    def __str__(self) -> str:
        return f"unix:@{self.name}"

    def encode(self) -> bytes:
        """As bind and connect take it. OSError (ENAMETOOLONG)."""
        encoded = b"\0" + os.fsencode(self.name)
        if len(encoded) > SUN_PATH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return encoded if self.tight else encoded.ljust(SUN_PATH, b"\0")


def listen_unix(address: Path | AbstractName) -> socket.socket:
    """Listen there. The socket file of a server that is gone is replaced. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    try:
        if isinstance(address, AbstractName):
            listener.bind(address.encode())
        else:
            if _is_stale(address):
                address.unlink()
            # Before bind: Linux makes the file with the socket's own mode, so it is never open to others.
            os.fchmod(listener.fileno(), 0o600)
            listener.bind(str(address))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _is_stale(path: Path) -> bool:
    """Is ``path`` the socket file of nobody?"""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return False
    except FileNotFoundError:
        return False
    # Of another type, so that a living server is not disturbed by a client that leaves at once: connect(2) fails with
    # EPROTOTYPE where there is one, with ECONNREFUSED where there is none.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED


def connect_unix(address: Path | AbstractName) -> socket.socket:
    """Connect there; never waits (a full backlog is EAGAIN). Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        connection.connect(address.encode() if isinstance(address, AbstractName) else str(address))
    except OSError:
        connection.close()
        raise
    return connection


def adopt_socket(number: int, *, listening: bool) -> socket.socket:
    """The stream socket that this process was started with as descriptor ``number``; a copy, for us alone.

    Raises OSError (EBADF, ENOTSOCK), or WrongSocket when it is of another kind.
    """
    given = socket.socket(fileno=os.dup(number))
    os.set_inheritable(given.fileno(), False)
    given.setblocking(False)
    listens = given.type == socket.SOCK_STREAM and given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if given.type != socket.SOCK_STREAM or bool(listens) is not listening:
        given.close()
        raise WrongSocket(number, "listens" if listening else "is connected")
    if listening:
        own_sockets.register(given)
    return given
