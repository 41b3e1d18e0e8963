# SPDX-License-Identifier: GPL-2.0-or-later
"""Telnet's server side (RFC 854), for a client in character mode: bytes in, data and breaks out; no I/O.

As in QEMU the server begins: it echoes (RFC 857), there is no go-ahead (RFC 858), and bytes are bytes both ways
(RFC 856). A client that agrees is silent or repeats it; whatever else it proposes is refused, once per option.
"""

from __future__ import annotations

import enum
from typing import Final

from asyncemu.chardev.codec import Codec, Received, Signal

# RFC 854, "TELNET COMMAND STRUCTURE".
SE: Final = 240
BREAK: Final = 243
SB: Final = 250
WILL: Final = 251
WONT: Final = 252
DO: Final = 253
DONT: Final = 254
IAC: Final = 255

BINARY: Final = 0
ECHO: Final = 1
SUPPRESS_GO_AHEAD: Final = 3

_GREETING: Final = bytes([IAC, WILL, ECHO, IAC, WILL, SUPPRESS_GO_AHEAD, IAC, WILL, BINARY, IAC, DO, BINARY])
#: What we said we do, and what we asked for: an answer to these needs none.
_OURS: Final = {(DO, ECHO), (DO, SUPPRESS_GO_AHEAD), (DO, BINARY), (WILL, BINARY)}
_REFUSALS: Final = {DO: WONT, WILL: DONT}
_IAC_BYTE: Final = bytes([IAC])


class _State(enum.Enum):
    """Where in a command the stream is."""

    DATA = enum.auto()
    COMMAND = enum.auto()
    OPTION = enum.auto()
    SUBNEGOTIATION = enum.auto()
    SUBNEGOTIATION_COMMAND = enum.auto()


class TelnetCodec(Codec):
    """One client."""

    def __init__(self) -> None:
        self._state = _State.DATA
        self._verb = 0
        self._replies = bytearray(_GREETING)
        # Each pair once at most: that bounds what a client can make us say.
        self._refused: set[tuple[int, int]] = set()

    def receive(self, data: bytes) -> Received:
        """Never fails: what is no command is skipped, as RFC 854 has it."""
        received: list[bytes | Signal] = []
        text = bytearray()
        position = 0
        while position < len(data):
            if self._state is _State.DATA:
                end = data.find(_IAC_BYTE, position)
                text += data[position : end if end >= 0 else len(data)]
                if end < 0:
                    break
                position = end + 1
                self._state = _State.COMMAND
                continue
            byte = data[position]
            position += 1
            if self._state is _State.COMMAND and byte == IAC:
                text.append(IAC)
                self._state = _State.DATA
            elif self._state is _State.COMMAND and byte == BREAK:
                if text:
                    received.append(bytes(text))
                    text.clear()
                received.append(Signal.BREAK)
                self._state = _State.DATA
            else:
                self._state = self._command(byte)
        if text:
            received.append(bytes(text))
        return received

    def _command(self, byte: int) -> _State:
        match self._state:
            case _State.COMMAND:
                if byte in (WILL, WONT, DO, DONT):
                    self._verb = byte
                    return _State.OPTION
                return _State.SUBNEGOTIATION if byte == SB else _State.DATA
            case _State.OPTION:
                self._answer(self._verb, byte)
                return _State.DATA
            case _State.SUBNEGOTIATION:
                return _State.SUBNEGOTIATION_COMMAND if byte == IAC else _State.SUBNEGOTIATION
            case _:
                # Parameters of an option that we did not agree to; IAC IAC is one of them.
                return _State.DATA if byte == SE else _State.SUBNEGOTIATION

    def _answer(self, verb: int, option: int) -> None:
        if verb in _REFUSALS and (verb, option) not in _OURS and (verb, option) not in self._refused:
            self._refused.add((verb, option))
            self._replies += bytes([IAC, _REFUSALS[verb], option])

    def encode(self, data: bytes) -> bytes:
        return data.replace(_IAC_BYTE, _IAC_BYTE * 2)

    def take_replies(self) -> bytes:
        replies = bytes(self._replies)
        self._replies.clear()
        return replies
