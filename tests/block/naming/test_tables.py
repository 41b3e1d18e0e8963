# SPDX-License-Identifier: GPL-2.0-or-later
"""Dotted keys to nested tables and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block.naming.tables import flattened, nested
from asyncemu.errors import ConfigError


@pytest.mark.parametrize(
    ("flat", "table"),
    [
        ({}, {}),
        ({"a": 1}, {"a": 1}),
        ({"file.filename": "x", "file.driver": "file"}, {"file": {"filename": "x", "driver": "file"}}),
        ({"file.server.0.host": "h"}, {"file": {"server": [{"host": "h"}]}}),
        ({"a.1": "y", "a.0": "x"}, {"a": ["x", "y"]}),
        ({"a.1": "y"}, {"a": {"1": "y"}}),
        ({"a.0": "x", "a.b": "y"}, {"a": {"0": "x", "b": "y"}}),
        ({"a.00": "x"}, {"a": {"00": "x"}}),
        ({"a..b": "x"}, {"a": {"": {"b": "x"}}}),
        ({".": "x"}, {"": {"": "x"}}),
        ({"0": "x"}, {"0": "x"}),
    ],
)
def test_nested_dotted_keys_are_tables_and_lists(flat: dict[str, object], table: dict[str, Any]) -> None:
    assert nested(flat.items()) == table


def test_nested_of_two_equal_keys_the_last_counts() -> None:
    assert nested([("a.b", 1), ("a.b", 2)]) == {"a": {"b": 2}}


@pytest.mark.parametrize("keys", [("a", "a.b"), ("a.b", "a"), ("a.b", "a.b.c")])
def test_nested_value_with_members_is_refused(keys: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="Cannot mix scalar and non-scalar keys"):
        nested((key, "x") for key in keys)


def test_flattened_keeps_empty_tables_and_lists() -> None:
    assert flattened({"a": {}, "b": [], "c": {"d": {}}}) == {"a": {}, "b": [], "c.d": {}}


scalars = st.one_of(st.text(max_size=3), st.integers(), st.booleans(), st.none())
keys = st.text("abc-", min_size=1, max_size=4)
trees: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, min_size=1), st.dictionaries(keys, inner, min_size=1))
)


@given(st.dictionaries(keys, trees))
def test_nested_of_flattened_is_what_it_was(table: dict[str, Any]) -> None:
    assert nested(flattened(table).items()) == table


@given(st.dictionaries(st.text("ab.01", max_size=8), scalars))
def test_nested_any_keys_make_a_table_or_a_config_error(flat: dict[str, object]) -> None:
    try:
        table = nested(flat.items())
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert flattened(table).keys() <= flat.keys()


@given(st.text(".a", max_size=2000))
def test_nested_key_of_many_parts_is_no_deep_table(key: str) -> None:
    assert key in str(flattened(nested([(key, "x")])))
