# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON over several lines. That the order is QEMU's, tests/cli/img shows against qemu-img."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from asyncemu.cli.tools.qemu_json import pretty

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc-", max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(value=_VALUES)
def test_any_value_is_read_back(value: object) -> None:
    assert json.loads(pretty(value)) == value


def test_nothing_but_ascii_is_written() -> None:
    assert pretty({"é": "\udcff\U0001f600"}) == '{\n    "\\u00E9": "\\uFFFD\\uD83D\\uDE00"\n}'


def test_empty_ones_take_two_lines() -> None:
    assert pretty([{}, []]) == "[\n    {\n    },\n    [\n    ]\n]"
