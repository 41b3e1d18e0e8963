# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest of the network tests finds on the host's loopback: a web server, a sink for bytes, a name server."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast


class HostServices:
    """All listen on 127.0.0.1, the web server on ::1 too, at ports of the kernel's choice."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        #: What every name is, for the name server.
        self.answer = "192.0.2.77"
        self.http_port = 0
        self.sink_port = 0
        self.dns_port = 0
        #: Of each connection to the sink that was closed properly: bytes, and their sha256 in hex.
        self.sunk: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

    async def serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Any request is answered with the body."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.body))
        writer.write(self.body)
        await writer.drain()
        writer.close()

    async def sink(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Everything until the end is taken; then one line says how much it was."""
        digest, count = hashlib.sha256(), 0
        while data := await reader.read(1 << 18):
            digest.update(data)
            count += len(data)
        writer.write(b"%d\n" % count)
        await writer.drain()
        writer.close()
        self.sunk.put_nowait((count, digest.hexdigest()))


class NameServer(asyncio.DatagramProtocol):
    """Says of every name that its A record is ``address``, and that it has no others (RFC 1035, 4)."""

    def __init__(self, address: str) -> None:
        self._address = socket.inet_aton(address)
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are not derived from asyncio's.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        question = data[12 : data.index(b"\0", 12) + 5]
        is_a = question[-4:-2] == b"\0\1"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + self._address if is_a else b""
        header = data[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + bytes(4)
        self._transport.sendto(header + question + answer, addr)


@asynccontextmanager
async def serve(body: bytes) -> AsyncIterator[HostServices]:
    """Have them, until the end of ``async with``."""
    services = HostServices(body)
    http = await asyncio.start_server(services.serve_http, "127.0.0.1")
    services.http_port = http.sockets[0].getsockname()[1]
    http6 = await asyncio.start_server(services.serve_http, "::1", services.http_port)
    sink = await asyncio.start_server(services.sink, "127.0.0.1", backlog=1000)
    services.sink_port = sink.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    names, _ = await loop.create_datagram_endpoint(lambda: NameServer(services.answer), ("127.0.0.1", 0))
    services.dns_port = names.get_extra_info("sockname")[1]
    try:
        yield services
    finally:
        names.close()
        for server in (http, http6, sink):
            server.close()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
