# SPDX-License-Identifier: GPL-2.0-or-later
"""From a table to a class with checked options; every mistake named with its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from asyncemu.errors import ConfigError, ConfigErrors
from asyncemu.host_path import HostPath
from asyncemu.options import Options
from asyncemu.plugin_options import configure, validate
from asyncemu.plugins import OptionsT, Plugin, load_all


class Inner(Options):
    """A nested table."""

    cache_size: int = 0
    flags: tuple[bool, ...] = ()


class Outer(Options):
    """Every sort of key."""

    count: int = Field(default=0, ge=0, le=10)
    read_only: bool = False
    name: str = Field(default="", max_length=5)
    file: HostPath | None = None
    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()
    either: int | str = 0
    needed: str


class Shelf(Plugin[OptionsT]):
    kind = "blockdev"


class Wide(Shelf[Outer], name="test-wide"): ...


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    load_all()  # what is shipped registers once, and is not to be forgotten
    monkeypatch.setattr(Plugin, "registry", {"blockdev": {"test-wide": Wide}})
    yield


def mistakes(table: dict[str, Any], model: type[Options] = Outer, where: str = "blockdev[0]") -> list[str]:
    """What is said about a wrong table."""
    with pytest.raises(ConfigErrors) as raised:
        validate(model, table, where)
    return [str(error) for error in raised.value.errors]


# ---- validate


def test_validate_good_table_gives_the_model() -> None:
    options = validate(Outer, {"needed": "x", "count": 3, "read-only": True, "inner": {"cache-size": 2}}, "here")

    assert (options.needed, options.count, options.read_only, options.inner.cache_size) == ("x", 3, True, 2)


def test_validate_all_that_is_wrong_comes_at_once() -> None:
    places = [
        message.partition(": ")[0]
        for message in mistakes({"count": "many", "read-onyl": True, "inner": {"cache-size": []}, "several": 3})
    ]

    assert sorted(places) == [
        "blockdev[0].count",
        "blockdev[0].inner.cache-size",
        "blockdev[0].needed",
        "blockdev[0].read-onyl",
        "blockdev[0].several",
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"read-onyl": True}, "blockdev[0].read-onyl: unknown key; did you mean 'read-only'?"),
        ({"inner": {"cash-size": 1}}, "blockdev[0].inner.cash-size: unknown key; did you mean 'cache-size'?"),
        (
            {"several": [{}, {"flag": []}]},
            "blockdev[0].several[1].flag: unknown key; did you mean 'flags'?",
        ),
        (
            {"inner": {"zzz": 1}},
            "blockdev[0].inner.zzz: unknown key; known: cache-size, flags",
        ),
    ],
)
def test_validate_unknown_key_offers_the_nearest_at_its_place(table: dict[str, Any], message: str) -> None:
    assert mistakes({"needed": "x", **table}) == [message]


def test_validate_missing_key_is_named() -> None:
    assert mistakes({}) == ["blockdev[0].needed: is missing"]


@pytest.mark.parametrize(
    ("table", "place"),
    [
        ({"count": "many"}, "blockdev[0].count"),
        ({"count": -1}, "blockdev[0].count"),
        ({"count": 11}, "blockdev[0].count"),
        ({"name": "longer"}, "blockdev[0].name"),
        ({"name": 7}, "blockdev[0].name"),
        ({"inner": {"flags": [True, "perhaps"]}}, "blockdev[0].inner.flags[1]"),
        ({"several": [{}, {"cache-size": "x"}]}, "blockdev[0].several[1].cache-size"),
        ({"several": [{}, 5]}, "blockdev[0].several[1]"),
        ({"inner": "text"}, "blockdev[0].inner"),
        ({"either": []}, "blockdev[0].either"),
        ({"file": 5}, "blockdev[0].file"),
    ],
)
def test_validate_wrong_value_is_one_line_at_its_place(table: dict[str, Any], place: str) -> None:
    [message] = mistakes({"needed": "x", **table})

    assert message.startswith(f"{place}: ")
    assert "\n" not in message


def test_validate_validator_s_own_words_are_kept() -> None:
    class Picky(Options):
        file: HostPath

    [message] = mistakes({"file": ""}, Picky)

    assert message == "blockdev[0].file: is empty; give the path of a file"


def test_validate_at_the_top_names_the_bare_key() -> None:
    assert mistakes({"needed": "x", "cuont": 1}, where="") == ["cuont: unknown key; did you mean 'count'?"]


toml_values = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(["count", "inner", "several", "either", "needed", "file"]), st.text(max_size=8)),
        toml_values,
        max_size=5,
    )
)
def test_validate_any_table_is_accepted_or_explained(table: dict[str, Any]) -> None:
    try:
        validate(Outer, table, "here")
    except ConfigErrors as errors:
        messages = [str(error) for error in errors.errors]
        assert messages
        assert all(message.startswith("here.") and "\n" not in message for message in messages)


# ---- paths


def test_host_path_relative_is_relative_to_the_directory(tmp_path: Path) -> None:
    assert validate(Outer, {"needed": "", "file": "a/b"}, "", tmp_path).file == tmp_path / "a/b"


def test_host_path_absolute_stays(tmp_path: Path) -> None:
    assert validate(Outer, {"needed": "", "file": "/dev/null"}, "", tmp_path).file == Path("/dev/null")


def test_host_path_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")

    assert validate(Outer, {"needed": "", "file": "~/disk"}, "", tmp_path).file == Path("/home/somebody/disk")


def test_host_path_without_a_directory_stays_relative() -> None:
    assert validate(Outer, {"needed": "", "file": "disk"}, "").file == Path("disk")


# ---- configure


def test_configure_gives_class_options_and_name() -> None:
    configured = configure("blockdev", {"driver": "test-wide", "node-name": "disk0", "needed": "x"}, "blockdev[0]")

    assert (configured.plugin, configured.identity) == (Wide, "disk0")
    assert configured.options == Outer(needed="x")


def test_configure_leaves_the_table_as_it_was() -> None:
    table = {"driver": "test-wide", "node-name": "disk0", "needed": "x"}
    before = dict(table)

    configure("blockdev", table, "blockdev[0]")

    assert table == before


def test_configure_by_path_needs_no_driver(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("from tests.test_plugin_options import Wide\nclass Own(Wide): ...\n")

    configured = configure("blockdev", {"plugin": "own.py:Own", "needed": "x"}, "blockdev[0]", tmp_path)

    assert (configured.plugin.__name__, configured.options) == ("Own", Outer(needed="x"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"driver": "test-wyde"}, "blockdev[0].driver: .*'test-wyde'.*; did you mean 'test-wide'\\?"),
        ({}, "blockdev[0].driver: is missing; known: .*test-wide"),
        ({"driver": 5}, "blockdev[0].driver: must be text"),
        ({"plugin": 5}, "blockdev[0].plugin: must be text"),
        ({"driver": "test-wide", "node-name": 5}, "blockdev[0].node-name: must be text"),
        ({"driver": "test-wide", "needed": "x", "cuont": 1}, "blockdev[0].cuont: unknown key; did you mean 'count'\\?"),
    ],
)
def test_configure_wrong_table_is_a_config_error(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[0]", r"\[0\]")):
        configure("blockdev", table, "blockdev[0]")
