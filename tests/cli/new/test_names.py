# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of plug-ins that ``asyncemu new`` writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.cli.new.kinds import KINDS
from asyncemu.cli.new.names import MAX_NAME, check_name, class_of, package_of
from asyncemu.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "package", "class_name"), [("clock", "clock", "Clock"), ("my-2nd-clock", "my_2nd_clock", "My2ndClock")]
)
def test_name_gives_package_and_class(name: str, package: str, class_name: str) -> None:
    check_name(KINDS["device"], name)

    assert (package_of(name), class_of(name)) == (package, class_name)


@pytest.mark.parametrize(
    ("kind", "name", "problem"),
    [
        ("device", "Clock", "'Clock' can't be used; small letters, digits and dashes, like my-clock"),
        ("device", "../clock", "'../clock' can't be used"),
        ("device", "-clock", "'-clock' can't be used"),
        ("device", "clock-", "'clock-' can't be used"),
        ("device", "a--b", "'a--b' can't be used"),
        ("device", "2clock", "'2clock' can't be used"),
        ("device", "", "'' can't be used"),
        ("device", "clock\n", r"'clock\\n' can't be used"),
        ("device", "class", "Python needs the name 'class' for itself; choose another one"),
        ("device", "json", "Python needs the name 'json' for itself"),
        ("device", "asyncemu", "Python needs the name 'asyncemu' for itself"),
        ("virtio", "virtio-blk", r"a \[\[device\]\] 'virtio-blk' is there already; choose another one"),
        ("net", "user", r"a \[\[netdev\]\] 'user' is there already"),
        ("device", "a" * (MAX_NAME + 1), f"'a+' is too long; use {MAX_NAME} characters at most"),
    ],
)
def test_name_that_can_t_be_is_refused(kind: str, name: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"^name: {problem}"):
        check_name(KINDS[kind], name)


@given(st.text(max_size=40))
def test_any_text_is_taken_or_refused_in_one_line(text: str) -> None:
    try:
        check_name(KINDS["device"], text)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert package_of(text).isidentifier() and class_of(text).isidentifier()
