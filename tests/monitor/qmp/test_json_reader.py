# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes to JSON values, in whatever pieces they come. That the words are QEMU's is test_against_qemu.py's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.monitor.qmp.json_reader import MAX_NESTING, MAX_VALUE, JsonItem, JsonReader
from asyncemu.monitor.qmp.json_tokens import MAX_WORD

#: Text that looks like QMP's, with mistakes.
PIECES = (
    *(b"{ } [ ] : , \" ' \\ \\u d800 1 - 0 . e+5 true nul % A".split(b" ")),
    *(b" ", b"\n", b"\t", b"\xff", b"\x00", b"\xc3\xa9", b"\xc0\x80", b'"a"', b'{"a":1}'),
)
SCRAPS = st.lists(st.sampled_from(PIECES), max_size=24).map(b"".join)
#: QMP takes no characters that Unicode keeps for nobody.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=8)
NUMBERS = st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def read_all(*pieces: bytes) -> list[JsonItem]:
    reader = JsonReader()
    items: list[JsonItem] = []
    for piece in pieces:
        reader.feed(piece)
        while (item := reader.read()) is not None:
            items.append(item)
    return items


@given(SCRAPS | st.binary(max_size=40), st.integers(1, 5))
def test_read_in_pieces_gives_what_one_piece_gives(data: bytes, size: int) -> None:
    data += b"\n"

    pieces = [data[at : at + size] for at in range(0, len(data), size)]

    assert read_all(*pieces) == read_all(data)


@given(st.lists(JSON, max_size=3), st.booleans())
def test_read_values_that_another_program_wrote(values: list[Any], ascii_only: bool) -> None:
    data = "\n".join(json.dumps(value, ensure_ascii=ascii_only) for value in values) + "\n"

    items = read_all(data.encode())

    assert items == [JsonItem(value) for value in values]


@given(SCRAPS | st.binary(max_size=40))
def test_read_after_the_reset_byte_begins_anew(rubbish: bytes) -> None:
    items = read_all(rubbish + b'\xff{"a": 1}')

    assert items[-1] == JsonItem({"a": 1})


def test_read_value_of_a_mebibyte_in_small_pieces() -> None:
    text = b'{"a": "' + b"x" * (1 << 20) + b'"}'

    items = read_all(*(text[at : at + 4096] for at in range(0, len(text), 4096)))

    assert [len(item.value["a"]) for item in items] == [1 << 20]


@pytest.mark.parametrize("endless", [b'"' + b"x" * 8, b"[" + b"1," * 4, b'{"a":"' + b"\\u0031"], ids=repr)
def test_read_value_that_does_not_end_is_dropped_at_the_limit(endless: bytes) -> None:
    body = endless[-6:] * (MAX_VALUE // 6 + 2)
    reader = JsonReader()
    reader.feed(endless)
    errors: list[str] = []
    most = 0

    for at in range(0, len(body), 4096):
        reader.feed(body[at : at + 4096])
        most = max(most, reader.unread)
        while (item := reader.read()) is not None and not errors:
            errors.append(item.error)

    assert errors == ["JSON token size limit exceeded"]
    assert most <= MAX_VALUE + 2 * 4096


def test_read_word_that_does_not_end_is_dropped_at_its_limit() -> None:
    items = read_all(b"1" * MAX_WORD, b"1")

    assert items == [JsonItem(None, "JSON token size limit exceeded")]


def test_read_nested_as_deep_as_allowed() -> None:
    item = read_all(b"[" * MAX_NESTING + b"]" * MAX_NESTING)

    depth, value = 0, item[0].value
    while value:
        depth, value = depth + 1, value[0]
    assert (len(item), depth) == (1, MAX_NESTING - 1)


def test_read_nested_deeper_is_an_error() -> None:
    items = read_all(b'{"a":' * MAX_NESTING + b"{")

    assert items == [JsonItem(None, "JSON nesting depth limit exceeded")]


def test_read_number_that_is_no_double_is_an_error() -> None:
    items = read_all(b"[1e400] [-1e400]")

    assert [item.error for item in items] == ["JSON parse error, number is out of range"] * 2


def test_read_stray_token_is_shown_cut_short() -> None:
    items = read_all(b'"' + b"x" * 1000 + b"\n")

    assert items[0].error == f"JSON parse error, stray '\"{'x' * 255}'"


def test_reset_forgets_what_was_begun() -> None:
    reader = JsonReader()
    reader.feed(b'[1, "abc')
    reader.read()

    reader.reset()
    reader.feed(b"2 ")

    assert reader.read() == JsonItem(2)
