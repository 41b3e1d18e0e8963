# SPDX-License-Identifier: GPL-2.0-or-later
"""NbdServer: listens, negotiates, and hands each client over to the home of the export that it has chosen.

    server = NbdServer(context)
    server.add(NbdExport("disk", backend))
    await server.listen(UnixAddress("nbd.sock"))
    ...
    await server.close()

A bad or slow client hurts nobody else: the handshake has a time limit, a client's requests in flight are bounded
(server_connection.py), and what it does wrong ends its own connection, with one line for ``report``.
QEMU: nbd-server-start, qemu-nbd.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Collection, Mapping
from typing import Final

from asyncemu.block.nbd.address import Address, listen
from asyncemu.block.nbd.channel import Channel, SocketChannel, receive_some, send_all
from asyncemu.block.nbd.clock import realtime_clock
from asyncemu.block.nbd.export import NbdExport
from asyncemu.block.nbd.server_connection import ServerConnection
from asyncemu.block.nbd.server_negotiation import ExportOffer, ServerNegotiation, State
from asyncemu.block.nbd.tls import TlsCredentials
from asyncemu.coroutines import start
from asyncemu.errors import BlockError, ConfigError, ProtocolError
from asyncemu.loop import AioContext, Clock, HasHome, any_thread, home

#: For the handshake, in ns. QEMU has had one since 9.1, of the same length.
HANDSHAKE_TIMEOUT_NS: Final = 10_000_000_000
#: For requests in flight when the server closes, in ns (arbitrary).
CLOSE_TIMEOUT_NS: Final = 5_000_000_000
#: Before another attempt to take a client when the host has no descriptors left, in ns (arbitrary).
_ACCEPT_PAUSE_NS: Final = 100_000_000
#: Bytes of a handshake received at once.
_RECEIVE_SIZE: Final = 16 << 10
#: Clients taken in one go.
_ACCEPTS_A_TURN: Final = 16


class _Client:
    """One connection, in the server's context."""

    def __init__(self, server: NbdServer, sock: socket.socket, number: int) -> None:
        self.peer = f"nbd client {number}"
        self.channel: Channel = SocketChannel(sock)
        self.timer = server.context.timer(server.clock, self._took_too_long)
        self.negotiated = False
        self.timed_out = False
        #: Done when it has left.
        self.gone: asyncio.Future[None] = server.context.loop.create_future()
        self.connection: ServerConnection | None = None
        #: Done when the connection does not run in the export's home; None: it never has.
        self.parked: asyncio.Future[None] | None = None

    def _took_too_long(self) -> None:
        # Whoever waits for the socket sees the end of the stream.
        self.timed_out = True
        self.channel.shutdown()


