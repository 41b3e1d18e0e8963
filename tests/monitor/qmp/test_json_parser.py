# SPDX-License-Identifier: GPL-2.0-or-later
"""One JSON text. That the words are QEMU's is test_against_qemu.py's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.monitor.qmp.json_parser import MAX_TOKENS, JsonSyntaxError, parse
from tests.monitor.qmp.test_json_reader import JSON, TEXT


@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_parse_single_quotes_as_double_ones(value: dict[str, Any]) -> None:
    text = json.dumps(value)
    # An empty string with the other quotes: Python's parser does not get this one.
    mixed = f"['', {text}]"

    parsed = parse(mixed.encode())

    assert parsed == ["", value]


@given(st.text())
def test_parse_text_with_any_escape_as_json_does_or_refuses_it(text: str) -> None:
    escaped = "".join(f"\\u{unit:04x}" for unit in _utf16(text))

    try:
        parsed = parse(f'"{escaped}"'.encode())
    except JsonSyntaxError as error:
        assert "is not a valid Unicode character" in str(error)
    else:
        assert parsed == text


def _utf16(text: str) -> list[int]:
    data = text.encode("utf-16-le", "surrogatepass")
    return [int.from_bytes(data[at : at + 2], "little") for at in range(0, len(data), 2)]


def test_parse_too_many_tokens_for_the_slow_parser_is_an_error() -> None:
    with pytest.raises(JsonSyntaxError, match="too many tokens"):
        parse(b"[''" + b",''" * (MAX_TOKENS // 2) + b"]")
