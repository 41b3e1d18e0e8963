# SPDX-License-Identifier: GPL-2.0-or-later
"""WebSocketCodec: the server's end of one WebSocket, as a codec of a byte stream.

    handshake ──▶ established ──▶ ENDED      messages are cut anywhere: it is their bytes that count

As in QEMU what we send is binary. Text is taken, too. A ping is answered, only the last one of several (5.5.3).
"""

from __future__ import annotations

import struct

from asyncemu.chardev.codec import Codec, Received, Signal
from asyncemu.chardev.websocket import handshake
from asyncemu.chardev.websocket.frames import CloseCode, FrameError, FrameReader, Opcode, Piece, encode_frame
from asyncemu.errors import ProtocolError


class WebSocketCodec(Codec):
    """``token``: what a client must present, as ``Authorization: Bearer TOKEN``; None: nothing.

    ``tls``: the WebSocket is inside TLS.
    """

    def __init__(self, token: str | None = None, *, tls: bool = False) -> None:
        self.established = False
        self._token = token
        self._tls = tls
        self._head = b""
        self._reader = FrameReader()
        self._answer = b""
        self._pong: bytes | None = None
        self._closing = b""

    def receive(self, data: bytes) -> Received:
        if not self.established:
            self._shake_hands(data)
            return []
        received: list[bytes | Signal] = []
        try:
            for piece in self._reader.feed(data):
                self._take(piece, received)
                if received and received[-1] is Signal.ENDED:
                    break
        except FrameError as error:
            self._closing = encode_frame(Opcode.CLOSE, struct.pack(">H", error.code))
            raise
        return received

    def _shake_hands(self, data: bytes) -> None:
        self._head += data
        end = self._head.find(handshake.HEAD_END, 0, handshake.MAX_HEAD)
        if end >= 0:
            answer = handshake.answer(self._head[:end], self._token, tls=self._tls)
        elif len(self._head) >= handshake.MAX_HEAD:
            answer = handshake.too_long()
        else:
            return
        self._answer = answer.head
        if answer.problem:
            raise ProtocolError("WebSocket client", 0, f"the handshake failed: {answer.problem}")
        rest = len(self._head) - end - len(handshake.HEAD_END)
        if rest:
            # 4.1: it waits for the answer.
            raise ProtocolError("WebSocket client", len(self._head) - rest, "it goes on before it has our answer")
        self._head = b""
        self.established = True

    def _take(self, piece: Piece, received: list[bytes | Signal]) -> None:
        match piece.opcode:
            case Opcode.PING:
                self._pong = piece.payload
            case Opcode.PONG:
                pass
            case Opcode.CLOSE:
                # 5.5.1: with the code that it gave.
                code = piece.payload[:2]
                if len(piece.payload) == 1:
                    code = struct.pack(">H", CloseCode.PROTOCOL_ERROR)
                self._closing = encode_frame(Opcode.CLOSE, code)
                received.append(Signal.ENDED)
            case _:
                received.append(piece.payload)

    def encode(self, data: bytes) -> bytes:
        return encode_frame(Opcode.BINARY, data)

    def take_replies(self) -> bytes:
        replies, self._answer = self._answer, b""
        if self._pong is not None:
            replies += encode_frame(Opcode.PONG, self._pong)
            self._pong = None
        return replies

    def farewell(self) -> bytes:
        """Nothing before the handshake is over; the answer to the client's goodbye where it was first."""
        if not self.established:
            return b""
        return self._closing or encode_frame(Opcode.CLOSE, struct.pack(">H", CloseCode.GOING_AWAY))
