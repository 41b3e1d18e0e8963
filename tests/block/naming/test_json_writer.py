# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON as QEMU writes it: the order of its hash table, and its escapes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block.naming.json_reader import read_json
from asyncemu.block.naming.json_writer import json_text
from tests.block.naming.test_json_reader import json_values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # As qemu-img info showed them.
        (
            {"driver": "raw", "size": "512", "offset": "512", "file": {"driver": "file", "filename": "a.raw"}},
            '{"offset": "512", "driver": "raw", "size": "512", "file": {"driver": "file", "filename": "a.raw"}}',
        ),
        (
            {
                "driver": "nbd",
                "server.type": "inet",
                "server.port": "1",
                "server.host": "127.0.0.1",
                "server.to": "2",
                "export": "foo",
            },
            '{"server.to": "2", "server.host": "127.0.0.1", "server.port": "1", "driver": "nbd", "export": "foo", '
            '"server.type": "inet"}',
        ),
        ({"read-zeroes": "y", "driver": "null-co"}, '{"read-zeroes": "y", "driver": "null-co"}'),
        ("t\tb\x7f", r'"t\tb\u007F"'),
        ("𝄞ä", r'"\uD834\uDD1E\u00E4"'),
        ('"\\\b\f\n\r\x01', r'"\"\\\b\f\n\r\u0001"'),
        ("\udcff", r'"\uFFFD"'),
        ([True, False, None, -5, 1000.0, 0.1], "[true, false, null, -5, 1000, 0.10000000000000001]"),
        ([], "[]"),
        ({}, "{}"),
    ],
)
def test_write_is_qemu_s_to_the_byte(value: object, text: str) -> None:
    assert json_text(value) == text


@given(json_values)
def test_write_gives_ascii_that_python_and_we_read_back(value: object) -> None:
    text = json_text(value)

    assert text.isascii()
    assert json.loads(text) == read_json(text) == value


@given(st.dictionaries(st.text(max_size=5), st.integers()))
def test_write_keeps_all_members(table: dict[str, int]) -> None:
    assert json_text(table).count(": ") >= len(table)
