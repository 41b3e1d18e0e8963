# SPDX-License-Identifier: GPL-2.0-or-later
"""--set KEY=VALUE."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.config.overrides import apply_override, parse_value
from asyncemu.errors import ConfigError

VM = """
[machine]
memory = "128MiB"
[[blockdev]]
node-name = "disk0"
driver = "file"
[[device]]
driver = "virtio-rng"
[[device]]
id = "disk"
driver = "virtio-blk"
"""


@pytest.fixture
def tables() -> dict[str, Any]:
    return tomllib.loads(VM)


def test_override_key_of_a_table_is_replaced(tables: dict[str, Any]) -> None:
    apply_override(tables, "machine.memory=512MiB")

    assert tables["machine"] == {"memory": "512MiB"}


def test_override_table_that_is_not_there_is_made(tables: dict[str, Any]) -> None:
    del tables["machine"]

    apply_override(tables, "machine.append=console=hvc0 quiet")

    assert tables["machine"] == {"append": "console=hvc0 quiet"}


def test_override_entry_by_node_name(tables: dict[str, Any]) -> None:
    apply_override(tables, "blockdev.disk0.read-only=true")

    assert tables["blockdev"][0]["read-only"] is True


def test_override_entry_by_id(tables: dict[str, Any]) -> None:
    apply_override(tables, "device.disk.serial=abc")

    assert tables["device"][1]["serial"] == "abc"


def test_override_entry_by_number(tables: dict[str, Any]) -> None:
    apply_override(tables, "device.0.id=rng")

    assert tables["device"][0] == {"id": "rng", "driver": "virtio-rng"}


def test_override_table_within_an_entry_is_made(tables: dict[str, Any]) -> None:
    apply_override(tables, "blockdev.disk0.cache.direct=true")

    assert tables["blockdev"][0]["cache"] == {"direct": True}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("true", True),
        ('"1"', "1"),
        ("[1, 2]", [1, 2]),
        ("{ a = 1 }", {"a": 1}),
        ("256MiB", "256MiB"),
        ("", ""),
        ("a = b", "a = b"),
        ("1\nb = 2", "1\nb = 2"),
        ("[" * 5000, "[" * 5000),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_override_value_is_toml_or_itself(text: str, value: object) -> None:
    assert parse_value(text) == value


@given(st.text())
def test_override_any_text_changes_or_is_a_config_error(text: str) -> None:
    tables = tomllib.loads(VM)

    try:
        apply_override(tables, text)
    except ConfigError:
        pass


@given(
    st.lists(
        st.sampled_from(["machine", "device", "blockdev", "0", "1", "disk", "disk0", "driver", "x", ""]), max_size=5
    ),
    st.sampled_from(["1", "a", "[]", "{}", "true"]),
)
def test_override_any_path_changes_or_is_a_config_error(parts: list[str], value: str) -> None:
    tables = tomllib.loads(VM)

    try:
        apply_override(tables, f"{'.'.join(parts)}={value}")
    except ConfigError:
        assert tables.keys() >= {"machine", "device", "blockdev"}


@given(
    st.integers() | st.booleans() | st.text(alphabet=st.characters(exclude_categories=["C"], exclude_characters="'"))
)
def test_override_toml_value_is_read_as_such(value: object) -> None:
    text = f"'{value}'" if isinstance(value, str) else str(value).lower()

    assert parse_value(text) == value
