# SPDX-License-Identifier: GPL-2.0-or-later
"""The netdev stream: what QEMU would see at the other end of the wire."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from asyncemu import own_sockets
from asyncemu.errors import ConfigError, NetError
from asyncemu.loop import AioContext
from asyncemu.net.framing import FrameDecoder
from asyncemu.net.sockets.stream_ends import Server
from asyncemu.net.stream import Stream, StreamOptions
from asyncemu.socket_address import Inet
from asyncemu.testing import until
from asyncemu.testing.memory_wire import Wire
from tests.net.frames import is_whole, numbered, payload_of, unfinished
from tests.net.peers import framed, opened, read

Open = Callable[..., Awaitable[Wire]]

ANY_PORT = {"type": "inet", "host": "127.0.0.1", "port": 0}


def netdev_of(wire: Wire) -> Stream:
    assert isinstance(wire.peer, Stream)
    return wire.peer


def port_of(wire: Wire) -> int:
    address = netdev_of(wire).end.address
    assert isinstance(address, Inet)
    return address.port


@pytest.fixture
async def open_stream(context: AioContext) -> AsyncIterator[Open]:
    """Opens netdevs, and closes them at the end."""
    wires: list[Wire] = []

    async def open(**options: Any) -> Wire:
        wires.append(await opened(Stream, context, f"net{len(wires)}", **options))
        return wires[-1]

    yield open
    for wire in wires:
        await netdev_of(wire).close()


async def client_of(wire: Wire) -> socket.socket:
    """A client of the server at the other end of ``wire``, with which it talks."""
    client = socket.create_connection(("127.0.0.1", port_of(wire)))
    client.setblocking(False)
    await until(lambda: wire.carrier)
    return client


@pytest.fixture
async def server(open_stream: Open) -> Wire:
    return await open_stream(addr=ANY_PORT, server=True)


@pytest.mark.both_loops
async def test_two_of_ours_share_a_wire(server: Wire, open_stream: Open) -> None:
    client = await open_stream(addr={"type": "inet", "host": "127.0.0.1", "port": port_of(server)})
    await until(lambda: server.carrier and client.carrier)
    frames = [numbered(number, 60 + number) for number in range(300)]

    server.feed(*frames)
    client.feed(*reversed(frames))

    await until(lambda: len(server.received) == len(client.received) == 300)
    assert client.frames == frames
    assert server.frames == frames[::-1]


async def test_unix_socket_is_a_wire_and_its_file_goes(open_stream: Open, tmp_path: Path) -> None:
    addr = {"type": "unix", "path": str(tmp_path / "wire")}
    server, client = await open_stream(addr=addr, server=True), await open_stream(addr=addr)
    await until(lambda: server.carrier and client.carrier)

    client.feed(b"a" * 60)

    await until(lambda: server.frames == [b"a" * 60])
    await netdev_of(server).close()
    assert not (tmp_path / "wire").exists()


async def test_unix_socket_is_for_its_owner_only(open_stream: Open, tmp_path: Path) -> None:
    await open_stream(addr={"type": "unix", "path": str(tmp_path / "wire")}, server=True)

    assert (tmp_path / "wire").stat().st_mode & 0o777 == 0o600


async def test_unix_socket_of_a_server_that_is_gone_is_replaced(open_stream: Open, tmp_path: Path) -> None:
    path = tmp_path / "wire"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))

    server = await open_stream(addr={"type": "unix", "path": str(path)}, server=True)

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        await until(lambda: server.carrier)


async def test_descriptor_is_a_wire(open_stream: Open) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        wire = await open_stream(addr={"type": "fd", "str": ours.fileno()})
        ours.close()
        await until(lambda: wire.carrier)

        wire.feed(b"a" * 60)
        theirs.sendall(framed(b"b" * 60))

        assert await read(theirs, 64) == framed(b"a" * 60)
        await until(lambda: wire.frames == [b"b" * 60])


async def test_descriptor_that_listens_is_a_server(open_stream: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = await open_stream(addr={"type": "fd", "str": listener.fileno()}, server=True)

        with socket.create_connection(listener.getsockname()):
            await until(lambda: wire.carrier)


async def test_framing_is_qemus(server: Wire) -> None:
    with await client_of(server) as client:
        server.feed(b"a" * 60, b"b" * 61)
        client.send(b"\0\0\0\3xyz\0\0")
        client.send(b"\0\2uv")

        assert await read(client, 129) == b"\0\0\0\x3c" + b"a" * 60 + b"\0\0\0\x3d" + b"b" * 61
        await until(lambda: server.frames == [b"xyz", b"uv"])


async def test_link_follows_the_peer(server: Wire, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncemu.net")
    before = server.carrier
    with await client_of(server) as client:
        host, port = client.getsockname()
    await until(lambda: not server.carrier)

    assert before is False
    assert caplog.messages == [f"net0: connected to {host}:{port}", f"net0: {host}:{port} has left"]


async def test_frames_without_a_peer_are_lost(server: Wire) -> None:
    server.feed(b"a" * 60)

    assert not server.unsent
    with await client_of(server) as client:
        server.feed(b"b" * 60)
        assert await read(client, 64) == framed(b"b" * 60)


async def test_next_client_is_served_when_the_first_has_left(server: Wire) -> None:
    first = await client_of(server)
    second = socket.create_connection(("127.0.0.1", port_of(server)))
    with second:
        second.send(framed(b"second" * 10))
        first.send(framed(b"first" * 12))
        await until(lambda: server.frames == [b"first" * 12])
        first.close()

        await until(lambda: server.frames == [b"first" * 12, b"second" * 10])


async def test_client_without_reconnect_stays_alone(open_stream: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = await open_stream(addr={**ANY_PORT, "port": listener.getsockname()[1]})
        connection, _ = listener.accept()
        await until(lambda: wire.carrier)
        connection.close()
        await until(lambda: not wire.carrier)

    assert netdev_of(wire).end.connection is None


async def test_client_with_reconnect_comes_again(open_stream: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = await open_stream(addr={**ANY_PORT, "port": listener.getsockname()[1]}, reconnect=0.001)
        listener.setblocking(False)
        for text in (b"1" * 60, b"2" * 60):
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            with connection:
                connection.send(framed(text))
                await until(lambda text=text: text in wire.frames)  # type: ignore[misc]


async def test_client_with_reconnect_says_once_that_nobody_is_there(
    open_stream: Open, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    wire = await open_stream(addr={**ANY_PORT, "port": port}, reconnect=0.001)
    await until(lambda: bool(caplog.messages))
    with socket.create_server(("127.0.0.1", port)):
        await until(lambda: wire.carrier)

    assert caplog.messages == [f"net0: connect to 127.0.0.1:{port}; it is tried again: Connection refused"]


async def test_full_guest_leaves_frames_in_the_socket(server: Wire) -> None:
    frames = [numbered(number, 1000) for number in range(200)]
    with await client_of(server) as client:
        server.room = 3
        client.sendall(framed(*frames[:100]))
        await until(lambda: len(server.received) == 3)
        client.sendall(framed(*frames[100:]))

        server.accept(50)
        await until(lambda: len(server.received) == 53)
        server.accept()

        await until(lambda: len(server.received) == 200)
        assert server.frames == frames


async def test_full_socket_leaves_frames_with_the_guest(server: Wire) -> None:
    frames = [numbered(number, 1500) for number in range(4000)]
    with await client_of(server) as client:
        server.feed(*frames)
        waiting = len(server.unsent)

        assert waiting > 0
        assert await read(client, 4000 * 1504) == framed(*frames)
        assert not server.unsent


async def test_large_segment_is_cut_and_sent_whole_though_the_socket_is_full(server: Wire) -> None:
    payload = bytes(range(256)) * 240
    with await client_of(server) as client:
        server.feed(*(unfinished(payload) for _ in range(100)))
        assert server.unsent
        decoder = FrameDecoder("test")
        frames: list[bytes] = []
        while len(frames) < 62 * 100:
            decoder.received(await asyncio.get_running_loop().sock_recv_into(client, decoder.room()))
            while found := decoder.frames():
                frames += [frame.tobytes() for frame in found]
                decoder.consumed(len(found))

    assert all(map(is_whole, frames))
    assert b"".join(map(payload_of, frames)) == payload * 100


async def test_peer_out_of_step_is_hung_up_on(server: Wire, caplog: pytest.LogCaptureFixture) -> None:
    with await client_of(server) as client:
        host, port = client.getsockname()
        client.send(framed(b"a" * 60) + b"HTTP")
        await until(lambda: not server.carrier)

        assert client.recv(10) == b""
    assert server.frames == [b"a" * 60]
    assert caplog.messages == [
        f"net0: {host}:{port}, byte 64: a frame of 1213486160 bytes is longer than 69632; the connection is closed"
    ]


async def test_peer_that_vanishes_while_we_send_is_the_end(server: Wire) -> None:
    client = await client_of(server)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    server.feed(*(bytes(1500) for _ in range(4000)))
    client.close()

    await until(lambda: not server.carrier)
    assert not server.unsent


async def test_server_is_the_emulators_own(server: Wire) -> None:
    assert own_sockets.is_own("127.0.0.1", port_of(server))


async def test_server_takes_the_first_free_port(open_stream: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wire = await open_stream(addr={**ANY_PORT, "port": port, "to": min(port + 50, 65535)}, server=True)

    assert port < port_of(wire) <= port + 50


async def test_connection_refused_is_an_error(open_stream: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(NetError) as caught:
        await open_stream(addr={**ANY_PORT, "port": port})

    assert str(caught.value) == f"net0: connect to 127.0.0.1:{port}: Connection refused"


async def test_port_taken_is_an_error(open_stream: Open, server: Wire) -> None:
    with pytest.raises(NetError) as caught:
        await open_stream(addr={**ANY_PORT, "port": port_of(server)}, server=True)

    assert str(caught.value) == f"net1: listen at 127.0.0.1:{port_of(server)}: Address already in use"


async def test_unix_path_too_long_is_an_error(open_stream: Open, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)

    with pytest.raises(NetError) as caught:
        await open_stream(addr={"type": "unix", "path": str(path)}, server=True)

    assert str(caught.value) == f"net0: listen at unix:{path}: File name too long"


async def test_unknown_host_is_an_error(open_stream: Open) -> None:
    with pytest.raises(ConfigError) as caught:
        await open_stream(addr={"type": "inet", "host": "no host", "port": 1})

    assert str(caught.value) == "net0: host 'no host': Name or service not known"


async def test_descriptor_that_is_no_stream_is_an_error(open_stream: Open, tmp_path: Path) -> None:
    file = os.open(tmp_path / "file", os.O_CREAT)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()
    messages = []
    for fd in (file, datagrams):
        with pytest.raises(ConfigError) as caught:
            await open_stream(addr={"type": "fd", "str": fd})
        messages.append(str(caught.value))
        os.close(fd)

    assert messages == [
        f"net0: fd {file} is not a socket: Socket operation on non-socket",
        f"net0: fd {datagrams} is not a stream socket",
    ]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"addr": ANY_PORT, "server": True, "reconnect": 1}, "reconnect is for a client, not with server = true"),
        (
            {"addr": {"type": "fd", "str": 3}, "reconnect": 1},
            "reconnect needs an address to connect to, not an open descriptor",
        ),
        ({"addr": {"type": "inet", "port": 1}}, "a client needs addr.host"),
        ({"addr": {**ANY_PORT, "to": 9}}, "addr.to is for a server, not without server = true"),
        ({"addr": {"type": "inet"}}, "an address of type 'inet' needs port"),
        ({"addr": {"type": "unix"}}, "an address of type 'unix' needs path"),
        ({"addr": {"type": "fd"}}, "an address of type 'fd' needs str"),
        ({"addr": {"type": "unix", "path": "/x", "port": 1}}, "port is not for an address of type 'unix'"),
        ({"addr": {**ANY_PORT, "str": 1}}, "str is not for an address of type 'inet'"),
        ({"addr": {**ANY_PORT, "port": 9, "to": 8}, "server": True}, "to is not below port"),
    ],
)
def test_options_that_contradict_each_other_are_errors(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        StreamOptions.model_validate(options)


async def test_accept_that_fails_is_tried_again(
    server: Wire, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = netdev_of(server).end
    assert isinstance(end, Server)

    class Poor:
        """Has no descriptor left for the first client."""

        def __init__(self, listener: socket.socket) -> None:
            self.listener = listener
            self.tries = 0

        def accept(self) -> Any:
            self.tries += 1
            if self.tries == 1:
                raise OSError(24, "Too many open files")
            return self.listener.accept()

        def fileno(self) -> int:
            return self.listener.fileno()

        def close(self) -> None:
            self.listener.close()

    monkeypatch.setattr("asyncemu.net.sockets.stream_ends.ACCEPT_PAUSE", 0.0)
    poor: Any = Poor(end._listeners[0])
    end._listeners = [poor]
    with socket.create_connection(("127.0.0.1", port_of(server))):
        await until(lambda: server.carrier)

    assert caplog.messages[0] == f"net0: accept a client at 127.0.0.1:{port_of(server)}: Too many open files"
