# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP of the guest to the host's sockets."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import socket
import struct

import pytest

from asyncemu.loop import AioContext
from asyncemu.net.tcp import Reason, State
from asyncemu.testing import until
from tests.net.user.network import HOST, echo, listener, network, server, unused_port

BULK = 8 << 20


async def test_connection_to_host_address_reaches_loopback(context: AioContext) -> None:
    async with server(echo) as port, network(context) as net:
        stream = await net.client.connect(HOST, port)

        await stream.write(b"hello")

        assert await stream.read(5) == b"hello"


@pytest.mark.parametrize("offload", [True, False])
async def test_bulk_both_ways_arrives_as_it_was(context: AioContext, offload: bool) -> None:
    data = os.urandom(BULK)
    async with server(echo) as port, network(context, client={"offload": offload}) as net:
        stream = await net.client.connect(HOST, port)

        async def send() -> None:
            await stream.write(data)
            stream.close()

        sending = asyncio.create_task(send())
        got = await stream.read()
        await sending

        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
        assert await stream.closed() is None


async def test_guest_closes_first_host_goes_on(context: AioContext) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()
        writer.write(question * 2)

    async with server(serve) as port, network(context) as net:
        stream = await net.client.connect(HOST, port)
        await stream.write(b"abc")
        stream.close()

        assert await stream.read() == b"abcabc"


async def test_host_closes_first_guest_goes_on(context: AioContext) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"question")
        writer.write_eof()
        heard.append(await reader.read())

    async with server(serve) as port, network(context) as net:
        stream = await net.client.connect(HOST, port)
        question = await stream.read()
        await stream.write(b"answer")
        stream.close()
        await until(lambda: bool(heard))

        assert (question, heard) == (b"question", [b"answer"])


async def test_both_closed_leaves_nothing_behind(context: AioContext) -> None:
    async with server(echo) as port, network(context) as net:
        stream = await net.client.connect(HOST, port)
        stream.close()
        await stream.closed()

        await until(lambda: len(net.netdev.tcp) == 0)


async def test_guest_resets_host_sees_reset(context: AioContext) -> None:
    async with listener() as sock, network(context) as net:
        stream = await net.client.connect(HOST, sock.getsockname()[1])
        accepted, _ = await asyncio.get_running_loop().sock_accept(sock)
        stream.abort()

        with accepted, pytest.raises(ConnectionResetError):
            await asyncio.get_running_loop().sock_recv(accepted, 1)
        assert len(net.netdev.tcp) == 0


async def test_host_resets_guest_sees_reset(context: AioContext) -> None:
    async with listener() as sock, network(context) as net:
        stream = await net.client.connect(HOST, sock.getsockname()[1])
        accepted, _ = await asyncio.get_running_loop().sock_accept(sock)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()

        assert await stream.closed() is Reason.RESET
        await until(lambda: len(net.netdev.tcp) == 0)


async def test_nobody_listens_is_refused(context: AioContext) -> None:
    async with network(context) as net:
        with pytest.raises(ConnectionRefusedError):
            await net.client.connect(HOST, unused_port())

        assert len(net.netdev.tcp) == 0


async def test_segment_of_no_connection_is_reset(context: AioContext) -> None:
    async with server(echo) as port, network(context) as net:
        stream = await net.client.connect(HOST, port)
        net.netdev.tcp.close()

        await stream.write(b"anybody?")

        assert await stream.closed() is Reason.RESET
        assert net.drops["TCP segments of no connection"] >= 1


async def test_neighbour_that_is_not_there_is_unreachable(context: AioContext) -> None:
    async with network(context) as net:
        net.client.begin("10.0.2.77", 80)
        await net.client.wait(lambda: bool(net.client.errors))

        assert net.client.errors[0][:2] == (3, 1)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.1.1"])
async def test_address_that_means_the_host_or_many_leads_nowhere(context: AioContext, address: str) -> None:
    async with server(echo) as port, network(context) as net:
        stream = net.client.begin(address, port)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        assert (stream.core.state, len(net.netdev.tcp)) == (State.SYN_SENT, 0)
        assert sum(net.drops.values()) == 1


async def test_stalled_host_stalls_its_own_connection_only(context: AioContext) -> None:
    async with listener() as sock, server(echo) as port, network(context) as net:
        stalled = await net.client.connect(HOST, sock.getsockname()[1])
        filling = asyncio.create_task(stalled.write(bytes(64 << 20)))
        # The host's buffers are full, then the relay's, then the client's.
        await stalled.wait(lambda: stalled.core.room == 0 and stalled.core.unacknowledged > 0)
        other = await net.client.connect(HOST, port)
        await other.write(b"x" * 100_000)

        assert await other.read(100_000) == b"x" * 100_000
        assert not filling.done()
        filling.cancel()


