# SPDX-License-Identifier: GPL-2.0-or-later
"""The line editor, looked at through a terminal of 40 lines that knows what it sends."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.monitor.hmp.readline import HISTORY, LINE_LIMIT, Completing, Entered, LineEditor

LEFT, RIGHT, UP, DOWN = b"\x1b[D", b"\x1b[C", b"\x1b[A", b"\x1b[B"


def typed(keys: bytes, editor: LineEditor | None = None) -> LineEditor:
    """An editor that has been fed ``keys``."""
    editor = editor or LineEditor()
    for key in keys:
        editor.feed(key)
    return editor


class Terminal:
    """One line of a VT100: what it shows, and where its cursor is."""

    def __init__(self) -> None:
        self.lines = [""]
        self.column = 0

    def write(self, text: str) -> None:
        for part in re.findall(r"\x1b\[[0-9]*[A-Z]|[^\x1b]", text):
            if part == "\n":
                self.lines.append("")
                self.column = 0
            elif part.endswith("D") and part[0] == "\x1b":
                self.column -= int(part[2:-1])
            elif part == "\x1b[K":
                self.lines[-1] = self.lines[-1][: self.column]
            else:
                line = self.lines[-1]
                self.lines[-1] = line[: self.column] + part + line[self.column + 1 :]
                self.column += 1


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (b"abc", "abc"),
        (b"ab\x02X", "aXb"),
        (b"ab" + LEFT + b"X", "aXb"),
        (b"ab" + LEFT + RIGHT + b"X", "abX"),
        (b"ab\x02\x06X", "abX"),
        (b"abc\x01X", "Xabc"),
        (b"abc\x1b[HX", "Xabc"),
        (b"abc\x1b[1~X", "Xabc"),
        (b"abc\x1bOHX", "Xabc"),
        (b"abc\x01\x05X", "abcX"),
        (b"abc\x01\x1b[FX", "abcX"),
        (b"abc\x01\x1b[4~X", "abcX"),
        (b"abc\x01\x1bOFX", "abcX"),
        (b"abc\x01\x04", "bc"),
        (b"abc\x01\x1b[3~", "bc"),
        (b"abc\x7f", "ab"),
        (b"abc\x08", "ab"),
        (b"\x7f", ""),
        (b"abc\x02\x02\x0b", "a"),
        (b"abc\x02\x15", "c"),
        (b"one two\x17", "one "),
        (b"one two  \x17", "one "),
        (b"one\x17", ""),
        (b"a\x00\x03\x1ab", "ab"),
        (b"a\x1bxb", "ab"),
        (b"a\x1b[1;5Db", "ba"),
        (b"a\x1b[99999999999999~b", "ab"),
        ("é€".encode(), "é€"),
        (b"\xff\xfea", "��a"),
    ],
)
def test_keys_edit_the_line(keys: bytes, line: str) -> None:
    assert typed(keys).line == line


def test_enter_gives_the_line_and_begins_a_new_one() -> None:
    editor = typed(b"stop")

    result = editor.feed(0x0D)

    assert result == Entered("stop")
    assert editor.line == ""


def test_enter_in_the_middle_gives_the_whole_line() -> None:
    assert typed(b"stop\x01").feed(0x0D) == Entered("stop")


def test_tab_asks_for_what_may_follow_the_text_before_the_cursor() -> None:
    assert typed(b"info st\x02").feed(0x09) == Completing("info s")


def test_line_is_bounded() -> None:
    assert len(typed(b"x" * (LINE_LIMIT + 100)).line) == LINE_LIMIT


# ---- history


def test_up_and_down_walk_through_the_history() -> None:
    editor = typed(b"one\rtwo\r")

    assert [typed(key, editor).line for key in (UP, UP, UP, DOWN, DOWN, DOWN)] == ["two", "one", "one", "two", "", ""]


def test_control_p_and_n_walk_through_the_history() -> None:
    editor = typed(b"one\rtwo\r")

    assert [typed(key, editor).line for key in (b"\x10", b"\x10", b"\x0e")] == ["two", "one", "two"]


def test_history_line_typed_again_is_kept_once_as_the_newest() -> None:
    assert typed(b"one\rtwo\rone\r").history == ["one", "two"][::-1]


def test_history_empty_line_is_not_kept() -> None:
    assert typed(b"\r\r").history == []


def test_history_keeps_the_newest_64() -> None:
    editor = typed(b"".join(b"%d\r" % number for number in range(HISTORY + 5)))

    assert editor.history == [str(number) for number in range(5, HISTORY + 5)]


# ---- completion


def test_completed_one_choice_is_put_in_with_a_space() -> None:
    editor = typed(b"info sta")

    editor.completed("sta", ["status"])

    assert editor.line == "info status "


def test_completed_directory_gets_no_space() -> None:
    editor = typed(b"/us")

    editor.completed("/us", ["/usr/"])

    assert editor.line == "/usr/"


def test_completed_none_changes_nothing() -> None:
    editor = typed(b"xyz")

    editor.completed("xyz", [])

    assert editor.line == "xyz"


def test_completed_several_puts_in_what_they_share_and_lists_them() -> None:
    editor = LineEditor()
    editor.prompt()
    typed(b"s", editor)
    editor.take_output()

    editor.completed("s", ["system_reset", "system_powerdown"])

    assert editor.line == "system_"
    assert editor.take_output() == "\nsystem_powerdown  system_reset\n(qemu) system_"


def test_completed_many_are_laid_out_in_columns() -> None:
    editor = LineEditor()

    editor.completed("", [f"c{number:02}" for number in range(10)])

    assert editor.take_output().splitlines()[1:3] == [
        "c00       c01       c02       c03       c04       c05       c06       c07",
        "c08       c09",
    ]


# ---- what the terminal gets


def test_output_of_text_at_the_end_is_the_text() -> None:
    editor = LineEditor()
    editor.prompt()
    typed(b"abc", editor)

    assert editor.take_output() == "(qemu) abc"


def test_output_control_l_clears_the_screen_and_shows_the_line() -> None:
    editor = typed(b"abc")
    editor.take_output()

    editor.feed(0x0C)

    assert editor.take_output() == "\x1b[H\x1b[2J(qemu) abc"


@given(st.lists(st.sampled_from([*map(chr, range(32)), "\x7f", "a", "b", " ", "\x1b[A", "\x1b[D", "\x1b[3~", "\x1b["])))
def test_terminal_shows_what_the_editor_has_whatever_is_typed(keys: list[str]) -> None:
    terminal, editor = Terminal(), LineEditor()
    editor.prompt()
    for key in "".join(keys).replace("\x0c", "").encode():
        if isinstance(editor.feed(key), Entered):
            editor.prompt()
    terminal.write(editor.take_output())

    assert terminal.lines[-1] == f"(qemu) {editor.line}"
    assert 7 <= terminal.column <= 7 + len(editor.line)


@given(st.binary(max_size=300))
def test_anything_typed_leaves_a_bounded_printable_line(keys: bytes) -> None:
    editor = typed(keys)

    assert len(editor.line) <= len(keys)
    assert editor.line.isprintable()
    assert len(editor.history) <= HISTORY
