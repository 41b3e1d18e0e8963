# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames (RFC 6455, 5): a reader of what a client sends, and what a server sends. No I/O.

The payload of data frames is handed out as it comes, so that a frame of any length takes no memory.
"""

from __future__ import annotations

import codecs
import enum
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from asyncemu.errors import ProtocolError


class Opcode(enum.IntEnum):
    """RFC 6455, 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(enum.IntEnum):
    """RFC 6455, 7.4.1."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    INVALID_TEXT = 1007


#: Payload of a control frame at most (5.5).
MAX_CONTROL: Final = 125
_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
#: Bytes of a header: two, a long length, the mask.
_LONGEST_HEADER: Final = 2 + 8 + 4


class Piece(NamedTuple):
    """Some payload of a data frame, or a control frame as a whole."""

    opcode: Opcode
    payload: bytes


class FrameError(ProtocolError):
    """The client broke the rules; it is told ``code``."""

    def __init__(self, offset: int, problem: str, code: CloseCode = CloseCode.PROTOCOL_ERROR) -> None:
        super().__init__("WebSocket client", offset, problem)
        self.code = code


def encode_frame(opcode: Opcode, payload: bytes) -> bytes:
    """A whole message in one frame; a server does not mask (5.1)."""
    first = _FINAL | opcode
    if len(payload) <= MAX_CONTROL:
        return struct.pack(">BB", first, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack(">BBH", first, 126, len(payload)) + payload
    return struct.pack(">BBQ", first, 127, len(payload)) + payload


class FrameReader:
    """``feed`` may be called with pieces cut anywhere."""

    def __init__(self) -> None:
        self._offset = 0
        self._header = bytearray()
        self._mask = b""
        #: Of the frame that has begun: bytes of payload to come, and those that were there.
        self._left = 0
        self._done = 0
        self._opcode = Opcode.BINARY
        self._final = True
        self._in_frame = False
        #: Of the message that has begun; None between messages.
        self._message: Opcode | None = None
        self._control = bytearray()
        self._utf8 = codecs.getincrementaldecoder("utf-8")()

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Pieces with payload, and control frames, in order. Raises FrameError where the client broke the rules."""
        position = 0
        while position < len(data):
            if not self._in_frame:
                position += self._take_header(data[position : position + _LONGEST_HEADER])
                if not self._in_frame:
                    continue
            else:
                payload = data[position : position + self._left]
                position += len(payload)
                self._offset += len(payload)
                yield from self._take_payload(self._unmask(payload))
            if not self._left:
                self._in_frame = False
                yield from self._end_of_frame()

    # ---- header

    def _take_header(self, data: bytes) -> int:
        """Take bytes up to the end of the header; how many."""
        taken = 0
        while len(self._header) < self._header_size() and taken < len(data):
            self._header.append(data[taken])
            taken += 1
            self._offset += 1
            if len(self._header) == 2:
                self._check_start(*self._header)
        if len(self._header) == self._header_size():
            self._begin_frame(bytes(self._header))
            self._header.clear()
        return taken

    def _header_size(self) -> int:
        if len(self._header) < 2:
            return 2
        return 2 + {126: 2, 127: 8}.get(self._header[1] & 0x7F, 0) + 4

    def _check_start(self, first: int, second: int) -> None:
        if first & _RESERVED:
            raise self._broken("a frame uses extensions that were not agreed on")
        try:
            opcode = Opcode(first & 0x0F)
        except ValueError:
            raise self._broken(f"a frame has the unknown opcode {first & 0x0F}") from None
        if not second & _MASKED:
            raise self._broken("a frame is not masked")
        if opcode >= Opcode.CLOSE:
            if not first & _FINAL or second & 0x7F > MAX_CONTROL:
                raise self._broken("a control frame is too long or in fragments")
        elif opcode is Opcode.CONTINUATION and self._message is None:
            raise self._broken("a continuation continues nothing")
        elif opcode is not Opcode.CONTINUATION and self._message is not None:
            raise self._broken("a message begins inside another one")
        self._opcode = opcode
        self._final = bool(first & _FINAL)

    def _begin_frame(self, header: bytes) -> None:
        length = header[1] & 0x7F
        if length == 126:
            (length,) = struct.unpack_from(">H", header, 2)
            shortest = MAX_CONTROL + 1
        elif length == 127:
            (length,) = struct.unpack_from(">Q", header, 2)
            shortest = 1 << 16
        else:
            shortest = 0
        # 5.2: as few bytes as it takes, and the highest bit clear.
        if length < shortest or length >> 63:
            raise self._broken("the length of a frame is not written as it should be")
        self._mask = header[-4:]
        self._left = length
        self._done = 0
        self._in_frame = True
        if self._opcode in (Opcode.TEXT, Opcode.BINARY):
            self._message = self._opcode

    # ---- payload

    def _unmask(self, payload: bytes) -> bytes:
        """5.3. As one big number: a loop over bytes would hold up everybody."""
        start = self._done % 4
        self._done += len(payload)
        self._left -= len(payload)
        mask = (self._mask * (len(payload) // 4 + 2))[start : start + len(payload)]
        return (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(len(payload))

    def _take_payload(self, payload: bytes) -> Iterator[Piece]:
        if self._opcode >= Opcode.CLOSE:
            self._control += payload
            return
        assert self._message is not None  # the header was checked
        if self._message is Opcode.TEXT:
            self._check_text(payload, final=False)
        if payload:
            yield Piece(self._message, payload)

    def _end_of_frame(self) -> Iterator[Piece]:
        if self._opcode >= Opcode.CLOSE:
            payload = bytes(self._control)
            self._control.clear()
            yield Piece(self._opcode, payload)
        elif self._final:
            if self._message is Opcode.TEXT:
                self._check_text(b"", final=True)
            self._message = None

    def _check_text(self, payload: bytes, *, final: bool) -> None:
        try:
            self._utf8.decode(payload, final)
        except UnicodeDecodeError:
            raise self._broken("a text is not UTF-8", CloseCode.INVALID_TEXT) from None

    def _broken(self, problem: str, code: CloseCode = CloseCode.PROTOCOL_ERROR) -> FrameError:
        return FrameError(self._offset, problem, code)