class NbdServer(HasHome):
    """Home: ``context``; exports may live elsewhere."""

    def __init__(
        self,
        context: AioContext,
        *,
        max_connections: int = 0,
        tls: TlsCredentials | None = None,
        handshake_timeout_ns: int = HANDSHAKE_TIMEOUT_NS,
        clock: Clock | None = None,
        report: Callable[[str], object] = lambda message: None,
        on_client_closed: Callable[[bool], object] = lambda negotiated: None,
    ) -> None:
        """``max_connections`` 0: any number. ``tls``: clients must use it. ``report`` gets a line when one is hung up
        on, ``on_client_closed`` whether a client that has left had chosen an export.
        """
        self.context = context
        self.max_connections = max_connections
        self.exports: dict[str, NbdExport] = {}
        self.clock = clock or realtime_clock()
        self._tls = tls
        self._handshake_timeout_ns = handshake_timeout_ns
        self._report = report
        self._on_client_closed = on_client_closed
        self._listeners: list[socket.socket] = []
        self._watched: set[socket.socket] = set()
        self._accept_again = context.timer(self.clock, self._watch)
        self._clients: set[_Client] = set()
        self._count = 0
        self._closing = False

    # ---- exports

    @home
    def add(self, export: NbdExport) -> None:
        """Offer it. ConfigError when its name is taken."""
        if export.name in self.exports:
            raise ConfigError("name", f"NBD server already has export named '{export.name}'")
        self.exports[export.name] = export
        if not export.fixed:
            export.backend.follower = _Follower(self, export)

    @home
    async def remove(self, export: NbdExport, *, force: bool = False) -> None:
        """Offer it no more. ConfigError when it has clients, unless ``force``: they are hung up on.

        Returns when none of its requests is in flight.
        """
        if export.connections and not force:
            raise ConfigError("name", f"export '{export.name}' still in use")
        self.exports.pop(export.name, None)
        await self._stop([client for client in self._clients if client.connection in export.connections])

    def _offers(self) -> Mapping[str, ExportOffer]:
        # As QEMU: who lets in one client only can't promise anything about several.
        multiple = self.max_connections != 1
        return {name: export.offer(multiple_connections=multiple) for name, export in self.exports.items()}

    # ---- listening

    @home
    async def listen(self, address: Address) -> list[socket.socket]:
        """Take clients at ``address``, too; the sockets that listen there. ConfigError."""
        backlog = min(self.max_connections, socket.SOMAXCONN) if self.max_connections else socket.SOMAXCONN
        listeners = await listen(address, backlog, private=True)
        for listener in listeners:
            self.listen_on(listener)
        return listeners

    @home
    def listen_on(self, listener: socket.socket) -> None:
        """Take clients at a socket that listens already; it is the server's from now on."""
        listener.setblocking(False)
        self._listeners.append(listener)
        self._watch()

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    def _watch(self) -> None:
        """Watch for clients, when there is room for one."""
        room = not self._closing and (not self.max_connections or len(self._clients) < self.max_connections)
        for listener in self._listeners:
            if room != (listener in self._watched):
                self._watch_one(listener, room)

    def _watch_one(self, listener: socket.socket, room: bool) -> None:
        if room:
            self._watched.add(listener)
            self.context.set_fd_handler(listener.fileno(), lambda: self._accept(listener))
        else:
            self._watched.discard(listener)
            self.context.set_fd_handler(listener.fileno(), None)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            if self._closing or (self.max_connections and len(self._clients) >= self.max_connections):
                break
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                # It stays ready: without a pause we would ask for nothing else.
                for each in self._listeners:
                    self._watch_one(each, False)
                self._accept_again.mod(self.clock.now() + _ACCEPT_PAUSE_NS)
                return
            self.serve(sock)
        self._watch()

    @home
    def serve(self, sock: socket.socket) -> None:
        """A client is connected by ``sock``, which is the server's from now on."""
        self._count += 1
        client = _Client(self, sock, self._count)
        self._clients.add(client)
        start(self.context, self._serve(client))

    # ---- one client

    async def _serve(self, client: _Client) -> None:
        try:
            export, negotiation = await self._negotiate(client)
            if export is not None and self.exports.get(export.name) is export and not self._closing:
                await self._transmit(client, export, negotiation)
        finally:
            client.timer.cancel()
            client.channel.close()
            self._clients.discard(client)
            client.gone.set_result(None)
            self._watch()
            self._on_client_closed(client.negotiated)

    async def _negotiate(self, client: _Client) -> tuple[NbdExport | None, ServerNegotiation]:
        """The export that the client has chosen; None: it is to go."""
        negotiation = ServerNegotiation(self._offers, tls=self._tls is not None, peer=client.peer)
        client.timer.mod(self.clock.now() + self._handshake_timeout_ns)
        problem = ""
        try:
            await self._haggle(client, negotiation)
        except ProtocolError as error:
            problem = error.problem
        except OSError as error:
            problem = error.strerror or str(error)
        client.timer.cancel()
        if client.timed_out:
            problem = "the client took too long"
        if problem:
            if not self._closing:
                self._report(f"option negotiation failed: {problem}")
            return None, negotiation
        if negotiation.export is None:
            return None, negotiation
        client.negotiated = True
        return self.exports.get(negotiation.export.name), negotiation

    async def _haggle(self, client: _Client, negotiation: ServerNegotiation) -> None:
        await send_all(client.channel, negotiation.greeting())
        while negotiation.negotiating:
            data = await receive_some(client.channel, _RECEIVE_SIZE)
            if not data:
                what = "flags" if negotiation.state is State.FLAGS else "opts magic"
                problem = f"Failed to read {what}: Unexpected end-of-file before all data were read"
                raise ProtocolError(client.peer, 0, problem)
            negotiation.shutting_down = self._closing
            negotiation.receive(data)
            while (replies := negotiation.step()) is not None:
                try:
                    await send_all(client.channel, replies)
                except OSError:
                    # Who wants to leave need not wait for the answer (proto.md, OPT_ABORT).
                    if negotiation.state is not State.ABORTED:
                        raise
            if negotiation.state is State.STARTTLS:
                assert self._tls is not None
                from asyncemu.block.nbd.tls_channel import start_tls

                client.channel = await start_tls(client.channel, self._tls)
                negotiation.tls_started()

    async def _transmit(self, client: _Client, export: NbdExport, negotiation: ServerNegotiation) -> None:
        connection = client.connection = ServerConnection(client.channel, negotiation, export, client.peer)
        export.connections.add(connection)
        try:
            while connection.suspended:
                await self._wait_resumed(export)
                if not connection.resume(export.backend.context):
                    break
                client.parked = self.context.loop.create_future()
                try:
                    await connection.context.call(connection.run)
                finally:
                    client.parked.set_result(None)
        finally:
            export.connections.discard(connection)
            client.channel.shutdown()
        if connection.reason and not self._closing:
            self._report(f"Disconnect client, due to: {connection.reason}")

    # ---- moves of exports

    async def _wait_resumed(self, export: NbdExport) -> None:
        while export.suspensions:
            if export.resumed is None:
                export.resumed = self.context.loop.create_future()
            # Shielded: all clients share it.
            await asyncio.shield(export.resumed)

    @home
    async def suspend(self, export: NbdExport) -> None:
        """Answer what its clients have in flight, and take nothing more until ``resume``, also when this fails. Nests.

        Who does not take the answers in good time is hung up on. BlockError (EBUSY): requests don't end.
        """
        export.suspensions += 1
        clients = [client for client in self._clients if client.connection in export.connections]
        for client in clients:
            assert client.connection is not None
            await client.connection.context.call(client.connection.suspend)
        running = {client.parked for client in clients if client.parked is not None}
        if not await self._wait_parked(running):
            self._abort(clients)
            if not await self._wait_parked(running):
                raise BlockError(export.name, errno.EBUSY, "requests of the export's clients do not end")

    async def _wait_parked(self, running: Collection[asyncio.Future[None]]) -> bool:
        """False: it took too long."""
        late = self.context.loop.create_future()
        timer = self.context.timer(self.clock, lambda: late.set_result(None))
        timer.mod(self.clock.now() + CLOSE_TIMEOUT_NS)
        try:
            for future in running:
                await asyncio.wait((future, late), return_when=asyncio.FIRST_COMPLETED)
            return not late.done()
        finally:
            timer.cancel()

    @home
    async def resume(self, export: NbdExport) -> None:
        """The other end of ``suspend``: its clients are served in what is its home now."""
        export.suspensions -= 1
        if not export.suspensions and export.resumed is not None:
            export.resumed.set_result(None)
            export.resumed = None

    # ---- the end

    @home
    async def close(self, timeout_ns: int = CLOSE_TIMEOUT_NS) -> None:
        """Take no more clients and no more requests; answer those in flight, but wait no longer than ``timeout_ns``.

        Exports remain their owner's. Twice is once.
        """
        self._closing = True
        self._accept_again.cancel()
        for listener in self._listeners:
            self._watch_one(listener, False)
            listener.close()
        self._listeners.clear()
        await self._stop(list(self._clients), timeout_ns)

    async def _stop(self, clients: list[_Client], timeout_ns: int = CLOSE_TIMEOUT_NS) -> None:
        """Hang up on ``clients`` when their requests are answered; return when they are gone."""
        for client in clients:
            if client.connection is None:
                client.channel.shutdown()
            else:
                await client.connection.context.call(client.connection.stop)
        timer = self.context.timer(self.clock, lambda: self._abort(clients))
        timer.mod(self.clock.now() + timeout_ns)
        try:
            for client in clients:
                # Shielded: others may wait for it, too.
                await asyncio.shield(client.gone)
        finally:
            timer.cancel()

    def _abort(self, clients: list[_Client]) -> None:
        for client in clients:
            if client.connection is not None:
                client.connection.context.schedule_oneshot(client.connection.abort)


class _Follower:
    """See BackendFollower."""

    def __init__(self, server: NbdServer, export: NbdExport) -> None:
        self._server = server
        self._export = export

    @any_thread
    async def suspend(self) -> None:
        await self._server.context.call(lambda: self._server.suspend(self._export))

    @any_thread
    async def resume(self) -> None:
        await self._server.context.call(lambda: self._server.resume(self._export))
