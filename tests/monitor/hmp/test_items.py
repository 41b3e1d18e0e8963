# SPDX-License-Identifier: GPL-2.0-or-later
"""Values as text; test_against_qemu.py compares them with QEMU's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncemu.monitor.hmp.items import item_text, line_text, value_text


def test_line_characters_are_bytes_whatever_the_size() -> None:
    assert line_text(0x10, b"a'\n\x00", "c", 2) == "0000000000000010: 'a' '\\'' '\\n' '\\x00'\n"


def test_value_as_a_character_shows_its_lower_32_bits() -> None:
    assert value_text(-1, "c") == "'\\xffffffff'"


def test_value_of_zero_has_no_prefix() -> None:
    assert [value_text(0, letter) for letter in "xod"] == ["0", "0", "0"]


@given(st.integers(0, (1 << 64) - 1), st.sampled_from("xud"), st.sampled_from([1, 2, 4, 8]))
def test_items_of_one_format_have_one_width_and_read_back(value: int, letter: str, size: int) -> None:
    value &= (1 << 8 * size) - 1
    text = item_text(value, letter, size)

    assert len(text) == len(item_text(0, letter, size))
    assert (int(text, 16 if letter == "x" else 10) - value) % (1 << 64) == 0
