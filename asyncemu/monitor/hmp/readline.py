# SPDX-License-Identifier: GPL-2.0-or-later
"""The line editor of the human monitor as a core that does no I/O: keys in; text for the terminal, and lines, out.

    editor.prompt()
    match editor.feed(key):
        case Entered(line): ...             # run it, then prompt() again
        case Completing(text): ...          # find what may follow, then completed(...)
    chardev.write(editor.take_output())

Keys: Ctrl-A, Ctrl-E, Ctrl-B, Ctrl-F, arrows, Home, End move; Ctrl-D, Delete, Backspace, Ctrl-K, Ctrl-U, Ctrl-W
delete; Ctrl-P, Ctrl-N, up and down walk the history; Tab completes; Ctrl-L clears the screen; Enter ends the line.
Keys that are no text and none of these are swallowed. The terminal is a VT100 (ECMA-48) that does its own wrapping.
What is typed may be anything: a line has LINE_LIMIT characters at most, and a control sequence two parameters' digits.
"""

from __future__ import annotations

import codecs
import enum
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Final, NamedTuple

#: Characters of a line; more are swallowed. QEMU: READLINE_CMD_BUF_SIZE.
LINE_LIMIT: Final = 4095
#: Lines kept. QEMU: READLINE_MAX_CMDS.
HISTORY: Final = 64
#: Completions shown. QEMU: READLINE_MAX_COMPLETIONS.
COMPLETIONS: Final = 256

#: Columns of the terminal that a list of completions is laid out for, and the least of them for one.
_COLUMNS: Final = 80
_COLUMN: Final = 10

_ESCAPE: Final = 0x1B
#: More digits than any key's number has.
_PARAMETER_LIMIT: Final = 999


class Entered(NamedTuple):
    """The user has ended a line."""

    line: str


class Completing(NamedTuple):
    """The user wants to know what may follow ``text``, which is the line up to the cursor."""

    text: str


class _State(enum.Enum):
    TEXT = enum.auto()
    ESCAPE = enum.auto()
    #: In a control sequence, behind ESC [.
    CONTROL_SEQUENCE = enum.auto()
    #: Behind ESC O: what a keypad in application mode sends.
    KEYPAD = enum.auto()


