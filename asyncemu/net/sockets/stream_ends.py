# SPDX-License-Identifier: GPL-2.0-or-later
"""The two ends of a stream between machines: who listens, and who connects. One peer at a time.

    Server   closed ──open──▶ listening ◀──────▶ connected         further clients wait in the backlog
    Client   closed ──open──▶ connected ───────▶ disconnected      with ``reconnect`` it tries again, for ever

The link of the netdev is up while it is connected: a peer that comes plugs the cable in, whoever has pulled it out.
QEMU: net/stream.c, net/socket.c.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from asyncemu import own_sockets
from asyncemu.errors import ConfigError
from asyncemu.net.backend import NetBackend
from asyncemu.net.frame import Frames
from asyncemu.net.sockets import address as addresses
from asyncemu.net.sockets.address import Address, Unix
from asyncemu.net.sockets.stream_connection import StreamConnection
from asyncemu.socket_address import Inet

logger: Final = logging.getLogger("asyncemu.net")

#: Seconds until accept is tried again after the host had no descriptor or memory for it. Arbitrary.
ACCEPT_PAUSE: Final = 1.0


class StreamEnd:
    """What both have. Home: the netdev's."""

    def __init__(self, netdev: NetBackend[Any], address: Address) -> None:
        self.netdev = netdev
        #: Where it listens, with the port that the kernel chose, or connects.
        self.address = address
        self.connection: StreamConnection | None = None
        #: Who is at the other end, as messages call it; empty: nobody.
        self.peer = ""
        #: Called when a peer has come, with its socket, and when it has left.
        self.on_connected: Callable[[socket.socket], object] | None = None
        self.on_disconnected: Callable[[], object] | None = None

    async def open(self) -> None:
        """Listen or connect; the link is down until a peer is there. Raises ConfigError, NetError."""

    async def run(self) -> None:
        """Talk to peers; cancelled at the end."""

    def transmit(self, frames: Frames) -> int:
        """How many were taken."""
        return self.connection.transmit(frames) if self.connection is not None else len(frames)

    def writable(self) -> None:
        """The guest takes frames again."""
        if self.connection is not None:
            self.connection.writable()

    def close(self) -> None:
        """Give everything back; may be called again."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    async def talk(self, connected: socket.socket) -> None:
        """One peer, until it leaves."""
        connected.setblocking(False)
        if connected.family in (socket.AF_INET, socket.AF_INET6):
            # A frame is not to wait for the acknowledgment of the last one.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = peer_text(connected)
        connection = self.connection = StreamConnection(self.netdev, connected, f"{self.netdev.id}: {peer}")
        connection.start()
        self.netdev.set_link(True)
        self.peer = peer
        logger.info("%s: connected to %s", self.netdev.id, peer)
        if self.on_connected is not None:
            self.on_connected(connected)
        reason = await connection.ended
        self.connection = None
        self.peer = ""
        self.netdev.set_link(False)
        if self.on_disconnected is not None:
            self.on_disconnected()
        if reason is None:
            logger.info("%s: %s has left", self.netdev.id, peer)
        elif isinstance(reason, OSError):
            logger.warning("%s: connection to %s: %s", self.netdev.id, peer, _reason(reason))
        else:
            logger.error("%s; the connection is closed", reason)


def _reason(error: OSError) -> str:
    # asyncio puts the address into strerror, which is there already.
    return os.strerror(error.errno) if error.errno else str(error)


def peer_text(connected: socket.socket) -> str:
    """The other end, as messages call it."""
    try:
        peer = connected.getpeername()
    except OSError:
        return "a peer that has left"
    if isinstance(peer, tuple):
        return str(Inet(peer[0], peer[1]))
    return f"unix:{peer}" if peer else "a client"


class Server(StreamEnd):
    """Listens."""

    def __init__(self, netdev: NetBackend[Any], address: Address) -> None:
        super().__init__(netdev, address)
        self._listeners: Sequence[socket.socket] = ()
        self._socket_file: tuple[Path, os.stat_result] | None = None

    async def open(self) -> None:
        self.netdev.set_link(False)
        try:
            self._listeners = await addresses.listen(self.address, self.netdev.id)
        except OSError as error:
            raise self.netdev.failed(error, f"listen at {self.address}") from error
        for listener in self._listeners:
            # A guest on another network must not put frames on this one.
            own_sockets.register(listener)
        if isinstance(self.address, Unix):
            self._socket_file = (self.address.path, self.address.path.stat())
        elif isinstance(self.address, Inet):
            host, port = self._listeners[0].getsockname()[:2]
            self.address = self.address._replace(host=self.address.host or host, port=port, last_port=port)

    async def run(self) -> None:
        while True:
            await self.talk(await self._accept())

    async def _accept(self) -> socket.socket:
        while True:
            for listener in self._listeners:
                try:
                    return listener.accept()[0]
                except (BlockingIOError, ConnectionAbortedError):
                    continue
                except OSError as error:
                    # EMFILE and the like: the client stays where it is, and the listener readable.
                    logger.error("%s", self.netdev.failed(error, f"accept a client at {self.address}"))
                    await asyncio.sleep(ACCEPT_PAUSE)
            await self._client_is_there()

    async def _client_is_there(self) -> None:
        context = self.netdev.context
        there = asyncio.Event()
        for listener in self._listeners:
            context.set_fd_handler(listener.fileno(), there.set)
        try:
            await there.wait()
        finally:
            for listener in self._listeners:
                context.set_fd_handler(listener.fileno(), None)

    def close(self) -> None:
        super().close()
        for listener in self._listeners:
            listener.close()
        self._listeners = ()
        if self._socket_file is not None:
            path, made = self._socket_file
            self._socket_file = None
            if path.exists() and os.path.samestat(path.stat(), made):
                path.unlink()


class Client(StreamEnd):
    """Connects. ``reconnect``: seconds until it tries again; 0: never."""

    def __init__(self, netdev: NetBackend[Any], address: Address, reconnect: float = 0) -> None:
        super().__init__(netdev, address)
        self._reconnect = reconnect
        self._connected: socket.socket | None = None

    async def open(self) -> None:
        self.netdev.set_link(False)
        if self._reconnect:
            return
        try:
            self._connected = await addresses.connect(self.address, self.netdev.id)
        except OSError as error:
            raise self.netdev.failed(error, f"connect to {self.address}") from error

    async def run(self) -> None:
        complained = False
        while True:
            try:
                connected = self._connected or await addresses.connect(self.address, self.netdev.id)
            except (OSError, ConfigError) as error:
                if not complained:
                    reason = _reason(error) if isinstance(error, OSError) else error.problem
                    logger.warning("%s: connect to %s; it is tried again: %s", self.netdev.id, self.address, reason)
                    complained = True
            else:
                complained = False
                self._connected = None
                await self.talk(connected)
                if not self._reconnect:
                    return
            await asyncio.sleep(self._reconnect)

    def close(self) -> None:
        super().close()
        if self._connected is not None:
            self._connected.close()
            self._connected = None
