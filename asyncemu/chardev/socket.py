# SPDX-License-Identifier: GPL-2.0-or-later
"""socket: a stream over TCP or a unix socket, as server or client.

    closed ──open──▶ listening ◀──────▶ connected        server: one client at a time, the others wait in the backlog
    closed ──open──▶ connected ──────▶ disconnected      client; with ``reconnect`` it tries again, for ever

Output while nobody is connected is discarded.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, model_validator

from asyncemu.chardev.address import InetAddress, UnknownHost, connect_unix, listen_unix
from asyncemu.chardev.chardev import Chardev, ChardevOptions, logger
from asyncemu.chardev.descriptor import Sink, Source
from asyncemu.chardev.frontend import ChardevEvent
from asyncemu.errors import ChardevError, ConfigError
from asyncemu.host_path import HostPath

#: Seconds until accept is tried again after the host had no descriptor or memory for it. Arbitrary.
ACCEPT_PAUSE: Final = 1.0

Port = Annotated[int, Field(ge=0, le=65535)]


class SocketOptions(ChardevOptions):
    """Keys of ``backend = "socket"``: ``path``, or ``host`` and ``port``."""

    path: HostPath | None = Field(None, description="Unix socket.")
    host: str = Field("", description="Host name or address; a server without one listens at all addresses.")
    port: Port | None = Field(None, description="TCP port; 0 makes a server take any free one.")
    to: Port | None = Field(None, description="Server: try the ports after `port` up to this one.")
    ipv4: bool = Field(False, description="IPv4 only.")
    ipv6: bool = Field(False, description="IPv6 only.")
    server: bool = Field(False, description="Listen rather than connect.")
    wait: bool | None = Field(None, description="Server: start the machine when a client is there (default: true).")
    reconnect: float = Field(0, ge=0, description="Client: seconds until it tries again; 0 is never.")
    nodelay: bool = Field(False, description="TCP: send each piece at once (no Nagle algorithm).")

    @model_validator(mode="after")
    def _consistent(self) -> SocketOptions:
        if (self.path is None) == (self.port is None):
            raise ValueError("needs either path (unix socket) or port (TCP)")
        if self.path is not None and (self.host or self.to is not None or self.nodelay or self.ipv4 or self.ipv6):
            raise ValueError("host, to, ipv4, ipv6 and nodelay are for TCP, not for a path")
        if self.to is not None and (not self.server or self.port is None or self.to < self.port):
            raise ValueError("to is for a server, and not below port")
        if self.server and self.reconnect:
            raise ValueError("reconnect is for a client, not with server = true")
        if not self.server and self.wait is not None:
            raise ValueError("wait is for a server, not without server = true")
        if not self.server and self.path is None and not self.host:
            raise ValueError("a client needs host")
        return self


class Socket(Chardev[SocketOptions], name="socket"):
    """``address`` says where it listens or connects: ``unix:/run/x.sock``, ``127.0.0.1:4444``."""

    description = "A stream over TCP or a unix socket, as server or client."

    address = ""

    _listeners: Sequence[socket.socket] = ()
    _accept_again: asyncio.TimerHandle | None = None
    _connection: socket.socket | None = None
    _hangup: select.epoll | None = None
    _sink: Sink | None = None
    _source: Source | None = None
    _retries: asyncio.Task[None] | None = None
    _socket_file: tuple[Path, os.stat_result] | None = None

    async def connect(self) -> None:
        """Listen (and wait for a client) or connect. Raises ConfigError, ChardevError."""
        self._arrived = asyncio.Event()
        self.address = f"unix:{self.options.path}" if self.options.path is not None else str(self._inet())
        if self.options.server:
            await self._listen()
        elif self.options.reconnect:
            self._retries = self.context.loop.create_task(self._keep_connected())
        else:
            try:
                self._adopt(await self._connect_once())
            except UnknownHost as error:
                raise ConfigError(f"chardev {self.id!r}", str(error)) from error
            except OSError as error:
                raise self._refused_error(error, f"connect to {self.address}") from error

    def _inet(self) -> InetAddress:
        options = self.options
        family = socket.AF_UNSPEC
        if options.ipv4 != options.ipv6:
            family = socket.AF_INET if options.ipv4 else socket.AF_INET6
        assert options.port is not None  # the options were checked
        return InetAddress(options.host, options.port, options.to or options.port, family)

    def _refused_error(self, error: OSError, doing: str) -> ChardevError | ConfigError:
        if not error.errno:  # Python's own: "AF_UNIX path too long"
            return ConfigError(f"chardev {self.id!r}", f"{doing}: {error}")
        return self.failed(error, doing)

    # ---- server

    async def _listen(self) -> None:
        try:
            if self.options.path is not None:
                self._listeners = [listen_unix(self.options.path)]
                self._socket_file = (self.options.path, self.options.path.stat())
            else:
                self._listeners = await self._inet().listen(self.context.loop)
                host, port = self._listeners[0].getsockname()[:2]
                self.address = str(InetAddress(self.options.host or host, port, port))
        except UnknownHost as error:
            raise ConfigError(f"chardev {self.id!r}", str(error)) from error
        except OSError as error:
            raise self._refused_error(error, f"listen at {self.address}") from error
        self._welcome_next()
        if self.options.wait is not False:
            logger.info("chardev %s waits for a client at %s", self.id, self.address)
            await self._arrived.wait()

    def _welcome_next(self) -> None:
        for listener in self._listeners:
            self.context.loop.add_reader(listener.fileno(), self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client gave up already
        except OSError as error:
            # EMFILE and the like: the client stays where he is, and the listener readable.
            logger.error("%s", self.failed(error, f"accept a client at {self.address}"))
            self._stop_welcoming()
            self._accept_again = self.context.loop.call_later(ACCEPT_PAUSE, self._welcome_next)
            return
        self._stop_welcoming()
        self._adopt(connection)

    def _stop_welcoming(self) -> None:
        for listener in self._listeners:
            self.context.loop.remove_reader(listener.fileno())

    # ---- client

    async def _connect_once(self) -> socket.socket:
        if self.options.path is not None:
            return connect_unix(self.options.path)
        return await self._inet().connect(self.context.loop)

    async def _keep_connected(self) -> None:
        complained = False
        while True:
            try:
                connection = await self._connect_once()
            except (OSError, UnknownHost) as error:
                if not complained:
                    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
                    logger.warning("%s: connect to %s; it is tried again: %s", self.id, self.address, reason)
                    complained = True
            else:
                complained = False
                self._left = asyncio.Event()
                self._adopt(connection)
                await self._left.wait()
            await asyncio.sleep(self.options.reconnect)

    # ---- connection

    def _adopt(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if self.options.nodelay:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._sink = Sink(self, connection.fileno(), on_error=lambda _: self._lost())
        self._source = Source(self, connection.fileno(), on_end=self._lost)
        # A peer that leaves while the guest takes no input is noticed here: nobody reads the end of the stream then.
        # Edge-triggered: said once.
        self._hangup = select.epoll()
        self._hangup.register(connection.fileno(), select.EPOLLRDHUP | select.EPOLLET)
        self.context.loop.add_reader(self._hangup.fileno(), self._hung_up)
        self._arrived.set()
        self.event(ChardevEvent.OPENED)
        self.resume_input()

    def _hung_up(self) -> None:
        if self._hangup is None or self._connection is None:
            return
        self._hangup.poll(0)
        try:
            unread = self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            unread = b""
        # What the peer left behind is read first; the end of the stream follows it.
        if not unread:
            self._lost()

    def _lost(self) -> None:
        if self._connection is None:
            return
        self._drop()
        self.event(ChardevEvent.CLOSED)
        self.discard_unsent()
        if self._retries is not None:
            self._left.set()
        self._welcome_next()

    def _drop(self) -> None:
        for user in (self._sink, self._source):
            if user is not None:
                user.close()
        self._sink = self._source = None
        if self._hangup is not None:
            self.context.loop.remove_reader(self._hangup.fileno())
            self._hangup.close()
            self._hangup = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def transmit(self, data: bytes) -> int:
        return self._sink.write(data) if self._sink is not None else len(data)

    def resume_input(self) -> None:
        if self._source is not None:
            self._source.resume()

    async def disconnect(self) -> None:
        """Hang up, listen no more, and take the socket file away if it is still ours."""
        if self._accept_again is not None:
            self._accept_again.cancel()
        if self._retries is not None:
            self._retries.cancel()
            await asyncio.wait([self._retries])
            self._retries = None
        self._drop()
        self._stop_welcoming()
        for listener in self._listeners:
            listener.close()
        self._listeners = ()
        if self._socket_file is not None:
            path, made = self._socket_file
            self._socket_file = None
            if path.exists() and os.path.samestat(path.stat(), made):
                path.unlink()
