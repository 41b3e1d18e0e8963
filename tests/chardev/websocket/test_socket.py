# SPDX-License-Identifier: GPL-2.0-or-later
"""WebSocket over a socket; its peers: aiohttp, and bytes of our own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from asyncemu.chardev import ChardevEvent
from asyncemu.chardev import connection as connection_module
from asyncemu.chardev.socket import Socket
from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import GUARD, Messages, Recorder, read_until, readable
from tests.chardev.websocket.client import BINARY, PING, frame
from tests.chardev.websocket.test_handshake import request


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(GUARD)) as session:
        yield session


async def websocket_server(make_chardev: MakeChardev, recorder: Recorder, **keys: object) -> Socket:
    chardev: Socket = make_chardev("socket", host="127.0.0.1", port=0, server=True, wait=False, websocket=True, **keys)
    chardev.attach(recorder)
    await chardev.open()
    return chardev


def connect(chardev: Socket) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", int(chardev.address.rpartition(":")[2])), GUARD)
    client.setblocking(False)
    return client


async def test_aiohttp_exchanges_bytes(make_chardev: MakeChardev, session: aiohttp.ClientSession) -> None:
    recorder = Recorder()
    chardev = await websocket_server(make_chardev, recorder)

    async with session.ws_connect(f"ws://{chardev.address}/", protocols=["binary"]) as client:
        await client.send_bytes(b"binary ")
        await client.send_str("text")
        await recorder.until_received(b"binary text")
        chardev.write(b"from the guest")
        received = await client.receive_bytes()

    assert client.protocol == "binary"
    assert received == b"from the guest"


async def test_aiohttp_much_both_ways_arrives_whole(make_chardev: MakeChardev, session: aiohttp.ClientSession) -> None:
    recorder = Recorder()
    chardev = await websocket_server(make_chardev, recorder)
    data = os.urandom(300_000)

    async with session.ws_connect(f"ws://{chardev.address}/") as client:
        await client.send_bytes(data)
        await recorder.until_received(data)
        sent, received = 0, b""
        while len(received) < len(data):
            sent += chardev.write(data[sent:])
            received += await client.receive_bytes()

    assert received == data


async def test_aiohttp_close_is_answered_and_the_end(make_chardev: MakeChardev, session: aiohttp.ClientSession) -> None:
    recorder = Recorder()
    chardev = await websocket_server(make_chardev, recorder)
    client = await session.ws_connect(f"ws://{chardev.address}/")

    answered = await client.close(code=1000)

    await recorder.until_event(ChardevEvent.CLOSED)
    assert answered
    assert client.close_code == 1000


async def test_aiohttp_machine_ends_client_is_told(make_chardev: MakeChardev, session: aiohttp.ClientSession) -> None:
    recorder = Recorder()
    chardev = await websocket_server(make_chardev, recorder)
    client = await session.ws_connect(f"ws://{chardev.address}/")
    await recorder.until_event(ChardevEvent.OPENED)

    await chardev.close()

    assert (await client.receive()).type is aiohttp.WSMsgType.CLOSE
    assert client.close_code == 1001


async def test_aiohttp_without_the_token_is_refused(
    make_chardev: MakeChardev, session: aiohttp.ClientSession, messages: Messages
) -> None:
    recorder = Recorder()
    chardev = await websocket_server(make_chardev, recorder, token="s3cret")

    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await session.ws_connect(f"ws://{chardev.address}/")
    headers = {"Authorization": "Bearer s3cret"}
    async with session.ws_connect(f"ws://{chardev.address}/", headers=headers) as client:
        await client.send_bytes(b"x")
        await recorder.until_received(b"x")

    assert caught.value.status == 401
    assert messages.texts == ["console: WebSocket client, byte 0: the handshake failed: it has not the token"]


async def test_client_before_the_handshake_is_no_peer(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    chardev = await websocket_server(make_chardev, recorder)
    with connect(chardev) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")

        taken = chardev.write(b"lost")
        client.close()

    assert taken == 4
    assert recorder.events == []


async def test_client_that_says_nothing_makes_room_for_the_next(
    make_chardev: MakeChardev, monkeypatch: pytest.MonkeyPatch, messages: Messages
) -> None:
    monkeypatch.setattr(connection_module, "HANDSHAKE_TIMEOUT", 0.01)
    recorder = Recorder()
    chardev = await websocket_server(make_chardev, recorder)
    with connect(chardev):
        await messages.until_first()
    monkeypatch.setattr(connection_module, "HANDSHAKE_TIMEOUT", GUARD)

    with connect(chardev) as client:
        client.sendall(request() + b"\r\n\r\n")
        await recorder.until_event(ChardevEvent.OPENED)

    assert messages.texts[0] == "console: the handshake takes too long"


async def test_client_that_breaks_the_rules_is_told_why_and_left(make_chardev: MakeChardev, messages: Messages) -> None:
    recorder = Recorder()
    chardev = await websocket_server(make_chardev, recorder)
    with connect(chardev) as client:
        client.sendall(request() + b"\r\n\r\n")
        await read_until(client.fileno(), b"\r\n\r\n")

        client.sendall(b"\x82\x01x")
        await recorder.until_event(ChardevEvent.CLOSED)
        await readable(client.fileno())
        last_words = client.recv(100)

    assert last_words == b"\x88\x02\x03\xea"
    assert messages.texts == ["console: WebSocket client, byte 2: a frame is not masked"]


async def test_client_pings_while_it_reads_nothing_memory_is_bounded(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    chardev = await websocket_server(make_chardev, recorder)
    with connect(chardev) as client:
        client.sendall(request() + b"\r\n\r\n")
        await read_until(client.fileno(), b"\r\n\r\n")
        while chardev.write(bytes(100_000)) == 100_000:
            pass
        loop = asyncio.get_running_loop()

        for _ in range(10):
            await loop.sock_sendall(client, frame(PING, bytes(125)) * 1000)
        await loop.sock_sendall(client, frame(BINARY, b"x"))
        await recorder.until_received(b"x")
        connection = chardev._connection

    assert connection is not None
    # A piece of output and its frame.
    assert len(connection._pending) <= connection_module.WRITE_SIZE + 14


async def test_filename_says_websocket(make_chardev: MakeChardev) -> None:
    chardev = await websocket_server(make_chardev, Recorder())

    assert chardev.filename == f"disconnected:websocket:{chardev.address},server=on"
