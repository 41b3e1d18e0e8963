# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON as QEMU reads it, with its words for what is wrong.

Beyond RFC 8259, texts may be in single quotes too; a key may not be there twice. QEMU: docs/interop/qmp-spec.txt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

#: Brackets within each other. QEMU: 1024. No image is described by anything nearly as deep as this.
MAX_DEPTH: Final = 128

_SPACE: Final = r"[ \t\r\n]*"
#: What one piece may be; a text up to its closing quote, a number as far as it is one.
_PIECE: Final = (
    r"(?P<mark>[{}\[\],:])"
    r"|(?P<text>\"(?:[^\"\\\x00-\x1f]|\\[^\x00-\x1f])*\"|'(?:[^'\\\x00-\x1f]|\\[^\x00-\x1f])*')"
    r"|(?P<keyword>[a-z]+)"
    r"|(?P<number>-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][+-]?[0-9]+)?)"
)
#: The beginning of a piece that can't go on like that.
_BROKEN_TEXT: Final = r"\"(?:[^\"\\\x00-\x1f]|\\[^\x00-\x1f])*\\?|'(?:[^'\\\x00-\x1f]|\\[^\x00-\x1f])*\\?"
_BROKEN_NUMBER: Final = r"-?(?:0(?=[0-9])|[0-9]+(?:\.(?:[0-9]+(?:[eE][+-]?)?)?|[eE][+-]?)?)?"

_KEYWORDS: Final = {"true": True, "false": False, "null": None}
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\", "/": "/"}


class JsonError(ValueError):
    """The text is no JSON; in QEMU's words, one line."""


class _Piece(NamedTuple):
    kind: str
    text: str
    is_float: bool = False


def read_json(text: str) -> object:
    """The one value in ``text``: dict, list, str, int, float, bool or None. Raises JsonError."""
    pieces, end = _first_value(text)
    if not pieces:
        raise JsonError("Expecting a JSON value")
    reader = _Reader(pieces)
    value = reader.value()
    # A mark too many ends the pieces of the value early.
    if reader.position < len(pieces) or text[end:].strip(" \t\r\n"):
        raise JsonError("Expecting at most one JSON value")
    return value


def _first_value(text: str) -> tuple[list[_Piece], int]:
    """The pieces up to where all brackets are closed, or to the end; and where that is."""
    pieces: list[_Piece] = []
    position, depth = 0, {"{": 0, "[": 0}
    space, piece = re.compile(_SPACE), re.compile(_PIECE)
    while True:
        found = space.match(text, position)
        position = found.end() if found is not None else position
        if position == len(text):
            return pieces, position
        match = piece.match(text, position)
        if match is None or _goes_on_wrongly(match, text):
            raise _parse_error(f"stray '{_stray(text, position)}'")
        position = match.end()
        kind = match.lastgroup if match["number"] is None else "number"
        is_float = match["fraction"] is not None or match["exponent"] is not None
        pieces.append(_Piece(str(kind), match[0], is_float))
        if match[0] in ("{", "["):
            depth[match[0]] += 1
        elif match[0] in ("}", "]") and kind == "mark":
            depth["{" if match[0] == "}" else "["] -= 1
        if sum(depth.values()) > MAX_DEPTH:
            raise JsonError("JSON nesting depth limit exceeded")
        if min(depth.values()) < 0 or not any(depth.values()):
            return pieces, position


def _goes_on_wrongly(match: re.Match[str], text: str) -> bool:
    if match["number"] is None:
        return False
    after = text[match.end() : match.end() + 1]
    if match["exponent"] is not None:
        return False
    if match["fraction"] is not None:
        return after in ("e", "E")
    return after in (".", "e", "E") or (match[0].endswith("0") and len(match[0].lstrip("-")) == 1 and after.isdigit())


def _stray(text: str, position: int) -> str:
    """The piece that begins at ``position``, with the character that it can't have."""
    pattern = _BROKEN_TEXT if text[position] in "\"'" else _BROKEN_NUMBER
    found = re.compile(pattern).match(text, position)
    end = found.end() if found is not None else position
    if end == position == len(text):
        return ""
    # Short, whatever it is: QEMU shows all of it.
    return text[position : end + 1]


def _parse_error(problem: str) -> JsonError:
    return JsonError(f"JSON parse error, {problem}")


