# SPDX-License-Identifier: GPL-2.0-or-later
"""The tokens of QMP's JSON: what one is, where it ends, where it goes wrong. QEMU: docs/interop/qmp-spec, json-lexer.

QMP's JSON is RFC 8259's with strings in single quotes, too. A string holds no control character and no byte 0xFE or
0xFF: a client sends one of these to have everything before it forgotten.
"""

from __future__ import annotations

import enum
import re
from typing import Final

#: Bytes of a number or a keyword, at most (arbitrary; nobody writes a longer one).
MAX_WORD: Final = 1024

_BODY: Final = {
    ord(quote): re.compile(rb"(?:[^%b\\\x00-\x1f\xfe\xff]|\\[\x20-\xfd])*+" % quote.encode()) for quote in "\"'"
}
_NUMBER: Final = rb"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
_WHOLE_NUMBER: Final = re.compile(_NUMBER)
#: As much of a number as there is.
_NUMBER_BEGUN: Final = re.compile(
    rb"-?+(?:(?:0|[1-9][0-9]*+)(?:\.[0-9]*+(?:(?<=[0-9])[eE][+-]?+[0-9]*+)?+|[eE][+-]?+[0-9]*+)?+)?+"
)
_KEYWORD: Final = re.compile(rb"[a-z]++")
_STRING: Final = rb"\"(?:[^\"\\\x00-\x1f\xfe\xff]|\\[\x20-\xfd])*+\"|'(?:[^'\\\x00-\x1f\xfe\xff]|\\[\x20-\xfd])*+'"

#: Tokens that neither open nor close anything, as many as are whole: the inside of an object or an array. A word is
#: whole when something follows that can't belong to it.
RUN: Final = re.compile(
    rb"(?:[ \t\r\n,:]++|" + _STRING + rb"|" + _NUMBER + rb"(?=[^0-9.eE+-])|[a-z]++(?=[^a-z]))*+", re.DOTALL
)
WHITESPACE: Final = re.compile(rb"[ \t\r\n]*+")
STRUCTURE: Final = b"{}[]:,"
#: What is passed over after an error: up to a promising place to begin anew.
RUBBISH: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\[\]{}:,\xfe\xff]*+")

#: One token of text that is known to have whole ones only: (structure, string, number, keyword).
TOKEN: Final = re.compile(
    rb"[ \t\r\n]*+(?:([{}\[\]:,])|(" + _STRING + rb")|(" + _NUMBER + rb")|([a-z]++))[ \t\r\n]*+", re.DOTALL
)


class Lexed(enum.Enum):
    """How a token ends."""

    WHOLE = enum.auto()
    #: More bytes may belong to it.
    UNFINISHED = enum.auto()
    #: Its last byte can't be there.
    STRAY = enum.auto()


def lex(text: bytearray, start: int, resume: int = 0) -> tuple[Lexed, int]:
    """The token at ``start``, which is no whitespace and inside of ``text``; where it ends.

    ``resume``: of a string, how far it has been looked at already, as the end of an UNFINISHED one said.
    """
    first = text[start]
    if first in STRUCTURE:
        return Lexed.WHOLE, start + 1
    if first in _BODY:
        return _lex_string(text, max(start + 1, resume), first)
    if first == ord("-") or ord("0") <= first <= ord("9"):
        return _lex_number(text, start)
    if ord("a") <= first <= ord("z"):
        end = _end(_KEYWORD, text, start)
        return (Lexed.UNFINISHED if end == len(text) else Lexed.WHOLE), end
    return Lexed.STRAY, start + 1


def _lex_string(text: bytearray, start: int, quote: int) -> tuple[Lexed, int]:
    end = _end(_BODY[quote], text, start)
    if end == len(text) or (text[end] == ord("\\") and end + 1 == len(text)):
        return Lexed.UNFINISHED, end
    if text[end] == quote:
        return Lexed.WHOLE, end + 1
    return Lexed.STRAY, end + (2 if text[end] == ord("\\") else 1)


def _lex_number(text: bytearray, start: int) -> tuple[Lexed, int]:
    end = _end(_NUMBER_BEGUN, text, start)
    if end == len(text):
        return Lexed.UNFINISHED, end
    if _end(_WHOLE_NUMBER, text, start) != end:
        return Lexed.STRAY, end + 1
    if text[start:end].lstrip(b"-") == b"0" and text[end] in b"0123456789":
        return Lexed.STRAY, end + 1
    return Lexed.WHOLE, end


def _end(pattern: re.Pattern[bytes], text: bytearray, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match is not None else start
