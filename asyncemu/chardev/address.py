# SPDX-License-Identifier: GPL-2.0-or-later
"""Socket addresses of a chardev: from its options to sockets that listen or are connected, each error in one line."""

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


@dataclass(frozen=True, slots=True)
class InetAddress:
    """Where to listen or connect. ``last_port`` (QEMU: ``to``): listen at the first free port up to it."""

    host: str
    port: int
    last_port: int
    family: socket.AddressFamily = socket.AF_UNSPEC

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def _resolve(self, loop: asyncio.AbstractEventLoop, flags: int) -> list[Any]:
        # getaddrinfo's errors have numbers of their own, which are no errno.
        try:
            found = await loop.getaddrinfo(
                self.host or None, self.port, family=self.family, type=socket.SOCK_STREAM, flags=flags
            )
        except socket.gaierror as error:
            raise UnknownHost(self.host, str(error.strerror)) from error
        return [(family, address) for family, _, _, _, address in found]

    async def listen(self, loop: asyncio.AbstractEventLoop) -> list[socket.socket]:
        """Listen at all addresses of the host, at one port. Raises OSError or UnknownHost."""
        resolved = await self._resolve(loop, socket.AI_PASSIVE)
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
        for family, address in await self._resolve(loop, 0):
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


def _listen_all(resolved: list[Any], port: int) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    try:
        for family, address in resolved:
            listener = socket.socket(family, socket.SOCK_STREAM)
            listeners.append(listener)
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # IPv4 has a listener of its own.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address[0], port, *address[2:]))
            listener.listen(BACKLOG)
            own_sockets.register(listener)
            # Port 0 is any free one: the same for all families.
            port = listener.getsockname()[1]
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def listen_unix(path: Path) -> socket.socket:
    """Listen at ``path``. The socket file of a server that is gone is replaced. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    try:
        if _is_stale(path):
            path.unlink()
        listener.bind(str(path))
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


def connect_unix(path: Path) -> socket.socket:
    """Connect to ``path``; never waits (a full backlog is EAGAIN). Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection
