# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON as QEMU reads it; the words are those of qemu-img info 'json:...', less "Could not parse the JSON options: "."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block.naming.json_reader import MAX_DEPTH, JsonError, read_json


def parse_error(text: str) -> str:
    with pytest.raises(JsonError) as raised:
        read_json(text)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        (" [ ] ", []),
        ('\n{"a":1}\t', {"a": 1}),
        ("{'a': 'it\"s'}", {"a": 'it"s'}),
        ('{"a": "it\'s"}', {"a": "it's"}),
        (r"'x\'y'", "x'y"),
        (r'"\/\b\f\n\r\t\\\""', '/\b\f\n\r\t\\"'),
        (r'"\u002e\u00e4\uD834\uDD1E"', ".ä𝄞"),
        (r'"\u0000"', "\udcc0\udc80"),
        ("[true, false, null]", [True, False, None]),
        ("[0, -0, 12, -7, 1.5, 1e3, 2E-1]", [0, 0, 12, -7, 1.5, 1000.0, 0.2]),
        ("18446744073709551615", (1 << 64) - 1),
        ("-9223372036854775808", -(1 << 63)),
        ("18446744073709551616", 2.0**64),
        ("-9223372036854775809", -(2.0**63)),
        ("1e999", float("inf")),
        ('{"":1}', {"": 1}),
        ("[[[1]]]", [[[1]]]),
    ],
)
def test_read_good_text_gives_the_value(text: str, value: object) -> None:
    assert read_json(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting a JSON value"),
        ("x", "JSON parse error, invalid keyword 'x'"),
        ("nul", "JSON parse error, invalid keyword 'nul'"),
        ('{"a":truex}', "JSON parse error, invalid keyword 'truex'"),
        ("{a:1}", "JSON parse error, invalid keyword 'a'"),
        ("{", "JSON parse error, premature EOI"),
        ("[[[[", "JSON parse error, premature EOI"),
        ('{"a"', "JSON parse error, premature EOI"),
        ('{"a":1,', "JSON parse error, premature EOI"),
        ("[1,2", "JSON parse error, premature EOI"),
        ("}", "JSON parse error, expecting value"),
        (",", "JSON parse error, expecting value"),
        ('{"a":1,}', "JSON parse error, expecting value"),
        ('{"a":[}', "JSON parse error, expecting value"),
        ("[,]", "JSON parse error, expecting value"),
        ('{"a"::1}', "JSON parse error, expecting value"),
        ('{"a"}', "JSON parse error, missing : in object pair"),
        ('{"a" "b"}', "JSON parse error, missing : in object pair"),
        ('{"a" ":"}', "JSON parse error, missing : in object pair"),
        ('{"a":1 "b":2}', "JSON parse error, expected separator in dict"),
        ('{"a":1x}', "JSON parse error, expected separator in dict"),
        ('{"a":1]', "JSON parse error, expected separator in dict"),
        ("[1 2]", "JSON parse error, expected separator in list"),
        ("[1}", "JSON parse error, expected separator in list"),
        ("[1 2", "JSON parse error, expected separator in list"),
        ("{5:1}", "JSON parse error, key is not a string in object"),
        ("{null:1}", "JSON parse error, key is not a string in object"),
        ('{"a":1,"a":2}', "JSON parse error, duplicate key"),
        ("{} x", "Expecting at most one JSON value"),
        ("{} {}", "Expecting at most one JSON value"),
        ("{} @", "Expecting at most one JSON value"),
        ('{"a":1}]', "Expecting at most one JSON value"),
        ("1 2", "Expecting at most one JSON value"),
        ('"x', "JSON parse error, stray '\"x'"),
        ('{"a":"\t"}', "JSON parse error, stray '\"\t'"),
        (r"{'a':'\'}", r"JSON parse error, stray ''\'}'"),
        ('{"a":"b\\', "JSON parse error, stray '\"b\\'"),
        (r'"\u', r"""JSON parse error, stray '"\u'"""),
        ("01", "JSON parse error, stray '01'"),
        ("[1.]", "JSON parse error, stray '1.]'"),
        ("[1.5e]", "JSON parse error, stray '1.5e]'"),
        ("[1e+]", "JSON parse error, stray '1e+]'"),
        ("-", "JSON parse error, stray '-'"),
        ("--1", "JSON parse error, stray '--'"),
        ("[+1]", "JSON parse error, stray '+'"),
        (".5", "JSON parse error, stray '.'"),
        ("NaN", "JSON parse error, stray 'N'"),
        ("%d", "JSON parse error, stray '%'"),
        ("#", "JSON parse error, stray '#'"),
        ('{"a" "b" @', "JSON parse error, stray '@'"),
        (r'"\x"', "JSON parse error, invalid escape sequence in string"),
        (r'{"a":"\u12"}', r'JSON parse error, \u12" is not a valid Unicode character'),
        (r'{"a":"\u12g4"}', r"JSON parse error, \u12g is not a valid Unicode character"),
        (r'{"a":"\ud800x"}', r"JSON parse error, \ud800 is not a valid Unicode character"),
        (r'{"a":"\ud834\u0041"}', r"JSON parse error, \ud834 is not a valid Unicode character"),
        (r'{"a":"\ud834\udd1"}', r"JSON parse error, \ud834 is not a valid Unicode character"),
        (r'{"a":"\udc00"}', r"JSON parse error, \udc00 is not a valid Unicode character"),
        (r'{"a":"\ufdd0"}', r"JSON parse error, \ufdd0 is not a valid Unicode character"),
        (r'{"a":"\uFFFE"}', r"JSON parse error, \uFFFE is not a valid Unicode character"),
        ("[" * (MAX_DEPTH + 1), "JSON nesting depth limit exceeded"),
    ],
)
def test_read_bad_text_is_explained_in_qemu_s_words(text: str, problem: str) -> None:
    assert parse_error(text) == problem


def test_read_byte_that_is_no_utf_8_is_refused() -> None:
    assert parse_error(os.fsdecode(b'"\xff"')) == "JSON parse error, invalid UTF-8 sequence in string"


def test_read_deepest_text_is_read() -> None:
    assert read_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 63), (1 << 64) - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8", exclude_characters="\0\ufffe\uffff", exclude_categories=["Cn", "Cs"])),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text("abc.-", max_size=4), inner)),
)


@given(json_values, st.booleans())
def test_read_what_python_wrote_gives_it_back(value: object, ascii_only: bool) -> None:
    assert read_json(json.dumps(value, ensure_ascii=ascii_only).replace("\x7f", "\\u007f")) == value


@given(st.one_of(st.text(), st.text("{}[]:,\"'\\ue0.1-+truefalsn @", max_size=40)))
def test_read_any_text_is_a_value_or_one_error(text: str) -> None:
    try:
        read_json(text)
    except JsonError as error:
        assert str(error)