async def test_stalled_host_that_goes_on_gets_all(context: AioContext) -> None:
    data = os.urandom(BULK)
    async with listener() as sock, network(context) as net:
        stream = await net.client.connect(HOST, sock.getsockname()[1])
        filling = asyncio.create_task(stream.write(data))
        await stream.wait(lambda: stream.core.room == 0)
        accepted, _ = await asyncio.get_running_loop().sock_accept(sock)
        accepted.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=accepted)
        got = await reader.readexactly(BULK)
        await filling
        writer.close()

        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


async def test_stalled_guest_reader_bounds_what_is_read_of_the_host(context: AioContext) -> None:
    async with listener() as sock, network(context) as net:
        stream = await net.client.connect(HOST, sock.getsockname()[1])
        accepted, _ = await asyncio.get_running_loop().sock_accept(sock)
        accepted.setblocking(False)
        # The guest's program reads nothing: the client's window closes, then ours.
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(accepted, bytes(64 << 20)))
        (relay,) = net.netdev.tcp.connections
        await until(lambda: relay.core.room == 0)

        assert relay.core.unacknowledged <= 256 << 10
        assert not sending.done()
        sending.cancel()
        await asyncio.wait([sending])
        accepted.close()
        assert stream.core.established


async def test_stalled_guest_bounds_memory_and_goes_on(context: AioContext) -> None:
    data = os.urandom(BULK)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    async with server(serve) as port, network(context) as net:
        stream = await net.client.connect(HOST, port)
        net.client.pause()
        (relay,) = net.netdev.tcp.connections
        await until(lambda: relay.core.room == 0)
        waiting = relay.core.unacknowledged
        net.client.resume()
        got = await stream.read()

        assert waiting <= 256 << 10
        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


async def test_segments_without_offload_fit_the_mtu(context: AioContext) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(100_000))

    async with server(serve) as port, network(context, client={"offload": False}) as net:
        lengths: list[int] = []
        receive = net.client.receive
        net.client.receive = lambda frames: lengths.extend(each.nbytes for each in frames) or receive(frames)  # type: ignore[method-assign, func-returns-value]
        stream = await net.client.connect(HOST, port)
        await stream.read()

        assert max(lengths) == 1514


async def test_segments_with_offload_are_large(context: AioContext) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(1_000_000))

    async with server(serve) as port, network(context) as net:
        lengths: list[int] = []
        receive = net.client.receive
        net.client.receive = lambda frames: lengths.extend(each.nbytes for each in frames) or receive(frames)  # type: ignore[method-assign, func-returns-value]
        stream = await net.client.connect(HOST, port)
        await stream.read()

        assert max(lengths) > 60_000


async def test_full_table_refuses_new_connections(context: AioContext) -> None:
    async with server(echo) as port, network(context, max_connections=2) as net:
        kept = [await net.client.connect(HOST, port) for _ in range(2)]

        with pytest.raises(ConnectionRefusedError):
            await net.client.connect(HOST, port)
        assert [each.core.established for each in kept] == [True, True]


async def test_full_table_lets_go_of_what_is_through(context: AioContext) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        await reader.read()

    async with server(serve) as port, network(context, max_connections=2) as net:
        for _ in range(5):
            stream = await net.client.connect(HOST, port)
            await stream.read()
            stream.close()
            await stream.closed()

        # The host has closed first, so each is in TIME-WAIT when it is over.
        assert len(net.netdev.tcp) <= 2


async def test_limit_of_descriptors_is_raised_for_connections(context: AioContext) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, limits[1]))
    try:
        async with network(context, max_connections=1000):
            raised, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert raised == min(1000 + 512 + 1024, limits[1])


async def test_own_sockets_of_the_emulator_are_refused(context: AioContext) -> None:
    from asyncemu import own_sockets

    async with listener() as sock, network(context) as net:
        own_sockets.register(sock)

        with pytest.raises(ConnectionRefusedError):
            await net.client.connect(HOST, sock.getsockname()[1])
        assert net.drops["TCP to the emulator's own sockets"] == 1


@pytest.mark.slow
async def test_thousand_connections_at_once_lose_nothing(context: AioContext) -> None:
    async with server(echo) as port, network(context) as net:
        streams = await asyncio.gather(*(net.client.connect(HOST, port) for _ in range(1000)))
        for number, stream in enumerate(streams):
            await stream.write(b"%d" % number)

        answers = [await stream.read(len(b"%d" % number)) for number, stream in enumerate(streams)]

        assert answers == [b"%d" % number for number in range(1000)]


@pytest.mark.parametrize(
    "count",
    [pytest.param(1000, marks=pytest.mark.slow), pytest.param(10_000, marks=pytest.mark.soak)],
)
async def test_short_connections_one_after_the_other_all_work(context: AioContext, count: int) -> None:
    async with server(echo) as port, network(context, guard=100) as net:

        async def some(count: int) -> int:
            good = 0
            for _ in range(count):
                stream = await net.client.connect(HOST, port)
                await stream.write(b"x")
                good += await stream.read(1) == b"x"
                stream.close()
                await stream.read()
            return good

        assert sum(await asyncio.gather(*(some(count // 50) for _ in range(50)))) == count
        await until(lambda: len(net.netdev.tcp) == 0)
