# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a netdev's sockets listen, connect or are bound: from options to sockets. QEMU: SocketAddress.

Who opens them turns OSError into a NetError; ConfigError here says what no errno says.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from pydantic import Field, model_validator

from asyncemu.errors import ConfigError
from asyncemu.host_path import HostPath
from asyncemu.options import Options

#: Clients that the kernel keeps while one is served. Arbitrary; the next one matters, not the many.
BACKLOG: Final = 8

#: TCP's and UDP's.
MAX_PORT: Final = 65535


class Inet(NamedTuple):
    """TCP or UDP. ``last_port`` (QEMU: ``to``): listen at the first free port from ``port`` up to it."""

    host: str
    port: int
    last_port: int = 0
    family: socket.AddressFamily = socket.AF_UNSPEC

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Unix(NamedTuple):
    """A unix socket."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


class Descriptor(NamedTuple):
    """A socket that we were given when we were started."""

    number: int

    def __str__(self) -> str:
        return f"fd:{self.number}"


Address: TypeAlias = Inet | Unix | Descriptor


class AddressOptions(Options):
    """A table ``addr``, ``local`` or ``remote``; QEMU's names."""

    type: Literal["inet", "unix", "fd"] = Field(description="TCP or UDP, a unix socket, or an open descriptor.")
    host: str = Field(default="", description="inet: a name or an address; to listen: empty for all.")
    port: int | None = Field(default=None, ge=0, le=MAX_PORT, description="inet: to listen, 0 is any free one.")
    to: int | None = Field(default=None, ge=0, le=MAX_PORT, description="inet: try the ports up to this one to listen.")
    ipv4: bool = Field(default=False, description="inet: IPv4 only.")
    ipv6: bool = Field(default=False, description="inet: IPv6 only.")
    path: HostPath | None = Field(default=None, description="unix: the socket's file.")
    number: int | None = Field(default=None, alias="str", ge=0, description="fd: the descriptor's number.")

    @model_validator(mode="after")
    def _consistent(self) -> AddressOptions:
        needed = {"inet": "port", "unix": "path", "fd": "str"}[self.type]
        own = {"inet": {"host", "port", "to", "ipv4", "ipv6"}, "unix": {"path"}, "fd": {"number"}}[self.type]
        if (self.port, self.path, self.number)[("port", "path", "str").index(needed)] is None:
            raise ValueError(f"an address of type {self.type!r} needs {needed}")
        foreign = sorted(self.model_fields_set - own - {"type"})
        if foreign:
            raise ValueError(f"{foreign[0].replace('number', 'str')} is not for an address of type {self.type!r}")
        if self.to is not None and self.port is not None and self.to < self.port:
            raise ValueError("to is not below port")
        return self

    def address(self) -> Address:
        """What it says."""
        if self.type == "unix":
            assert self.path is not None  # checked
            return Unix(self.path)
        if self.type == "fd":
            assert self.number is not None  # checked
            return Descriptor(self.number)
        assert self.port is not None  # checked
        family = socket.AF_UNSPEC
        if self.ipv4 != self.ipv6:
            family = socket.AF_INET if self.ipv4 else socket.AF_INET6
        return Inet(self.host, self.port, self.to or self.port, family)


def parse_host_port(text: str) -> Inet:
    """``HOST:PORT`` or ``:PORT``, IPv4, as the netdev ``socket`` has it. ValueError says what else it is."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text[:60]!r} has no ':' between host and port; write HOST:PORT")
    if not port.isascii() or not port.isdecimal() or len(port) > 5 or int(port) > MAX_PORT:
        raise ValueError(f"{port[:60]!r} is not a port; write a number up to {MAX_PORT}")
    return Inet(host, int(port), int(port), socket.AF_INET)


async def resolve(
    address: Inet, kind: socket.SocketKind, name: str, flags: int = 0
) -> list[tuple[socket.AddressFamily, Any]]:
    """Families and addresses for sockets of ``kind``. ConfigError of ``name``: the host's name means nothing here."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            address.host or None, address.port, family=address.family, type=kind, flags=flags
        )
    except (socket.gaierror, UnicodeError) as error:
        # getaddrinfo's errors have numbers of their own, which are no errno.
        problem = error.strerror if isinstance(error, socket.gaierror) else "Name or service not known"
        raise ConfigError(name, f"host {address.host!r}: {problem}") from error
    return [(family, resolved) for family, _, _, _, resolved in found]


async def listen(address: Address, name: str) -> list[socket.socket]:
    """Sockets that listen there, one for each address of a host. Raises OSError, ConfigError."""
    if isinstance(address, Descriptor):
        return [adopt(address, socket.SOCK_STREAM, name)]
    if isinstance(address, Unix):
        return [_listen_unix(address.path)]
    resolved = await resolve(address, socket.SOCK_STREAM, name, socket.AI_PASSIVE)
    last = max(address.port, address.last_port)
    for port in range(address.port, last + 1):
        try:
            return _listen_all(resolved, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == last:
                raise
    raise AssertionError("unreachable: the last port returns or raises")


def _listen_all(resolved: list[tuple[socket.AddressFamily, Any]], port: int) -> list[socket.socket]:
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
            # Port 0 is any free one: the same for all.
            port = listener.getsockname()[1]
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _listen_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        remove_stale(path)
        listener.bind(socket_name(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def remove_stale(path: Path) -> None:
    """Remove ``path`` when it is the socket file of nobody."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
    except FileNotFoundError:
        return
    # A living server of streams is not disturbed: connect(2) of another type fails with EPROTOTYPE.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
            path.unlink()


async def connect(address: Address, name: str) -> socket.socket:
    """A socket that is connected, to the first address of a host that answers. Raises OSError, ConfigError."""
    if isinstance(address, Descriptor):
        return adopt(address, socket.SOCK_STREAM, name)
    candidates: list[tuple[socket.AddressFamily, Any]]
    if isinstance(address, Unix):
        candidates = [(socket.AF_UNIX, socket_name(address.path))]
    else:
        candidates = await resolve(address, socket.SOCK_STREAM, name)
    failure = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    loop = asyncio.get_running_loop()
    for family, resolved in candidates:
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            await loop.sock_connect(connection, resolved)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure


def adopt(address: Descriptor, kind: socket.SocketKind | None, name: str) -> socket.socket:
    """The socket that we were given, of that kind (None: any). Raises ConfigError."""
    try:
        given = socket.socket(fileno=os.dup(address.number))
    except OSError as error:
        raise ConfigError(name, f"fd {address.number} is not a socket: {error.strerror}") from error
    os.set_inheritable(given.fileno(), False)
    given.setblocking(False)
    if kind is not None and given.type != kind:
        wanted = "stream" if kind == socket.SOCK_STREAM else "datagram"
        given.close()
        raise ConfigError(name, f"fd {address.number} is not a {wanted} socket")
    return given


def socket_name(path: Path) -> str:
    """``path`` as bind and connect take it. Raises OSError (ENAMETOOLONG)."""
    text = str(path)
    # sizeof(sun_path) - 1: unix(7). Python's own error has no errno.
    if len(os.fsencode(text)) > 107:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    return text
