# SPDX-License-Identifier: GPL-2.0-or-later
"""Scanner: a command line, read from left to right; and what is wrong with one."""

from __future__ import annotations

from typing import Final

from asyncemu.errors import AsyncemuError

#: What a backslash in a quoted word may be followed by. QEMU: get_str.
_ESCAPES: Final = {"n": "\n", "r": "\r", "\\": "\\", "'": "'", '"': '"'}


class LineFault(AsyncemuError):
    """The line is no command with the arguments that it takes; ``str`` is what the user is told, in QEMU's words."""


class Scanner:
    """A line and how far it is read."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.position = 0

    @property
    def next(self) -> str:
        """The next character; empty at the end."""
        return self.line[self.position : self.position + 1]

    @property
    def rest(self) -> str:
        """All that is left."""
        return self.line[self.position :]

    def skip_spaces(self) -> None:
        """Go to the next character that is no white space."""
        while self.next.isspace():
            self.position += 1

    def take(self) -> str:
        """The next character, read."""
        character = self.next
        self.position += 1
        return character

    def take_rest(self) -> str:
        """All that is left, read."""
        rest = self.rest
        self.position = len(self.line)
        return rest

    def take_name(self) -> str:
        """The name of a command: up to white space, or to the / of a format."""
        self.skip_spaces()
        start = self.position
        while self.next and not self.next.isspace() and self.next != "/":
            self.position += 1
        return self.line[start : self.position]

    def take_word(self) -> str | None:
        """A word, which may be quoted by " or '; None: there is none, or its quotes are wrong."""
        self.skip_spaces()
        if self.next in ('"', "'"):
            return self._take_quoted(self.take())
        start = self.position
        while self.next and not self.next.isspace():
            self.position += 1
        return self.line[start : self.position] or None

    def _take_quoted(self, quote: str) -> str | None:
        word = []
        while (character := self.take()) != quote:
            if character == "\\":
                character = _ESCAPES.get(self.take(), "")
            if not character:
                return None
            word.append(character)
        return "".join(word)
