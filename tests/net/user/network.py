# SPDX-License-Identifier: GPL-2.0-or-later
"""A user network with a client in the place of a guest, and servers on the host's loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from asyncemu.loop import AioContext, Clocks
from asyncemu.net import connect
from asyncemu.net.user.backend import UserNetdev
from asyncemu.net.user.options import UserOptions
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.net_client import NetClient

#: Seconds after which a test has failed.
GUARD = 20

HOST = "10.0.2.2"
DNS = "10.0.2.3"
HOST6 = "fec0::2"
DNS6 = "fec0::3"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Network:
    """``time`` is None where time is the kernel's."""

    def __init__(
        self,
        context: AioContext,
        time: FakeClock | None,
        options: dict[str, Any],
        client: dict[str, Any],
        chardevs: Sequence[Any] = (),
    ) -> None:
        self.context = context
        self.time = time
        clocks = Clocks(time) if time is not None else Clocks()
        clocks.run_virtual(True)
        self.clocks = clocks
        self.netdev = UserNetdev(UserOptions.model_validate(options), "net0", context, clocks)
        for chardev in chardevs:
            self.netdev.refer("chardev", chardev.id, chardev)
        self.client = NetClient(context, clocks.virtual, **client)
        connect(self.client, self.netdev)

    @property
    def drops(self) -> dict[str, int]:
        """Packets that went nowhere, by why."""
        return self.netdev.stack.drops

    def door(self, index: int = 0) -> Any:
        """Where a hostfwd listens."""
        return self.netdev.doors[index].sock.getsockname()


@asynccontextmanager
async def network(
    context: AioContext,
    time: FakeClock | None = None,
    client: dict[str, Any] | None = None,
    guard: float = GUARD,
    chardevs: Sequence[Any] = (),
    **options: Any,
) -> AsyncIterator[Network]:
    """An open network within; keys of the options as in Python. What is raised in callbacks fails the test."""
    loop = asyncio.get_running_loop()
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, problem: problems.append(problem))
    made = Network(context, time, options, client or {}, chardevs)
    try:
        async with asyncio.timeout(guard):
            await made.netdev.open()
            yield made
    finally:
        await made.netdev.close()
        loop.set_exception_handler(None)
    assert problems == []


@asynccontextmanager
async def server(serve: Serve, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A TCP server of the host: its port."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(guarded, host, 0, backlog=2048)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What comes goes back, until it ends."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def udp_server(answer: Callable[[bytes], bytes], host: str = "127.0.0.1") -> AsyncIterator[tuple[str, int]]:
    """A UDP server of the host, which answers each datagram: its address."""

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: Any) -> None:
            self.transport.sendto(answer(data), address)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=(host, 0))
    try:
        yield transport.get_extra_info("sockname")[:2]
    finally:
        transport.close()


def unused_port() -> int:
    """A TCP port of loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def listener(host: str = "127.0.0.1") -> AsyncIterator[socket.socket]:
    """A plain listening socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setblocking(False)
        sock.bind((host, 0))
        sock.listen(64)
        yield sock
