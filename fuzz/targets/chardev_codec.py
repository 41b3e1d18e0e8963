# SPDX-License-Identifier: GPL-2.0-or-later
"""A client's bytes to the codecs of socket chardevs: telnet, and WebSocket with its handshake.

    1 byte    which codec, and whether the handshake is over
    1 byte    the size of the pieces that the rest comes in, less one

May be raised: ProtocolError, which ends it. No codec gives more data than it was fed, or owes the peer without bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncemu.chardev.codec import Codec
from asyncemu.chardev.telnet import TelnetCodec
from asyncemu.chardev.websocket import WebSocketCodec
from asyncemu.errors import ProtocolError

_HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

#: Bytes of replies at most: telnet refuses each of 256 options both ways; a handshake's answer and a pong are less.
_MAX_REPLIES: Final = 12 + 256 * 2 * 3


def fuzz_one(data: bytes) -> None:
    """One input."""
    codec = _codec(data[0] if data else 0)
    size = (data[1] if len(data) > 1 else 0) + 1
    stream = data[2:]
    given = 0
    try:
        for start in range(0, len(stream), size):
            for part in codec.receive(stream[start : start + size]):
                given += len(part) if isinstance(part, bytes) else 0
            assert given <= start + size, "a codec gives more than it was fed"
    except ProtocolError:
        pass
    assert len(codec.take_replies()) <= _MAX_REPLIES, "a codec owes the peer without bound"
    assert not codec.take_replies(), "a codec owes the same twice"
    codec.farewell()


def _codec(choice: int) -> Codec:
    if choice % 4 == 0:
        return TelnetCodec()
    codec = WebSocketCodec("token" if choice % 4 == 3 else None)
    if choice % 4 == 1:
        codec.receive(_HANDSHAKE)
        codec.take_replies()
    return codec


def seeds() -> Sequence[bytes]:
    """One for each codec."""
    hello = bytes.fromhex("818537fa213d7f9f4d5158")  # RFC 6455, 5.7
    fragments = bytes.fromhex("02800000000089830000000061626380800000000088820000000003e8")
    return [
        b"\x00\x0fls\xff\xff\xff\xf3\xff\xfd\x18\xff\xfa\x18\x00x\xff\xf0",
        b"\x01\xff" + hello + fragments,
        b"\x01\x00" + fragments,
        b"\x02\x1f" + _HANDSHAKE,
        b"\x03\xff" + _HANDSHAKE.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer token\r\n\r\n"),
    ]
