# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.size import LARGEST, parse_size, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("512B", 512),
        ("1K", 1 << 10),
        ("256M", 256 << 20),
        ("256MiB", 256 << 20),
        ("256 MiB", 256 << 20),
        ("256mib", 256 << 20),
        ("1G", 1 << 30),
        ("1.5G", 3 << 29),
        ("2T", 2 << 40),
        ("1P", 1 << 50),
        ("1EiB", 1 << 60),
    ],
)
def test_size_spelling_is_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "value",
    ["", " ", "M", "1X", "1MM", "-1", "+1", "1e3", "0x10", "1,5G", "1.M", ".5M", "1\n",
     "٣M", "9" * 31, "0.1K", 1.0, True, None, []],
)  # fmt: skip
def test_size_other_spelling_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        parse_size(value)


def test_size_number_is_bytes() -> None:
    assert parse_size(1000) == 1000


@given(st.integers(0, LARGEST))
def test_size_text_reads_back(size: int) -> None:
    assert parse_size(size_text(size)) == size


@given(st.text())
def test_size_any_text_is_a_number_or_a_value_error(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except ValueError:
        pass
