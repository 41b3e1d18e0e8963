# SPDX-License-Identifier: GPL-2.0-or-later
"""socket: a stream over TCP or a unix socket, as server or client; raw, telnet or WebSocket, and with TLS over TCP.

    closed ──open──▶ listening ◀──────▶ connected        server: one client at a time, the others wait in the backlog
    closed ──open──▶ connected ──────▶ disconnected      client; with ``reconnect`` it tries again, for ever

There is a peer when TLS and the protocol have agreed with it. Output while nobody is connected is discarded.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from asyncemu.chardev.address import (
    InetAddress,
    UnknownHost,
    WrongSocket,
    adopt_socket,
    connect_unix,
    listen_unix,
)
from asyncemu.chardev.chardev import Chardev, logger
from asyncemu.chardev.codec import Codec
from asyncemu.chardev.connection import Connection
from asyncemu.chardev.frontend import ChardevEvent
from asyncemu.chardev.listener import Listener
from asyncemu.chardev.socket_options import SocketOptions, TlsTable
from asyncemu.chardev.telnet import TelnetCodec
from asyncemu.chardev.websocket import WebSocketCodec
from asyncemu.chardev.wire import Wire
from asyncemu.errors import ConfigError
from asyncemu.loop import home

if TYPE_CHECKING:
    from asyncemu.chardev.tls import TlsLayer
    from asyncemu.tls_credentials import TlsCredentials

__all__ = ["Socket", "SocketOptions"]


class Socket(Chardev[SocketOptions], name="socket"):
    """``address`` says where it listens or connects: ``unix:/run/x.sock``, ``127.0.0.1:4444``."""

    description = "A stream over TCP or a unix socket: raw, telnet or WebSocket, as server or client."

    address = ""
    can_yank = True

    _listener: Listener | None = None
    _connection: Connection | None = None
    #: How a client's peer is called, for ``filename``.
    _peer = ""
    _retries: asyncio.Task[None] | None = None
    #: What was said last of a peer that was left.
    _complaint = ""
    _credentials: TlsCredentials | None = None

    async def connect(self) -> None:
        """Listen (and wait for a client) or connect. Raises ConfigError, ChardevError."""
        #: Why there is no first peer, empty when there is one.
        self._settled: asyncio.Future[str] = self.context.loop.create_future()
        self.address = self._address()
        if self.options.tls_creds is not None:
            self._credentials = await self._load_credentials(self.options.tls_creds)
        if self.options.server:
            await self._listen()
        elif self.options.reconnect:
            self._retries = self.context.loop.create_task(self._keep_connected())
        else:
            with self._explained(f"connect to {self.address}"):
                self._adopt(await self._connect_once())
            if problem := await self._settled:
                raise ConfigError(f"chardev {self.id!r}", f"connect to {self.address}: {problem}")

    def _address(self) -> str:
        options = self.options
        if options.fd is not None:
            return f"fd:{options.fd}"
        if options.path is not None:
            return f"unix:{options.path}"
        return str(options.unix_address() or options.inet_address())

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """What goes wrong inside, as the one line that the user sees."""
        try:
            yield
        except (UnknownHost, WrongSocket) as error:
            raise ConfigError(f"chardev {self.id!r}", str(error)) from error
        except OSError as error:
            if not error.errno:  # Python's own: "AF_UNIX path too long"
                raise ConfigError(f"chardev {self.id!r}", f"{doing}: {error}") from error
            raise self.failed(error, doing) from error

    async def _load_credentials(self, wanted: str | TlsTable) -> TlsCredentials:
        endpoint: Literal["server", "client"] = "server" if self.options.server else "client"
        if isinstance(wanted, str):
            found = self.tls_credentials.get(wanted)
            if found is None:
                raise ConfigError(f"chardev {self.id!r}", f"No TLS credentials with id '{wanted}'")
            if found.endpoint != endpoint:
                problem = f"Expected TLS credentials for a {endpoint} endpoint"
                raise ConfigError(f"chardev {self.id!r}", problem)
            return found
        from asyncemu.tls_credentials import X509Credentials

        directory, verify_peer = str(wanted.dir), wanted.verify_peer

        def load() -> TlsCredentials:
            return X509Credentials(directory, endpoint, verify_peer=verify_peer, where=f"chardev {self.id!r}")

        return await self.context.worker_pool.run(load)

    # ---- server

    async def _listen(self) -> None:
        with self._explained(f"listen at {self.address}"):
            sockets = await self._listening()
            self._listener = Listener(
                self.context, sockets, self.options.path, self._adopt, lambda error: self._not_accepted(error)
            )
        if self.options.port is not None:
            host, port = sockets[0].getsockname()[:2]
            if len(sockets) > 1:
                host = "localhost"  # by either family
            self.address = str(InetAddress(self.options.host or host, port, port))
        self._listener.welcome()
        if self.options.wait is not False:
            logger.info("chardev %s waits for a client at %s", self.id, self.address)
            await self._settled

    async def _listening(self) -> Sequence[socket.socket]:
        if self.options.fd is not None:
            return [adopt_socket(self.options.fd, listening=True)]
        address = self.options.unix_address()
        if address is not None:
            return [listen_unix(address)]
        return await self.options.inet_address().listen(self.context.loop)

    def _not_accepted(self, error: OSError) -> None:
        logger.error("%s", self.failed(error, f"accept a client at {self.address}"))

    # ---- client

    async def _connect_once(self) -> socket.socket:
        if self.options.fd is not None:
            return adopt_socket(self.options.fd, listening=False)
        address = self.options.unix_address()
        if address is not None:
            return connect_unix(address)
        return await self.options.inet_address().connect(self.context.loop)

    async def _keep_connected(self) -> None:
        complained = False
        while True:
            try:
                connection = await self._connect_once()
                self._left = asyncio.Event()
                self._adopt(connection)
            except (OSError, UnknownHost) as error:
                if not complained:
                    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
                    logger.warning("%s: connect to %s; it is tried again: %s", self.id, self.address, reason)
                    complained = True
            else:
                complained = False
                await self._left.wait()
            await asyncio.sleep(self.options.reconnect)

    # ---- connection

    def _adopt(self, connection: socket.socket) -> None:
        """Talk to a peer. OSError (EMFILE): the host can't, and the connection is closed."""
        try:
            connection.setblocking(False)
            if self.options.nodelay:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peer = _peer_of(connection)
            self._connection = Connection(
                self, Wire(connection), self._codec(), self._tls_layer(), self._established, self._lost
            )
        except OSError:
            connection.close()
            raise
        self._connection.start()

    def _codec(self) -> Codec:
        if self.options.telnet:
            return TelnetCodec()
        if self.options.websocket:
            return WebSocketCodec(self.options.token, tls=self._credentials is not None)
        return Codec()

    def _tls_layer(self) -> TlsLayer | None:
        if self._credentials is None:
            return None
        # Imported here: ssl takes longer to import than the rest of a chardev.
        from asyncemu.chardev.tls import TlsLayer

        return TlsLayer(self._credentials, None if self.options.server else self.options.host)

    def _established(self) -> None:
        self._complaint = ""
        if not self._settled.done():
            self._settled.set_result("")
        self.event(ChardevEvent.OPENED)
        self.resume_input()

    def _lost(self, problem: str) -> None:
        self._connection = None
        is_error_of_open = not (self.options.server or self._retries or self._settled.done())
        if problem and problem != self._complaint and not is_error_of_open:
            # The same again, of who tries for ever, is no news.
            self._complaint = problem
            logger.warning("%s: %s", self.id, problem)
        if self.opened:
            self.event(ChardevEvent.CLOSED)
        self.discard_unsent()
        if self._retries is not None:
            self._left.set()
        if self._listener is not None:
            self._listener.welcome()
        elif not self._settled.done():
            self._settled.set_result(problem)

    def transmit(self, data: bytes) -> int:
        return self._connection.write(data) if self._connection is not None else len(data)

    def discard_unsent(self) -> None:
        if self._connection is not None:
            self._connection.forget_unsent()
        super().discard_unsent()

    def resume_input(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    async def disconnect(self) -> None:
        """Hang up, listen no more, and take the socket file away if it is still ours."""
        if self._retries is not None:
            self._retries.cancel()
            await asyncio.wait([self._retries])
            self._retries = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    # ---- what front ends and the monitor ask of a socket

    @home
    def take_fds(self) -> list[int]:
        """See Chardev."""
        return self._connection.wire.take_fds() if self._connection is not None else []

    @home
    def send_fds(self, fds: Sequence[int]) -> bool:
        """See Chardev."""
        if self._connection is None or not self._connection.wire.passes_fds:
            return False
        try:
            self._connection.wire.send_fds(fds)
        except OSError as error:
            raise self.failed(error, "send descriptors") from error
        return True

    @home
    def yank(self) -> None:
        """See Chardev."""
        if self._connection is not None:
            self._connection.wire.shut()

    @property
    def filename(self) -> str:
        """As query-chardev shows it in QEMU: ``tcp:127.0.0.1:4444,server=on <-> 127.0.0.1:50000``."""
        protocol = "telnet" if self.options.telnet else "websocket" if self.options.websocket else "tcp"
        address = f"{protocol}:{self.address}" if self.options.port is not None else self.address
        if self.options.abstract is not None:
            address = f"unix:{self.options.abstract},abstract=on,tight={'on' if self.options.tight else 'off'}"
        if self.options.server:
            address += ",server=on"
        if not self.opened:
            return f"disconnected:{address}"
        return f"{address} <-> {self._peer}" if self._peer else address


def _peer_of(connection: socket.socket) -> str:
    """Of a TCP connection; empty where it has no name, or is gone already."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return ""
    try:
        host, port = connection.getpeername()[:2]
    except OSError:
        return ""
    return str(InetAddress(host, port, port))
