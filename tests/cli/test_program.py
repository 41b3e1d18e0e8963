# SPDX-License-Identifier: GPL-2.0-or-later
"""Choosing the command, its arguments, and how errors are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from asyncemu import __version__
from asyncemu.cli.program import COMMANDS, complain
from asyncemu.errors import BlockError, ConfigError, ConfigErrors
from tests.cli.conftest import Result

COMMAND_LINES = {
    "nothing": ([], "command line: the name of a vm.toml, or a command, is missing; see asyncemu --help"),
    "no vm.toml": (["run"], "command line: the following arguments are required: vm.toml; see asyncemu run --help"),
    "command misspelt": (
        ["chekc", "vm.toml"],
        "command line: 'chekc' is neither a command nor a file; did you mean 'check'?",
    ),
    "option misspelt": (["vm.toml", "--sett=x=1"], "command line: unknown option '--sett=x=1'; did you mean '--set'?"),
    "option unknown": (["-q"], "command line: the following arguments are required: vm.toml; see asyncemu run --help"),
    "option abbreviated": (["vm.toml", "--se=x=1"], "command line: unknown option '--se=x=1'; did you mean '--set'?"),
    "option without value": (
        ["vm.toml", "--set"],
        "command line: argument --set: expected one argument; see asyncemu run --help",
    ),
    "too many arguments": (
        ["vm.toml", "b.toml"],
        "command line: unexpected argument 'b.toml'; see asyncemu run --help",
    ),
    "device unknown": (
        ["devices", "virtio-blok"],
        "command line: nothing is called 'virtio-blok'; did you mean 'virtio-blk'?",
    ),
    "vm.toml missing": (["nope.toml"], "nope.toml: no such file or directory; give the path of a vm.toml"),
    "vm.toml a directory": (["./"], ".: is a directory; give the path of a vm.toml"),
    "vm.toml no UTF-8": (["latin1.toml"], "latin1.toml: byte 5 is not UTF-8; give a vm.toml"),
    "vm.toml without end": (["/dev/zero"], "/dev/zero: has more than 1 MiB; give a vm.toml"),
    "vm.toml with NUL": (["a\0.toml"], r"a\x00.toml: embedded null byte; give a vm.toml"),
    "set without value": (
        ["empty.toml", "--set", "machine.memory"],
        "--set: 'machine.memory' is not KEY=VALUE; write it as in machine.memory=512MiB",
    ),
    "set without key": (
        ["empty.toml", "--set", "=1"],
        "--set: '=1' is not KEY=VALUE; write it as in machine.memory=512MiB",
    ),
    "set with empty part": (
        ["empty.toml", "--set", "machine..memory=1"],
        "--set: 'machine..memory=1' is not KEY=VALUE; write it as in machine.memory=512MiB",
    ),
    "set below a value": (
        ["empty.toml", "--set", "machine.memory=1", "--set", "machine.memory.size=1"],
        "--set: 'machine.memory.size': machine.memory is a value, not a table",
    ),
    "set of no entry": (
        ["empty.toml", "--set", "device.disk.serial=1"],
        "--set: 'device.disk.serial': no device is 'disk'",
    ),
    "set of a misspelt entry": (
        ["disk.toml", "--set", "blockdev.dsk0.read-only=true"],
        "--set: 'blockdev.dsk0.read-only': no blockdev is 'dsk0'; did you mean 'disk0'?",
    ),
    "set of a whole entry": (
        ["disk.toml", "--set", "blockdev.disk0=1"],
        "--set: 'blockdev.disk0' names no key of an entry; write it as in blockdev.0.disk0=1",
    ),
    "set of an unknown key": (
        ["empty.toml", "--set", "machine.memroy=1"],
        "machine.memroy: unknown key; did you mean 'memory'?",
    ),
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> None:
    (tmp_path / "latin1.toml").write_bytes(b'x = "\xe4"')
    (tmp_path / "empty.toml").touch()
    (tmp_path / "disk.toml").write_text('[[blockdev]]\nnode-name = "disk0"\ndriver = "null-co"')


@pytest.mark.parametrize("case", COMMAND_LINES)
@pytest.mark.usefixtures("files")
def test_bad_command_line_is_one_line(case: str, asyncemu: Callable[..., Result]) -> None:
    arguments, line = COMMAND_LINES[case]

    result = asyncemu(*arguments)

    assert result == Result(2, "", f"asyncemu: {line}\n")


#: Their command lines are those of QEMU's tools.
TOOLS = {"img", "io", "nbd"}


def test_version_is_printed(asyncemu: Callable[..., Result]) -> None:
    assert asyncemu("--version") == Result(0, f"asyncemu {__version__}\n", "")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_command(option: str, asyncemu: Callable[..., Result]) -> None:
    result = asyncemu(option)

    assert result.status == 0
    assert all(f"  {name} " in result.output and help in result.output for name, help in COMMANDS.items())


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - TOOLS))
def test_help_of_a_command_tells_what_it_does(command: str, asyncemu: Callable[..., Result]) -> None:
    result = asyncemu(command, "--help")

    assert result.status == 0
    assert result.output.startswith(f"usage: asyncemu {command} ")


@pytest.mark.parametrize("command", sorted(TOOLS))
def test_help_of_a_tool_is_shaped_as_qemus(command: str, asyncemu: Callable[..., Result]) -> None:
    result = asyncemu(command, "--help")

    assert result.status == 0
    assert "usage: " in result.output.lower()


def test_complain_several_errors_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    complain([ConfigError("a", "is wrong"), BlockError("disk0", 5, "flush")])

    assert capsys.readouterr().err == "asyncemu: a: is wrong\nasyncemu: disk0: flush: Input/output error\n"


def test_complain_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    complain([ConfigError("a\nb", "\x1b[2J\udcff")])

    assert capsys.readouterr().err == "asyncemu: a\\nb: \\x1b[2J\\udcff\n"


def test_config_errors_keeps_each() -> None:
    both = ConfigErrors([ConfigError("a", "is wrong"), ConfigError("b", "too", "do it right")])

    assert str(both) == "a: is wrong\nb: too; do it right"
