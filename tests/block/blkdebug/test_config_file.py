# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules from files: what QEMU's reader makes of them, observed with qemu-io 7.2."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block.blkdebug.config_file import MAX_FILE_SIZE, parse_config, read_config_file
from asyncemu.block.blkdebug.rules import InjectErrorOptions, Rules, SetStateOptions
from asyncemu.errors import ConfigError

INJECT = "[inject-error]\n"


def test_groups_become_rules_in_their_order() -> None:
    text = """
# comment
[inject-error "first"]
event = "read_aio"
state = "2"
iotype = "read"
errno = "0x1c"
sector = "64"
once = "on"
immediately = "yes"
[set-state]
  event = "write_aio"   trailing
\tstate = "1"
new_state = "2"
[inject-error]
event = "l2_load"
"""
    errors, states = parse_config(text, "config")
    assert errors == [
        InjectErrorOptions(event="read_aio", state=2, iotype="read", errno=28, sector=64, once=True, immediately=True),
        InjectErrorOptions(event="l2_load"),
    ]
    assert states == [SetStateOptions(event="write_aio", state=1, new_state=2)]


def test_empty_file_has_no_rules() -> None:
    assert parse_config("\n# nothing\n\n", "config") == ([], [])


def test_last_of_two_values_counts() -> None:
    assert parse_config(f'{INJECT}event = "none"\nevent = "read_aio"\n', "config")[0][0].event == "read_aio"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f'{INJECT}event = "read_aio"\nfoo\n', "Invalid parameter 'foo'"),
        (f'{INJECT}event = "read_aio"\nbla = "5"\n', "Invalid parameter 'bla'"),
        (f'{INJECT}event="read_aio"\n', "Invalid parameter 'event=\"read_aio\"'"),
        ('[set-state]\nevent = "none"\nnew-state = "3"\n', "Invalid parameter 'new-state'"),
        ('[nosuch]\nevent = "read_aio"\n', "There is no option group 'nosuch'"),
        ('[inject-error ""]\nevent = "none"\n', "There is no option group 'inject-error \"\"'"),
        ('event = "read_aio"\n', "no group defined"),
        ("  [inject-error]\n", "no group defined"),
        ("[]\n", "no group defined"),
        (f"{INJECT}   \n", "parse error"),
        (f'{INJECT}event = "none"\nerrno = "xx"\n', "Parameter 'errno' expects a number"),
        (f'{INJECT}event = "none"\nerrno = "028"\n', "Parameter 'errno' expects a number"),
        (f'{INJECT}event = "none"\nerrno = "28 "\n', "Parameter 'errno' expects a number"),
        (
            f'{INJECT}event = "none"\nstate = "99999999999999999999"\n',
            "Value '99999999999999999999' is too large for parameter 'state'",
        ),
        (f'{INJECT}event = "none"\nonce = "maybe"\n', "Parameter 'once' expects 'on' or 'off'"),
        ('[inject-error "a"]\nevent = "none"\n[inject-error "a"]\n', "Duplicate ID 'a' for inject-error"),
        ('[inject-error "9"]\nevent = "none"\n', "Parameter 'id' expects an identifier"),
    ],
)
def test_wrong_text_says_what_qemu_says(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "config")
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f'{INJECT}event = "zork"\n', "invalid parameter value: zork"),
        (f"{INJECT}event = none\n", "invalid parameter value: "),
        (f'{INJECT}errno = "5"\n', "Missing event name for rule"),
        ("[inject-error", "Missing event name for rule"),
        (f'{INJECT}event = "none"\niotype = "xx"\n', "invalid parameter value: xx"),
        (f'{INJECT}event = "none"\nerrno = "99999999999"\n', "99999999999 is no errno"),
    ],
)
def test_wrong_rules_say_what_qemu_says(text: str, problem: str) -> None:
    errors, _ = parse_config(text, "config")
    with pytest.raises(ConfigError) as caught:
        Rules().add_inject_error(errors[0], "config")
    assert caught.value.problem == problem


def test_number_with_a_sign_and_white_space_is_one() -> None:
    errors, _ = parse_config(f'{INJECT}errno = " 28"\nstate = "-1"\n', "config")
    assert (errors[0].errno, errors[0].state) == (28, -1)


def test_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Could not read blkdebug config file: No such file or directory"):
        read_config_file(str(tmp_path / "missing"), "config")


def test_file_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"#" * (MAX_FILE_SIZE + 1))
    with pytest.raises(ConfigError, match="has more than"):
        read_config_file(str(tmp_path / "large"), "config")


def test_file_that_is_no_text_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError):
        read_config_file(str(tmp_path / "binary"), "config")


lines = st.one_of(
    st.text(max_size=40),
    st.sampled_from([INJECT, "[set-state]\n", 'event = "none"\n', 'errno = "5"\n', '[inject-error "a"]\n']),
)


@given(st.lists(lines, max_size=12).map("".join))
def test_any_text_is_rules_or_one_error(text: str) -> None:
    try:
        errors, states = parse_config(text, "config")
        rules = Rules()
        for error in errors:
            rules.add_inject_error(error, "config")
        for state in states:
            rules.add_set_state(state, "config")
    except ConfigError as error:
        assert error.problem