class _Reader:
    """Descends into the pieces of one value, MAX_DEPTH deep at most."""

    def __init__(self, pieces: Sequence[_Piece]) -> None:
        self._pieces = pieces
        self.position = 0

    def value(self) -> object:
        piece = self._take()
        match piece.kind, piece.text:
            case "mark", "{":
                return self._table()
            case "mark", "[":
                return self._list()
            case "text", text:
                return _unescaped(text)
            case "keyword", text if text in _KEYWORDS:
                return _KEYWORDS[text]
            case "keyword", text:
                raise _parse_error(f"invalid keyword '{text}'")
            case "number", text:
                return _number(piece)
            case _:
                raise _parse_error("expecting value")

    def _table(self) -> dict[str, object]:
        table: dict[str, object] = {}
        if self._next() == "}":
            self.position += 1
            return table
        while True:
            key = self.value()
            if not isinstance(key, str):
                raise _parse_error("key is not a string in object")
            if self._take().text != ":" or self._pieces[self.position - 1].kind != "mark":
                raise _parse_error("missing : in object pair")
            value = self.value()
            if key in table:
                raise _parse_error("duplicate key")
            table[key] = value
            if self._separator("}", "dict"):
                return table

    def _list(self) -> list[object]:
        entries: list[object] = []
        if self._next() == "]":
            self.position += 1
            return entries
        while True:
            entries.append(self.value())
            if self._separator("]", "list"):
                return entries

    def _separator(self, closing: str, container: str) -> bool:
        """Take a comma, or the end: True."""
        piece = self._take()
        if piece.kind != "mark" or piece.text not in (",", closing):
            raise _parse_error(f"expected separator in {container}")
        return piece.text == closing

    def _next(self) -> str:
        """The next piece, when it is a mark."""
        if self.position == len(self._pieces):
            raise _parse_error("premature EOI")
        piece = self._pieces[self.position]
        return piece.text if piece.kind == "mark" else ""

    def _take(self) -> _Piece:
        self._next()
        self.position += 1
        return self._pieces[self.position - 1]


def _number(piece: _Piece) -> int | float:
    # QEMU: what 64 bits can't hold is a double. Many digits would take int() a long time.
    if not piece.is_float and len(piece.text) <= 20 and -(1 << 63) <= (number := int(piece.text)) < 1 << 64:
        return number
    return float(piece.text)


def _unescaped(quoted: str) -> str:
    text, parts, position = quoted[1:-1], [], 0
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        # A byte of the command line that is no UTF-8.
        raise _parse_error("invalid UTF-8 sequence in string")
    while (escape := text.find("\\", position)) >= 0:
        parts.append(text[position:escape])
        letter = text[escape + 1]
        if letter == "u":
            character, position = _unicode(quoted, escape + 1)
            position -= 1
            parts.append(character)
        elif letter in _ESCAPES:
            parts.append(_ESCAPES[letter])
            position = escape + 2
        else:
            raise _parse_error("invalid escape sequence in string")
    return "".join([*parts, text[position:]])


def _unicode(quoted: str, start: int) -> tuple[str, int]:
    r"""The character of ``\uXXXX`` at ``start``, or of two of these that are a surrogate pair; and where it ends."""
    code, end = _hexadecimal(quoted, start)
    if code is not None and 0xD800 <= code < 0xDC00 and quoted.startswith("\\u", end):
        low, low_end = _hexadecimal(quoted, end)
        if low is not None and 0xDC00 <= low < 0xE000:
            pair = 0x10000 + ((code - 0xD800) << 10 | low - 0xDC00)
            return _checked(pair, quoted[start:low_end]), low_end
    if code == 0:
        # QEMU keeps a NUL in two bytes that are no UTF-8 ("modified UTF-8"), as its strings end at a NUL.
        return "\udcc0\udc80", end
    return _checked(code, quoted[start:end]), end


def _hexadecimal(quoted: str, start: int) -> tuple[int | None, int]:
    r"""The number after ``\u``, None when it has less than four digits; and the end of what was looked at."""
    found = re.compile(r"[0-9a-fA-F]{0,4}").match(quoted, start + 2)
    digits = found[0] if found is not None else ""
    return (int(digits, 16), start + 6) if len(digits) == 4 else (None, start + 3 + len(digits))


def _checked(code: int | None, spelling: str) -> str:
    if code is None or 0xD800 <= code < 0xE000 or 0xFDD0 <= code < 0xFDF0 or code & 0xFFFE == 0xFFFE:
        raise _parse_error(f"{spelling} is not a valid Unicode character")
    return chr(code)