class LineEditor:
    """One user's line. See the module's head."""

    def __init__(self, prompt: str = "(qemu) ") -> None:
        self.history: list[str] = []
        self._prompt = prompt
        self._output: list[str] = []
        self._line = ""
        self._cursor = 0
        # What the terminal shows behind the prompt, and where its cursor is there.
        self._shown = ""
        self._shown_cursor = 0
        # The entry of the history that is edited; None: a new line.
        self._entry: int | None = None
        self._state = _State.TEXT
        self._parameter = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._keys: dict[int, Callable[[], None]] = {
            0x01: self._to_start,
            0x02: self._left,
            0x04: self._delete,
            0x05: self._to_end,
            0x06: self._right,
            0x08: self._backspace,
            0x0B: self._delete_to_end,
            0x0C: self._clear_screen,
            0x0E: self._newer,
            0x10: self._older,
            0x15: self._delete_to_start,
            0x17: self._delete_word,
            0x7F: self._backspace,
        }
        self._sequences: dict[str, Callable[[], None]] = {
            "A": self._older,
            "B": self._newer,
            "C": self._right,
            "D": self._left,
            "H": self._to_start,
            "F": self._to_end,
        }
        # ESC [ NUMBER ~: VT220 and rxvt.
        self._numbered: dict[int, Callable[[], None]] = {
            1: self._to_start,
            3: self._delete,
            4: self._to_end,
            7: self._to_start,
            8: self._to_end,
        }

    @property
    def line(self) -> str:
        """What is typed so far."""
        return self._line

    # ---- for the monitor

    def restart(self) -> None:
        """Forget what is typed: another user comes."""
        self._line = self._shown = ""
        self._cursor = self._shown_cursor = 0
        self._entry = None
        self._state = _State.TEXT
        self._decoder.reset()

    def prompt(self) -> None:
        """Show the prompt, and what is typed behind it."""
        self._output.append(self._prompt)
        self._shown, self._shown_cursor = "", 0
        self._show()

    def take_output(self) -> str:
        """What the terminal is to get."""
        text = "".join(self._output)
        self._output.clear()
        return text

    def feed(self, byte: int) -> Entered | Completing | None:
        """The next byte from the terminal."""
        if self._state is not _State.TEXT:
            self._feed_sequence(chr(byte))
        elif byte in (0x0A, 0x0D):
            return self._enter()
        elif byte == 0x09:
            return Completing(self._line[: self._cursor])
        elif byte == _ESCAPE:
            self._state = _State.ESCAPE
        elif byte in self._keys:
            self._keys[byte]()
        elif byte >= 0x20:
            for character in self._decoder.decode(bytes((byte,))):
                self._insert(character)
        self._show()
        return None

    def completed(self, word: str, choices: Sequence[str]) -> None:
        """The answer to ``Completing``: what the ``word`` at the cursor may become, each one beginning with it."""
        found = sorted(set(choices))[:COMPLETIONS]
        if not found:
            return
        first, last = found[0], found[-1]
        # Of a sorted list, what the first and the last have in common all have.
        common = first[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))]
        common = common[len(word) :]
        if len(found) == 1 and not found[0].endswith("/"):
            common += " "
        for character in common:
            self._insert(character)
        if len(found) > 1:
            self._output.append("\n" + _columns(found))
            self.prompt()
        self._show()

    # ---- keys

    def _feed_sequence(self, character: str) -> None:
        if self._state is _State.ESCAPE:
            following = {"[": _State.CONTROL_SEQUENCE, "O": _State.KEYPAD}
            self._state = following.get(character, _State.TEXT)
            self._parameter = 0
        elif self._state is _State.CONTROL_SEQUENCE and character.isascii() and character.isdigit():
            self._parameter = min(self._parameter * 10 + int(character), _PARAMETER_LIMIT)
        elif self._state is _State.CONTROL_SEQUENCE and character == ";":
            # What follows are modifiers (ESC [ 1 ; 5 C is Ctrl-right): the last number counts, for no key with ~.
            self._parameter = 0
        else:
            self._state = _State.TEXT
            action = self._numbered.get(self._parameter) if character == "~" else self._sequences.get(character)
            if action is not None:
                action()

    def _enter(self) -> Entered:
        line = self._line
        self._cursor = len(line)
        self._show()
        self._output.append("\n")
        self._remember(line)
        self.restart()
        return Entered(line)

    def _remember(self, line: str) -> None:
        if not line:
            return
        if line in self.history:
            self.history.remove(line)
        self.history.append(line)
        del self.history[:-HISTORY]

    def _insert(self, character: str) -> None:
        if len(self._line) < LINE_LIMIT and character.isprintable():
            self._line = self._line[: self._cursor] + character + self._line[self._cursor :]
            self._cursor += 1

    def _left(self) -> None:
        self._cursor = max(0, self._cursor - 1)

    def _right(self) -> None:
        self._cursor = min(len(self._line), self._cursor + 1)

    def _to_start(self) -> None:
        self._cursor = 0

    def _to_end(self) -> None:
        self._cursor = len(self._line)

    def _delete(self) -> None:
        self._line = self._line[: self._cursor] + self._line[self._cursor + 1 :]

    def _backspace(self) -> None:
        if self._cursor:
            self._cursor -= 1
            self._delete()

    def _delete_to_end(self) -> None:
        self._line = self._line[: self._cursor]

    def _delete_to_start(self) -> None:
        self._line, self._cursor = self._line[self._cursor :], 0

    def _delete_word(self) -> None:
        before = self._line[: self._cursor].rstrip()
        kept = before[: before.rfind(" ") + 1]
        self._line, self._cursor = kept + self._line[self._cursor :], len(kept)

    def _older(self) -> None:
        entry = len(self.history) if self._entry is None else self._entry
        if entry > 0:
            self._recall(entry - 1)

    def _newer(self) -> None:
        if self._entry is None:
            return
        if self._entry + 1 < len(self.history):
            self._recall(self._entry + 1)
        else:
            self._entry = None
            self._line, self._cursor = "", 0

    def _recall(self, entry: int) -> None:
        self._entry = entry
        self._line = self.history[entry]
        self._cursor = len(self._line)

    def _clear_screen(self) -> None:
        self._output.append("\x1b[H\x1b[2J")
        self.prompt()

    # ---- the terminal

    def _show(self) -> None:
        """Make the terminal show the line, with as little output as a user sees no difference by."""
        if self._line != self._shown:
            if self._shown_cursor == len(self._shown) and self._line.startswith(self._shown):
                self._output.append(self._line[len(self._shown) :])
            else:
                self._output.append(_left_by(self._shown_cursor) + self._line + "\x1b[K")
            self._shown, self._shown_cursor = self._line, len(self._line)
        if self._cursor < self._shown_cursor:
            self._output.append(_left_by(self._shown_cursor - self._cursor))
        elif self._cursor > self._shown_cursor:
            self._output.append(self._line[self._shown_cursor : self._cursor])
        self._shown_cursor = self._cursor


def _left_by(count: int) -> str:
    """ECMA-48, 8.3.18 (CUB)."""
    return f"\x1b[{count}D" if count else ""


def _columns(texts: Sequence[str]) -> str:
    """``texts`` in as many columns as the terminal has room for, lines ended."""
    width = min(max(max(map(len, texts)) + 2, _COLUMN), _COLUMNS)
    count = _COLUMNS // width
    rows = [texts[start : start + count] for start in range(0, len(texts), count)]
    return "".join("".join(f"{text:<{width}}" for text in row).rstrip() + "\n" for row in rows)
