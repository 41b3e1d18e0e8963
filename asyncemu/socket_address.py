# SPDX-License-Identifier: GPL-2.0-or-later
"""Stream sockets of the host by address: resolve a name, listen at all of its addresses, connect to one that answers.

What network and character back ends have in common; options and messages are theirs. Errors are OSError, with an errno,
and UnknownHost, which has none. Imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

#: Clients that the kernel keeps while one is served. Arbitrary; the next one matters, not the many.
BACKLOG: Final = 8

#: TCP's and UDP's.
MAX_PORT: Final = 65535

#: Bytes of a unix socket's name: sizeof(sun_path) - 1, unix(7).
MAX_NAME: Final = 107

#: What bind(2) says of a family that this host has not: no loss where there is an address of another one.
_NO_SUCH_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)

#: A family, and an address of it as bind and connect take it.
Resolved: TypeAlias = tuple[socket.AddressFamily, Any]


class UnknownHost(Exception):
    """The host's name means nothing here."""

    def __init__(self, host: str, problem: str) -> None:
        super().__init__(f"host {host!r}: {problem}")


class Inet(NamedTuple):
    """TCP or UDP. ``last_port`` (QEMU: ``to``): listen at the first free port from ``port`` up to it."""

    host: str
    port: int
    last_port: int = 0
    family: socket.AddressFamily = socket.AF_UNSPEC

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def resolve(address: Inet, kind: socket.SocketKind, flags: int = 0) -> list[Resolved]:
    """All that it means, for sockets of ``kind``. Raises UnknownHost.

    An empty host is this host's loopback; with AI_PASSIVE in ``flags`` all of its addresses (getaddrinfo(3)).
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            address.host or None, address.port, family=address.family, type=kind, flags=flags
        )
    except (socket.gaierror, UnicodeError) as error:
        # getaddrinfo's errors have numbers of their own, which are no errno.
        problem = error.strerror if isinstance(error, socket.gaierror) else "Name or service not known"
        raise UnknownHost(address.host, str(problem)) from error
    return [(family, resolved) for family, _, _, _, resolved in found]


async def listen(address: Inet, flags: int = 0) -> list[socket.socket]:
    """Sockets that listen there, one for each address of the host, all at one port. Raises OSError, UnknownHost."""
    resolved = await resolve(address, socket.SOCK_STREAM, flags)
    last = max(address.port, address.last_port)
    for port in range(address.port, last + 1):
        try:
            return _listen_all(resolved, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == last:
                raise
    raise AssertionError("unreachable: the last port returns or raises")


def _listen_all(resolved: Sequence[Resolved], port: int) -> list[socket.socket]:
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
            # Port 0 is any free one: the same for all.
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
    return listener


async def connect(candidates: Sequence[Resolved]) -> socket.socket:
    """A stream socket that is connected to the first of them that answers. Raises OSError: that of the last one."""
    failure = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    loop = asyncio.get_running_loop()
    for family, address in candidates:
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


def socket_name(path: Path) -> str:
    """``path`` as bind and connect take it. Raises OSError (ENAMETOOLONG)."""
    text = str(path)
    # Python's own error has no errno.
    if len(os.fsencode(text)) > MAX_NAME:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    return text


def remove_stale(path: Path) -> None:
    """Remove ``path`` when it is the socket file of nobody. Raises OSError."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
    except FileNotFoundError:
        return
    # Of another type, so that a living server is not disturbed by a client that leaves at once: connect(2) fails with
    # EPROTOTYPE where there is one, with ECONNREFUSED where there is none.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
            path.unlink()
