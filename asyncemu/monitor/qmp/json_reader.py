# SPDX-License-Identifier: GPL-2.0-or-later
"""JsonReader: a client's bytes to JSON values, as they come. Sans-IO.

    reader.feed(data)
    while (item := reader.read()) is not None: ...        # a value, or what was wrong

A value is over when its brackets are balanced; what is no bracket is passed over in runs, by one regular expression,
from where it was left: each byte is looked at once, however they come. The whole text then goes to the parser.

After an error everything up to it is forgotten, and what follows up to a promising place (json_tokens.RUBBISH). It is
QEMU's way (docs/interop/qmp-spec: a client that has lost its place sends 0xFF), in QEMU's words.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from asyncemu.monitor.qmp.json_parser import JsonSyntaxError, parse
from asyncemu.monitor.qmp.json_tokens import MAX_WORD, RUBBISH, RUN, WHITESPACE, Lexed, lex

#: Bytes of one value; QEMU has 64 MiB. Arbitrary: twice what a client may want to send, and little for many clients.
MAX_VALUE: Final = 2 << 20
#: Objects and arrays inside of each other; QEMU's.
MAX_NESTING: Final = 1024
#: Characters of a wrong token that the error shows. Arbitrary.
_MAX_SHOWN: Final = 256

_DEPTH: Final = {ord("{"): (1, 0), ord("}"): (-1, 0), ord("["): (0, 1), ord("]"): (0, -1)}


class JsonItem(NamedTuple):
    """One thing that the client said."""

    value: Any
    #: What was wrong with it, in one line; "": nothing.
    error: str = ""


class JsonReader:
    """One client's input. It holds MAX_VALUE bytes at most, and what is fed beyond them before ``read`` is called."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._recovering = False
        self._begin(0)

    def _begin(self, end: int) -> None:
        """Forget ``end`` bytes, and what was known of the value in them."""
        del self._buffer[:end]
        #: How far all is known: whole tokens, of these open objects and arrays.
        self._known = 0
        self._braces = self._brackets = 0
        #: How far a string that begins there, and is not whole, was looked at.
        self._resume = 0

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        self._buffer += data

    def reset(self) -> None:
        """Forget all: another client comes."""
        self._recovering = False
        self._begin(len(self._buffer))

    @property
    def unread(self) -> int:
        """Bytes that are held."""
        return len(self._buffer)

    def read(self) -> JsonItem | None:
        """What comes next; None: it is not whole yet."""
        if self._recovering and not self._recover():
            return None
        while True:
            inside = self._braces or self._brackets
            if not self._resume:
                match = (RUN if inside else WHITESPACE).match(self._buffer, self._known)
                self._known = match.end() if match is not None else self._known
            if not inside and self._known:
                self._begin(self._known)
            if self._known > MAX_VALUE:
                return self._fail("JSON token size limit exceeded", self._known)
            if self._known == len(self._buffer):
                return None
            lexed, end = lex(self._buffer, self._known, self._resume)
            if lexed is Lexed.STRAY:
                return self._stray(end)
            if lexed is Lexed.UNFINISHED:
                return self._wait(end)
            if (item := self._take(end)) is not None:
                return item

    def _recover(self) -> bool:
        match = RUBBISH.match(self._buffer)
        self._begin(match.end() if match is not None else 0)
        self._recovering = not self._buffer
        return not self._recovering

    def _wait(self, end: int) -> JsonItem | None:
        is_string = self._buffer[self._known] in b"\"'"
        if end > MAX_VALUE or (not is_string and end - self._known > MAX_WORD):
            return self._fail("JSON token size limit exceeded", end)
        self._resume = end
        return None

    def _take(self, end: int) -> JsonItem | None:
        """A whole token, up to ``end``; it may end the value."""
        brace, bracket = _DEPTH.get(self._buffer[self._known], (0, 0))
        self._braces += brace
        self._brackets += bracket
        self._known, self._resume = end, 0
        if self._braces + self._brackets > MAX_NESTING:
            return self._fail("JSON nesting depth limit exceeded", end)
        if (self._braces > 0 or self._brackets > 0) and self._braces >= 0 and self._brackets >= 0:
            return None
        text = bytes(self._buffer[:end])
        self._begin(end)
        try:
            return JsonItem(parse(text))
        except JsonSyntaxError as error:
            return JsonItem(None, f"JSON parse error, {error}")

    def _stray(self, end: int) -> JsonItem:
        token = bytes(self._buffer[self._known : end]).partition(b"\0")[0].decode(errors="replace")
        self._recovering = True
        return self._fail(f"JSON parse error, stray '{token[:_MAX_SHOWN]}'", end)

    def _fail(self, problem: str, end: int) -> JsonItem:
        self._begin(end)
        return JsonItem(None, problem)
