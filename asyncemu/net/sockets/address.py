# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a netdev's sockets listen, connect or are bound: from options to sockets. QEMU: SocketAddress.

Who opens them turns OSError into a NetError; ConfigError here says what no errno says.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from pydantic import Field, model_validator

from asyncemu import socket_address
from asyncemu.errors import ConfigError
from asyncemu.host_path import HostPath
from asyncemu.options import Options
from asyncemu.socket_address import BACKLOG, MAX_PORT, Inet, Resolved, UnknownHost, remove_stale, socket_name


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
    number: int | None = Field(
        default=None, alias="str", ge=0, le=(1 << 31) - 1, description="fd: the descriptor's number."
    )

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


async def resolve(address: Inet, kind: socket.SocketKind, name: str, flags: int = 0) -> list[Resolved]:
    """Families and addresses for sockets of ``kind``. ConfigError of ``name``: the host's name means nothing here."""
    try:
        return await socket_address.resolve(address, kind, flags)
    except UnknownHost as error:
        raise ConfigError(name, str(error)) from error


async def listen(address: Address, name: str) -> list[socket.socket]:
    """Sockets that listen there, one for each address of a host. Raises OSError, ConfigError."""
    if isinstance(address, Descriptor):
        return [adopt(address, socket.SOCK_STREAM, name)]
    if isinstance(address, Unix):
        return [_listen_unix(address.path)]
    try:
        return await socket_address.listen(address, socket.AI_PASSIVE)
    except UnknownHost as error:
        raise ConfigError(name, str(error)) from error


def _listen_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        remove_stale(path)
        # Before bind: Linux makes the file with the socket's own mode. It is for its owner only.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(socket_name(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


async def connect(address: Address, name: str) -> socket.socket:
    """A socket that is connected, to the first address of a host that answers. Raises OSError, ConfigError."""
    if isinstance(address, Descriptor):
        return adopt(address, socket.SOCK_STREAM, name)
    if isinstance(address, Unix):
        candidates: list[Resolved] = [(socket.AF_UNIX, socket_name(address.path))]
    else:
        candidates = await resolve(address, socket.SOCK_STREAM, name)
    return await socket_address.connect(candidates)


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
