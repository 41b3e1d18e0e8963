# SPDX-License-Identifier: GPL-2.0-or-later
"""One JSON text to a value, or to what is wrong with it in QEMU's words.

Python's parser does nearly all of them, in C. It takes what QMP refuses (a key twice, half of a surrogate pair), and
refuses what QMP takes (single quotes), or with other words: those come to the parser that is written out here. It keeps
a stack of its own, so that nesting costs no recursion.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

from asyncemu.monitor.qmp.json_tokens import TOKEN

#: Tokens that the slow parser takes; it is to hold up the monitors' thread for less than a second. QEMU has 2 Mi.
MAX_TOKENS: Final = 1 << 18

#: Bytes that a text has before Python's parser and QEMU's can differ and agree to take it: surrogates, characters that
#: Unicode keeps for nobody, and numbers that may not fit into 64 bits or a double.
_SUSPICIOUS: Final = re.compile(rb"\\u[dDfF]|\xef\xb7|\xbf[\xbe\xbf]|[0-9]{19}|[0-9.][eE][+-]?[0-9]{3}")

_ESCAPES: Final = {
    ord("b"): "\b",
    ord("f"): "\f",
    ord("n"): "\n",
    ord("r"): "\r",
    ord("t"): "\t",
    **{ord(each): each for each in "\"'\\/"},
}
_PIECE: Final = re.compile(rb"[^\\]++|\\u.{4}|\\.", re.DOTALL)
_HEX: Final = re.compile(rb"\\u[0-9a-fA-F]{4}\Z")
_INT_MIN: Final = -(1 << 63)
_UINT_MAX: Final = (1 << 64) - 1


class JsonSyntaxError(ValueError):
    """``str`` is what QEMU writes behind "JSON parse error, "."""


def parse(text: bytes) -> Any:
    """The value of ``text``: one value's tokens, each whole (json_tokens.py). Raises JsonSyntaxError."""
    if _SUSPICIOUS.search(text) is None:
        try:
            return _decoder.decode(text.decode())
        except (ValueError, RecursionError):
            pass
    return _Parser().parse(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key twice")
    return result


_decoder: Final = json.JSONDecoder(object_pairs_hook=_unique)


class _Parser:
    """Pushes an object or array when it opens; ``_wanted`` says what the next token is to be."""

    def __init__(self) -> None:
        self._stack: list[dict[str, Any] | list[Any]] = []
        #: Per object on the stack: its key that waits for a value; None: a key is what is read.
        self._keys: list[str | None] = []
        #: One of "value", "first" (a value or the end), "separator", "colon".
        self._wanted = "value"
        self._result: Any = None

    def parse(self, text: bytes) -> Any:
        for count, match in enumerate(TOKEN.finditer(text)):
            if count == MAX_TOKENS:
                raise JsonSyntaxError("too many tokens")
            structure, string, number, keyword = match.groups()
            if structure:
                self._take_structure(structure)
            elif self._wanted not in ("value", "first"):
                self._refuse_token()
            elif string:
                self._take_value(_string(string))
            else:
                self._take_value(_number(number) if number else _keyword(keyword))
        if self._stack:
            raise JsonSyntaxError("premature EOI")
        return self._result

    def _take_structure(self, token: bytes) -> None:
        container = self._stack[-1] if self._stack else None
        closing = b"}" if isinstance(container, dict) else b"]"
        if container is not None and token == closing and self._wanted in ("first", "separator"):
            self._close(container)
        elif self._wanted in ("value", "first"):
            self._open(token)
        elif self._wanted == "separator" and token == b",":
            self._wanted = "value"
            if isinstance(container, dict):
                self._keys[-1] = None
        elif self._wanted == "colon" and token == b":":
            self._wanted = "value"
        else:
            self._refuse_token()

    def _open(self, token: bytes) -> None:
        if token == b"{":
            self._stack.append({})
            self._keys.append(None)
        elif token == b"[":
            self._stack.append([])
        else:
            raise JsonSyntaxError("expecting value")
        self._wanted = "first"

    def _close(self, container: dict[str, Any] | list[Any]) -> None:
        self._stack.pop()
        if isinstance(container, dict):
            self._keys.pop()
        self._take_value(container)

    def _take_value(self, value: Any) -> None:
        if not self._stack:
            self._result = value
            return
        container = self._stack[-1]
        self._wanted = "separator"
        if isinstance(container, list):
            container.append(value)
        elif self._keys[-1] is None:
            if not isinstance(value, str):
                raise JsonSyntaxError("key is not a string in object")
            self._keys[-1] = value
            self._wanted = "colon"
        else:
            if self._keys[-1] in container:
                raise JsonSyntaxError("duplicate key")
            container[self._keys[-1]] = value

    def _refuse_token(self) -> NoReturn:
        if self._wanted == "colon":
            raise JsonSyntaxError("missing : in object pair")
        raise JsonSyntaxError(f"expected separator in {'dict' if isinstance(self._stack[-1], dict) else 'list'}")


def _keyword(token: bytes) -> bool | None:
    try:
        return {b"true": True, b"false": False, b"null": None}[token]
    except KeyError:
        raise JsonSyntaxError(f"invalid keyword '{token.decode()}'") from None


def _number(token: bytes) -> int | float:
    """An integer of 64 bits, with or without sign, else a double (QEMU: qnum)."""
    # A word's length is limited: this int() is a short one.
    if token.lstrip(b"-").isdigit() and _INT_MIN <= (integer := int(token)) <= _UINT_MAX:
        return integer
    number = float(token)
    if math.isinf(number):
        # QEMU takes it, and writes "inf" where it echoes it, which is no JSON.
        raise JsonSyntaxError("number is out of range")
    return number


def _string(token: bytes) -> str:
    body = token[1:-1]
    if b"\\" not in body:
        return _utf8(body)
    result: list[str] = []
    at = 0
    while at < len(body):
        match = _PIECE.match(body, at)
        piece = match.group() if match is not None else body[at:]
        if piece[0] != ord("\\"):
            result.append(_utf8(piece))
        elif piece[1] == ord("u"):
            # Of an escape that the string's end cuts short, QEMU shows the quote, too.
            character, piece = _unicode(body, at, token[1 + at : 7 + at])
            result.append(character)
        elif piece[1] in _ESCAPES:
            result.append(_ESCAPES[piece[1]])
        else:
            raise JsonSyntaxError("invalid escape sequence in string")
        at += len(piece)
    return "".join(result)


def _unicode(body: bytes, at: int, shown: bytes) -> tuple[str, bytes]:
    """The character of the escape at ``at``, and the escape: two of them where they are a surrogate pair."""
    escape = body[at : at + 6]
    if _HEX.match(escape):
        point, trailing = int(escape[2:], 16), body[at + 6 : at + 12]
        if 0xD800 <= point <= 0xDBFF and _HEX.match(trailing) and 0xDC00 <= (low := int(trailing[2:], 16)) <= 0xDFFF:
            escape = body[at : at + 12]
            point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00)
            shown = escape
        if _is_character(point):
            return chr(point), escape
    raise JsonSyntaxError(f"{shown.decode(errors='replace')} is not a valid Unicode character")


def _is_character(point: int) -> bool:
    return not (0xD800 <= point <= 0xDFFF or 0xFDD0 <= point <= 0xFDEF or point & 0xFFFE == 0xFFFE)


def _utf8(data: bytes) -> str:
    """Modified UTF-8, where C0 80 is NUL (as in QEMU)."""
    try:
        text = data.replace(b"\xc0\x80", b"\0").decode()
    except UnicodeDecodeError:
        raise JsonSyntaxError("invalid UTF-8 sequence in string") from None
    if not all(_is_character(ord(each)) for each in text if each > "\ud7ff"):
        raise JsonSyntaxError("invalid UTF-8 sequence in string")
    return text
