# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of a command that takes one of each."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.monitor.hmp.arguments import (
    FileName,
    Flag,
    Format,
    FormatOf,
    Number,
    Number32,
    OnOff,
    Rest,
    Situation,
    Size,
    Text,
)
from asyncemu.monitor.hmp.scanner import LineFault, Scanner
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import HmpCommand


async def flags(
    session: Session, a: Annotated[bool, Flag("a")], b: Annotated[bool, Flag("b")], name: Text | None = None
) -> None:
    """Flags, and an optional word."""


async def words(session: Session, first: Text, second: FileName) -> None:
    """Two words."""


async def numbers(session: Session, format: FormatOf, first: Number, second: Number32 | None = None) -> None:
    """A format and numbers."""


async def size(session: Session, size: Size) -> None:
    """A size."""


async def switch(session: Session, on: OnOff) -> None:
    """On or off."""


async def rest(session: Session, name: Text, value: Rest) -> None:
    """A word, and all the rest."""


def parse(function: Any, line: str) -> dict[str, Any]:
    """The arguments in ``line`` for a command of two names."""
    command = HmpCommand("cmd|c", "", "", function)
    return command.parse(Scanner(line), Situation("cmd|c", {"pc": 16}, Format(1, "x", 4)))


@pytest.mark.parametrize(
    ("function", "line", "expected"),
    [
        (flags, "", {"a": False, "b": False}),
        (flags, "-a -b x", {"a": True, "b": True, "name": "x"}),
        (flags, "-b", {"a": False, "b": True}),
        (words, " one\ttwo ", {"first": "one", "second": "two"}),
        (words, r'"a \"b\"" ' + r"'c\\d\n'", {"first": 'a "b"', "second": "c\\d\n"}),
        (numbers, "/4xb $pc+1", {"format": Format(4, "x", 1), "first": 17}),
        (numbers, "/dg 1 2", {"format": Format(1, "d", 8), "first": 1, "second": 2}),
        (numbers, "1", {"format": Format(1, "x", 4), "first": 1}),
        (size, "3", {"size": 3 << 20}),
        (size, "1.5k", {"size": 1536}),
        (size, "0x10k", {"size": 16384}),
        (switch, "on", {"on": True}),
        (switch, "off", {"on": False}),
        (rest, "a  b c", {"name": "a", "value": "b c"}),
    ],
)
def test_line_gives_the_arguments(function: Any, line: str, expected: dict[str, Any]) -> None:
    assert parse(function, line) == expected


@pytest.mark.parametrize(
    ("function", "line", "message"),
    [
        (flags, "-x", "cmd|c: unsupported option -x"),
        (flags, "-", "cmd|c: unsupported option -"),
        (flags, "a b", "cmd|c: extraneous characters at the end of line"),
        (words, "", "cmd|c: string expected"),
        (words, "a", "cmd|c: filename expected"),
        (words, 'a "b', "cmd|c: filename expected"),
        (words, r'a "\q"', "cmd|c: filename expected"),
        (numbers, "/q 1", "invalid char in format: 'q'"),
        (numbers, "/9999999x 1", "9999999 items are too many: 1048576 at most"),
        (numbers, "1 (-1)", "'cmd|c' has failed: integer is for 32-bit values"),
        (numbers, "1 0x100000000", "'cmd|c' has failed: integer is for 32-bit values"),
        (size, "x", "invalid size"),
        (size, "9E", "invalid size"),
        (size, "8388608T", "invalid size"),
        (switch, "maybe", "Expected 'on' or 'off'"),
        (rest, "a", "cmd|c: string expected"),
    ],
)
def test_fault_is_named(function: Any, line: str, message: str) -> None:
    with pytest.raises(LineFault) as caught:
        parse(function, line)

    assert str(caught.value) == message


@given(st.sampled_from([flags, words, numbers, size, switch, rest]), st.text(max_size=60))
def test_any_line_has_arguments_or_a_fault(function: Any, line: str) -> None:
    try:
        parse(function, line)
    except LineFault as fault:
        assert str(fault)
