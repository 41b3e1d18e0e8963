# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.chardev.escape import EscapeParser, MuxCommand

# Ctrl-A and the keys often enough to matter.
STREAM = st.lists(st.one_of(st.sampled_from([b"\x01", b"x", b"h", b"c"]), st.binary(max_size=3))).map(b"".join)


def joined(actions: list[bytes | MuxCommand]) -> list[bytes | MuxCommand]:
    """Neighbouring data as one piece: where data is cut is not part of the result."""
    result: list[bytes | MuxCommand] = []
    for action in actions:
        last = result[-1] if result else None
        if isinstance(action, bytes) and isinstance(last, bytes):
            result[-1] = last + action
        else:
            result.append(action)
    return result


def test_parser_plain_data_passes_unchanged() -> None:
    assert EscapeParser().feed(b"ls -l\r") == [b"ls -l\r"]


@pytest.mark.parametrize(
    ("key", "command"),
    [
        (b"x", MuxCommand.QUIT),
        (b"h", MuxCommand.HELP),
        (b"?", MuxCommand.HELP),
        (b"b", MuxCommand.BREAK),
        (b"c", MuxCommand.SWITCH),
        (b"s", MuxCommand.SAVE),
        (b"t", MuxCommand.TIMESTAMPS),
    ],
)
def test_parser_key_after_ctrl_a_is_command(key: bytes, command: MuxCommand) -> None:
    assert EscapeParser().feed(b"a\x01" + key + b"b") == [b"a", command, b"b"]


def test_parser_ctrl_a_twice_sends_one() -> None:
    assert joined(EscapeParser().feed(b"a\x01\x01b")) == [b"a\x01b"]


def test_parser_unknown_key_is_swallowed() -> None:
    assert joined(EscapeParser().feed(b"a\x01qb")) == [b"ab"]


def test_parser_key_in_next_piece_is_command() -> None:
    parser = EscapeParser()

    assert parser.feed(b"a\x01") == [b"a"]
    assert parser.feed(b"x") == [MuxCommand.QUIT]


def test_parser_nothing_between_keeps_escape() -> None:
    parser = EscapeParser()

    parser.feed(b"\x01")
    parser.feed(b"")

    assert parser.feed(b"x") == [MuxCommand.QUIT]


@given(STREAM, st.lists(st.integers(0, 100)))
def test_parser_any_split_gives_same_result(stream: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    parser = EscapeParser()

    pieces = [action for begin, end in pairwise(bounds) for action in parser.feed(stream[begin:end])]

    assert joined(pieces) == joined(EscapeParser().feed(stream))


@given(STREAM)
def test_parser_any_stream_gives_no_empty_and_no_more_data(stream: bytes) -> None:
    data = [action for action in EscapeParser().feed(stream) if isinstance(action, bytes)]

    assert all(data)
    assert sum(map(len, data)) <= len(stream)


@given(st.binary())
def test_parser_doubled_ctrl_a_gives_original(data: bytes) -> None:
    assert joined(EscapeParser().feed(data.replace(b"\x01", b"\x01\x01"))) == ([data] if data else [])
