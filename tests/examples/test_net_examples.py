# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples of the network, loaded and driven as a user's tests would do it."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import pytest

from asyncemu.errors import NetError
from asyncemu.loop import AioContext, Clocks
from asyncemu.net import connect
from asyncemu.plugin_options import configure
from asyncemu.plugins import find
from asyncemu.testing import until
from asyncemu.testing.memory_wire import Wire
from tests.net.user.network import network, unused_port

ROOT = Path(__file__).parents[2]
FRAME = b"\xff" * 6 + b"\x52\x54\0\x12\x34\x56" + b"\x88\xb5" + b"hello".ljust(46, b"\0")


def make_wire(context: AioContext, port: int) -> Any:
    plugin: Any = find("netdev", "", "test", "examples/net_backend.py:TcpWire", ROOT)
    return plugin(plugin.options_type(port=port), "net0", context, Clocks())


async def test_net_backend_carries_frames_both_ways(context: AioContext) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = await reader.readexactly(4)
        writer.write(length + await reader.readexactly(int.from_bytes(length, "big")))
        await reader.read()
        writer.close()

    running = await asyncio.start_server(peer, "127.0.0.1", 0)
    netdev = make_wire(context, running.sockets[0].getsockname()[1])
    wire = Wire(context)
    connect(wire, netdev)
    await netdev.open()
    wire.feed(FRAME)
    await until(lambda: bool(wire.frames))
    await netdev.close()
    running.close()

    assert wire.frames == [FRAME]


async def test_net_backend_peer_that_leaves_takes_the_link_down(context: AioContext) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    running = await asyncio.start_server(peer, "127.0.0.1", 0)
    netdev = make_wire(context, running.sockets[0].getsockname()[1])
    await netdev.open()
    await until(lambda: not netdev.link_up)
    await netdev.close()
    running.close()


async def test_net_backend_without_peer_is_an_error_of_one_line(context: AioContext) -> None:
    port = unused_port()

    with pytest.raises(NetError) as caught:
        await make_wire(context, port).open()

    assert str(caught.value) == f"net0: connect to 127.0.0.1:{port}: Connection refused"


def user_options(**changes: Any) -> dict[str, Any]:
    """Of net.toml's netdev, as the machine would have them."""
    tables = tomllib.loads((ROOT / "examples" / "net.toml").read_text())
    (table,) = tables["netdev"]
    configured = configure("netdev", {**table, **changes}, "netdev[0]", ROOT / "examples")
    return configured.options.model_dump()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.0 200 OK", b"You asked for /hello, as number "),
        (b"HEAD /hello HTTP/1.1\r\n\r\n", b"HTTP/1.0 200 OK", b""),
        (b"POST / HTTP/1.1\r\n\r\n", b"HTTP/1.0 400 Bad Request", b"I know GET only."),
    ],
)
async def test_guest_http_answers_the_guest(context: AioContext, request_: bytes, status: bytes, body: bytes) -> None:
    async with network(context, **user_options(hostfwd=[])) as net:
        stream = await net.client.connect("10.0.2.100", 80)
        await stream.write(request_)
        head, _, rest = (await stream.read()).partition(b"\r\n\r\n")

        assert head.split(b"\r\n")[0] == status
        assert body in rest


async def test_guest_http_half_a_request_ends_quietly(context: AioContext) -> None:
    async with network(context, **user_options(hostfwd=[])) as net:
        stream = await net.client.connect("10.0.2.100", 80)
        await stream.write(b"GET /")
        stream.close()

        assert await stream.read() == b""
