# SPDX-License-Identifier: GPL-2.0-or-later
"""-o and its like."""

from __future__ import annotations

import pytest

from asyncemu.cli.tools.option_strings import has_help, split_options


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("a=b", [("a", "b")]),
        ("a=b,c=d,,e=f", [("a", "b"), ("c", "d,e=f")]),
        ("a,nob,c=", [("a", "on"), ("b", "off"), ("c", "")]),
        ("a=1,a=2", [("a", "1"), ("a", "2")]),
    ],
)
def test_pairs_of_a_text(text: str, pairs: list[tuple[str, str]]) -> None:
    assert split_options(text) == pairs


def test_first_may_be_of_an_implied_key() -> None:
    assert split_options("disk,,1,a=b", "file") == [("file", "disk,1"), ("a", "b")]


@pytest.mark.parametrize(
    ("text", "found"),
    [("help", True), ("?", True), ("a=b,help", True), ("a=help", False), ("a,,help", False), ("", False)],
)
def test_help_is_a_part_of_its_own(text: str, found: bool) -> None:
    assert has_help(text) is found
