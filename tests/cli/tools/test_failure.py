# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors in QEMU's words, and what is printed of them."""

from __future__ import annotations

import errno

import pytest

from asyncemu.cli.tools.failure import ToolError, errno_of, fail, hint_of, in_qemus_words
from asyncemu.cli.tools.report import name_program
from asyncemu.errors import BlockError, ConfigError, ProtocolError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ToolError("one", "two"), "one\ntwo"),
        (ConfigError("file.filename", "Could not open 'x'", "create it"), "Could not open 'x'"),
        (BlockError("#block001", errno.EIO, "read of 512 bytes at 0"), "Input/output error"),
        (OSError(errno.ENOSPC, "full"), "No space left on device"),
        (ProtocolError("nbd", 0, "bad magic"), "bad magic"),
        (ExceptionGroup("several", [BlockError("a", errno.EPERM)]), "Operation not permitted"),
    ],
)
def test_words_leave_out_place_and_remedy(error: Exception, words: str) -> None:
    assert in_qemus_words(error) == words


def test_error_of_the_host_behind_a_configs_is_told_as_itself() -> None:
    inner = BlockError("#block001", errno.EIO, "read of 512 bytes at 0")
    error = ConfigError("image", str(inner))
    error.__cause__ = inner
    assert in_qemus_words(error) == "Input/output error"


@pytest.mark.parametrize(
    ("remedy", "hint"),
    [
        ("Is another process using the image [x]?", "Is another process using the image [x]?"),
        ("create it", ""),
        ("", ""),
    ],
)
def test_hint_is_qemus_sentence_only(remedy: str, hint: str) -> None:
    assert hint_of(ConfigError("x", "problem", remedy)) == hint


def test_errno_is_found_behind_other_errors() -> None:
    error = ConfigError("x", "y")
    error.__cause__ = OSError(errno.ENOSPC, "full")
    assert (errno_of(error), errno_of(ValueError())) == (errno.ENOSPC, errno.EIO)


def test_failure_is_a_line_for_each_message_and_the_hint(capsys: pytest.CaptureFixture[str]) -> None:
    name_program("/usr/bin/qemu-img", "asyncemu-img")
    assert fail(ToolError("one", "two", status=3, hint="Try it")) == 3
    assert capsys.readouterr() == ("", "qemu-img: one\nqemu-img: two\nTry it\n")


def test_status_without_messages_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(ToolError(status=0)) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("/usr/bin/qemu-img", "qemu-img"),
        ("asyncemu-img", "asyncemu-img"),
        ("/venv/asyncemu/__main__.py", "asyncemu-img"),
        ("-c", "asyncemu-img"),
        ("", "asyncemu-img"),
    ],
)
def test_program_is_named_by_how_it_was_called(argument: str, name: str) -> None:
    assert name_program(argument, "asyncemu-img") == name
