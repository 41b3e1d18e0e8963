# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses of servers, to listen there or to connect there. QEMU: SocketAddress, with its words for errors."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any, Final, NamedTuple, TypeAlias

from asyncemu import own_sockets
from asyncemu.errors import ConfigError

#: Between two attempts at a server whose queue of clients is full, in s (arbitrary).
_QUEUE_FULL_PAUSE: Final = 0.005


class InetAddress(NamedTuple):
    """TCP. ``port`` may be a service's name."""

    host: str
    port: str
    family: socket.AddressFamily = socket.AF_UNSPEC

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class UnixAddress(NamedTuple):
    """A Unix socket."""

    path: str

    def __str__(self) -> str:
        return self.path


Address: TypeAlias = InetAddress | UnixAddress


async def listen(
    address: Address, backlog: int, where: str = "server", *, private: bool = False
) -> list[socket.socket]:
    """Sockets that listen there, one for each address of a host. A file in the way of a Unix socket goes.

    ``private``: a Unix socket is for its owner only; else the umask decides, as for qemu-nbd's.
    """
    if isinstance(address, UnixAddress):
        return [_listen_unix(address.path, backlog, where, private)]
    listeners: list[socket.socket] = []
    failure: OSError | None = None
    for family, resolved in await _resolve(address, socket.AI_PASSIVE, where):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # IPv4 has a listener of its own.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Port 0 is any free one: the same for all.
            port = listeners[0].getsockname()[1] if listeners else resolved[1]
            listener.bind((resolved[0], port, *resolved[2:]))
            listener.listen(backlog)
            own_sockets.register(listener)
        except OSError as error:
            listener.close()
            failure = error
        else:
            listeners.append(listener)
    if not listeners:
        assert failure is not None
        raise ConfigError(where, f"Failed to find an available port: {_text(failure)}") from failure
    return listeners


def _listen_unix(path: str, backlog: int, where: str, private: bool) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    try:
        if private:
            # Before bind: Linux makes the file with the socket's own mode, so it is never open to others.
            os.fchmod(listener.fileno(), 0o600)
        try:
            os.unlink(path)  # noqa: PTH108  # pathlib takes a tool too long to import
        except FileNotFoundError:
            pass
        except OSError as error:
            raise ConfigError(where, f"Failed to unlink socket {path}: {_text(error)}") from error
        try:
            listener.bind(path)
        except OSError as error:
            raise ConfigError(where, f"Failed to bind socket to {path}: {_text(error)}") from error
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def unlink(path: str) -> None:
    """A Unix socket is closed: take its name away."""
    try:
        os.unlink(path)  # noqa: PTH108  # pathlib takes a tool too long to import
    except OSError:
        pass  # somebody was faster


async def connect(address: Address, where: str = "server") -> socket.socket:
    """A socket that is connected there, to the first address of a host that answers. ConfigError."""
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    if isinstance(address, UnixAddress):
        candidates: list[tuple[socket.AddressFamily, Any]] = [(socket.AF_UNIX, address.path)]
    else:
        candidates = await _resolve(address, 0, where)
    for family, resolved in candidates:
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            if family == socket.AF_UNIX:
                await _connect_unix(connection, resolved)
            else:
                await loop.sock_connect(connection, resolved)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise ConfigError(where, f"Failed to connect to '{address}': {_text(failure)}") from failure


async def _connect_unix(connection: socket.socket, path: str) -> None:
    while True:
        try:
            connection.connect(path)
        except BlockingIOError:
            # Its queue of clients is full, and nothing tells when it has room.
            await asyncio.sleep(_QUEUE_FULL_PAUSE)
        else:
            return


async def _resolve(address: InetAddress, flags: int, where: str) -> list[tuple[socket.AddressFamily, Any]]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            address.host or None, address.port, family=address.family, type=socket.SOCK_STREAM, flags=flags
        )
    except (socket.gaierror, UnicodeError) as error:
        # getaddrinfo's errors have numbers of their own, which are no errno.
        problem = error.strerror if isinstance(error, socket.gaierror) else "Name or service not known"
        raise ConfigError(where, f"address resolution failed for {address}: {problem}") from error
    return [(family, resolved) for family, _, _, _, resolved in found]


def _text(error: OSError | None) -> str:
    if error is None:
        return "Name or service not known"
    return os.strerror(error.errno) if error.errno else str(error)
