# SPDX-License-Identifier: GPL-2.0-or-later
"""FakeServer: negotiates as ours does, and then says what a test tells it to say, right or wrong."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from asyncemu.block.nbd.constants import CMD_WRITE
from asyncemu.block.nbd.messages import REQUEST, Request, decode_request
from asyncemu.block.nbd.server_negotiation import ExportOffer
from tests.block.nbd.handshake import DISK, server


class FakeClient:
    """One client of it, in transmission."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._loop = asyncio.get_running_loop()

    async def exactly(self, length: int) -> bytes:
        """So many bytes; fewer at the end of the stream."""
        data = b""
        while len(data) < length and (more := await self._loop.sock_recv(self.socket, length - len(data))):
            data += more
        return data

    async def request(self) -> Request:
        """The next one, without a write's data."""
        return decode_request(await self.exactly(REQUEST.size))

    async def request_and_data(self) -> tuple[Request, bytes]:
        """The next one."""
        request = await self.request()
        return request, await self.exactly(request.length) if request.type == CMD_WRITE else b""

    async def send(self, data: bytes) -> None:
        """All of it."""
        await self._loop.sock_sendall(self.socket, data)

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


class FakeServer:
    """Listens at ``path``, also again after ``stop``."""

    def __init__(self, path: Path, export: ExportOffer = DISK) -> None:
        self.path = path
        self.export = export
        self.clients: list[FakeClient] = []
        self._listener: socket.socket | None = None
        self.start()

    def start(self) -> None:
        """Listen."""
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(str(self.path))
        self._listener.listen(8)

    async def accept(self) -> FakeClient:
        """The next client, when it is in transmission."""
        assert self._listener is not None
        loop = asyncio.get_running_loop()
        sock, _ = await loop.sock_accept(self._listener)
        client = FakeClient(sock)
        self.clients.append(client)
        negotiation = server(exports={self.export.name: self.export})
        await client.send(negotiation.greeting())
        while negotiation.negotiating:
            negotiation.receive(await loop.sock_recv(sock, 4096))
            while (replies := negotiation.step()) is not None:
                await client.send(replies)
        return client

    def stop(self) -> None:
        """Listen no more, and hang up on everybody."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self.path.unlink(missing_ok=True)
        for client in self.clients:
            client.close()
        self.clients.clear()
