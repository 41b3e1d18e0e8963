# SPDX-License-Identifier: GPL-2.0-or-later
"""The netdev socket: the older spelling."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pydantic import ValidationError

from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext
from asyncemu.net.socket import Socket, SocketOptions
from asyncemu.net.sockets.address import parse_host_port
from asyncemu.net.sockets.stream_ends import Server
from asyncemu.socket_address import Inet
from asyncemu.testing import until
from asyncemu.testing.memory_wire import Wire
from tests.net.peers import framed, opened, read

Open = Callable[..., Awaitable[Wire]]


def netdev_of(wire: Wire) -> Socket:
    assert isinstance(wire.peer, Socket)
    return wire.peer


@pytest.fixture
async def open_socket(context: AioContext) -> AsyncIterator[Open]:
    """Opens netdevs, and closes them at the end."""
    wires: list[Wire] = []

    async def open(**options: Any) -> Wire:
        wires.append(await opened(Socket, context, f"net{len(wires)}", **options))
        return wires[-1]

    yield open
    for wire in wires:
        await netdev_of(wire).close()


async def test_listen_and_connect_share_a_wire(open_socket: Open) -> None:
    server = await open_socket(listen="127.0.0.1:0")
    end = netdev_of(server).end
    assert isinstance(end, Server)
    client = await open_socket(connect=str(end.address))
    await until(lambda: server.carrier and client.carrier)

    server.feed(b"a" * 60)
    client.feed(b"b" * 60)

    await until(lambda: client.frames == [b"a" * 60] and server.frames == [b"b" * 60])


async def test_udp_sends_to_the_peer_and_listens_at_localaddr(open_socket: Open) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(10)
        wire = await open_socket(udp=f"127.0.0.1:{peer.getsockname()[1]}", localaddr="127.0.0.1:0")

        wire.feed(b"a" * 60)
        data, sender = peer.recvfrom(100)
        peer.sendto(b"b" * 60, sender)

        assert data == b"a" * 60
        await until(lambda: wire.frames == [b"b" * 60])


async def test_mcast_members_hear_each_other(open_socket: Open) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    wires = [await open_socket(mcast=f"230.0.0.1:{port}", localaddr="127.0.0.1") for _ in range(2)]

    wires[0].feed(b"a" * 60)

    await until(lambda: wires[1].frames == [b"a" * 60])


async def test_fd_of_a_stream_is_a_stream(open_socket: Open) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        wire = await open_socket(fd=ours.fileno())
        await until(lambda: wire.carrier)

        wire.feed(b"a" * 60)

        assert await read(theirs, 64) == framed(b"a" * 60)


async def test_fd_of_datagrams_is_one_for_each_frame(open_socket: Open) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        wire = await open_socket(fd=ours.fileno())

        wire.feed(b"a" * 60)

        assert theirs.recv(100) == b"a" * 60


async def test_fd_that_is_not_open_is_an_error(open_socket: Open) -> None:
    with pytest.raises(ConfigError) as caught:
        await open_socket(fd=99_999)

    assert str(caught.value) == "net0: fd 99999 is not a socket: Bad file descriptor"


async def test_mcast_address_of_one_host_is_an_error(open_socket: Open) -> None:
    with pytest.raises(ConfigError) as caught:
        await open_socket(mcast="127.0.0.1:1234")

    assert str(caught.value) == "net0: 127.0.0.1:1234 is not a multicast address; they begin at 224.0.0.0"


def test_listen_without_a_host_is_everywhere() -> None:
    assert parse_host_port(":1234") == Inet("", 1234, 1234, socket.AF_INET)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "needs exactly one of listen, connect, mcast, udp and fd"),
        ({"listen": ":1", "connect": "x:1"}, "needs exactly one of listen, connect, mcast, udp and fd"),
        ({"listen": ":1", "localaddr": "x"}, "localaddr is only for mcast and udp"),
        ({"udp": "x:1"}, "udp needs localaddr"),
        ({"udp": "x:1", "localaddr": "x"}, "'x' has no ':' between host and port; write HOST:PORT"),
        ({"connect": "host"}, "'host' has no ':' between host and port; write HOST:PORT"),
        ({"connect": "host:"}, "'' is not a port; write a number up to 65535"),
        ({"connect": "host:65536"}, "'65536' is not a port; write a number up to 65535"),
    ],
)
def test_options_that_are_wrong_are_errors(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        SocketOptions.model_validate(options)
