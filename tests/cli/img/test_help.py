# SPDX-License-Identifier: GPL-2.0-or-later
"""--help: the syntax is qemu-img's, which scripts look into; and every command says it."""

from __future__ import annotations

import pytest

from asyncemu.cli.img.program import COMMANDS
from tests.cli.img.conftest import Tools


def _syntax(text: str) -> str:
    start = text.index("Command syntax:\n")
    return text[start : text.index("\n\n", start)]


def test_syntax_equals_qemu_imgs(tools: Tools) -> None:
    ours, theirs = tools.both("--help")
    assert _syntax(ours.output) == _syntax(theirs.output)
    assert (ours.status, ours.errors) == (0, "")


def test_formats_are_listed(tools: Tools) -> None:
    lines = tools.ours("-h").output.splitlines()
    formats = next(line for line in lines if line.startswith("Supported formats: "))
    assert {"qcow2", "raw", "file", "nbd"} <= set(formats.split())


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_helps(tools: Tools, command: str, option: str) -> None:
    assert tools.ours(command, option) == tools.ours("--help")


def test_measure_helps_after_a_bad_option_as_qemu_img(tools: Tools) -> None:
    ours, theirs = tools.both("measure", "--foo")
    assert (ours.status, ours.errors) == (theirs.status, theirs.errors)
    assert ours.output == tools.ours("--help").output


def test_version_begins_as_qemu_imgs(tools: Tools) -> None:
    ours, theirs = tools.both("--version")
    assert ours.output.split()[:3] == ["qemu-img", "version", "7.2.0"]
    assert theirs.output.startswith("qemu-img version 7.2.")
