# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct

import pytest

from asyncemu.chardev.codec import Signal
from asyncemu.chardev.websocket import WebSocketCodec
from asyncemu.errors import ProtocolError
from tests.chardev.websocket.client import BINARY, CLOSE, PING, PONG, frame
from tests.chardev.websocket.test_handshake import request


def established() -> WebSocketCodec:
    codec = WebSocketCodec()
    codec.receive(request() + b"\r\n\r\n")
    codec.take_replies()
    return codec


def test_handshake_byte_by_byte_is_answered() -> None:
    codec = WebSocketCodec()

    for byte in request() + b"\r\n\r\n":
        codec.receive(bytes([byte]))

    assert codec.established
    assert codec.take_replies().startswith(b"HTTP/1.1 101 ")


def test_handshake_refused_is_told_and_answered() -> None:
    codec = WebSocketCodec("s3cret")

    with pytest.raises(ProtocolError) as caught:
        codec.receive(request() + b"\r\n\r\n")

    assert str(caught.value) == "WebSocket client, byte 0: the handshake failed: it has not the token"
    assert codec.take_replies().startswith(b"HTTP/1.1 401 ")
    assert codec.farewell() == b""


def test_handshake_without_end_is_refused() -> None:
    codec = WebSocketCodec()

    with pytest.raises(ProtocolError, match="the head of the request is longer than 4096 bytes"):
        for _ in range(100):
            codec.receive(b"x" * 100)

    assert codec.take_replies().startswith(b"HTTP/1.1 431 ")


def test_handshake_client_that_does_not_wait_is_left() -> None:
    head = request() + b"\r\n\r\n"

    with pytest.raises(ProtocolError) as caught:
        WebSocketCodec().receive(head + b"x")

    assert str(caught.value) == f"WebSocket client, byte {len(head)}: it goes on before it has our answer"


def test_receive_data_and_pings_ping_is_answered() -> None:
    codec = established()

    received = codec.receive(frame(BINARY, b"ab") + frame(PING, b"?") + frame(PONG) + frame(BINARY, b"c"))

    assert received == [b"ab", b"c"]
    assert codec.take_replies() == b"\x8a\x01?"


def test_receive_flood_of_pings_last_one_is_answered() -> None:
    codec = established()

    codec.receive(b"".join(frame(PING, b"%d" % number) for number in range(1000)))

    assert codec.take_replies() == b"\x8a\x03999"


@pytest.mark.parametrize(
    ("payload", "answer"),
    [(b"", b""), (struct.pack(">H", 1000) + b"bye", struct.pack(">H", 1000)), (b"x", struct.pack(">H", 1002))],
)
def test_receive_close_is_the_end_and_answered(payload: bytes, answer: bytes) -> None:
    codec = established()

    received = codec.receive(frame(BINARY, b"x") + frame(CLOSE, payload) + frame(BINARY, b"ignored"))

    assert received == [b"x", Signal.ENDED]
    assert codec.farewell() == b"\x88" + bytes([len(answer)]) + answer


def test_receive_broken_frame_farewell_says_why() -> None:
    codec = established()

    with pytest.raises(ProtocolError):
        codec.receive(b"\x82\x01x")

    assert codec.farewell() == b"\x88\x02" + struct.pack(">H", 1002)


def test_farewell_of_ours_is_going_away() -> None:
    assert established().farewell() == b"\x88\x02" + struct.pack(">H", 1001)


def test_encode_is_one_binary_frame() -> None:
    assert established().encode(b"ab") == b"\x82\x02ab"
