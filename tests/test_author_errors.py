# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions of users' code: whose they are, where they come from, how they are told.

This file is a user's: it is neither in asyncemu nor in Python's library.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncemu import author_errors
from asyncemu.author_errors import MAX_PLACES, MAX_TEXT, Place, WrongResult, describe, place_of, report
from asyncemu.errors import ConfigError
from asyncemu.size import parse_size

THIS = str(Path(__file__).resolve())


@pytest.fixture(autouse=True)
def no_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed in other tests is not counted."""
    monkeypatch.setattr(author_errors, "_times", author_errors._Times())


def caught(function: Callable[[], object]) -> Exception:
    """What ``function`` raises, without the frames of this file's helpers above it."""
    try:
        function()
    except Exception as error:
        error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
        return error
    raise AssertionError("it raises nothing")


def fails() -> None:
    1 / 0  # noqa: B018


def fails_in_the_library() -> None:
    json.loads("{")


def fails_in_asyncemu() -> None:
    parse_size("eleven")


class Mute(Exception):
    """Its text can't be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def line_of(function: Callable[..., object]) -> int:
    """The line behind the function's head."""
    return function.__code__.co_firstlineno + 1


@pytest.mark.parametrize("function", [fails, fails_in_the_library, fails_in_asyncemu])
def test_place_is_the_users_line_whoever_raised(function: Callable[[], object]) -> None:
    assert place_of(caught(function)) == Place(THIS, line_of(function), function.__name__)


def test_place_of_a_group_is_that_of_its_first_error() -> None:
    group = ExceptionGroup("several", [ExceptionGroup("inner", [caught(fails)])])

    assert place_of(group) == Place(THIS, line_of(fails), "fails")


def test_place_of_what_asyncemu_raises_by_itself_is_none() -> None:
    error = caught(lambda: parse_size("eleven"))
    error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None

    assert place_of(error) is None


def test_place_of_a_syntax_error_is_its_own(tmp_path: Path) -> None:
    error = caught(lambda: compile("x = (\n", str(tmp_path / "mine.py"), "exec"))

    assert place_of(error) == Place(str(tmp_path / "mine.py"), 1)


def test_wrong_result_names_the_method() -> None:
    error = WrongResult(fails, "text", "a number")

    assert place_of(error) == Place(THIS, fails.__code__.co_firstlineno, "fails")
    assert str(error) == "fails has returned str, not a number"


def test_wrong_result_of_what_has_no_code_has_no_place() -> None:
    assert place_of(WrongResult(len, "text", "a number")) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("one\ntwo"), "ValueError: one, at f.py:3 in g"),
        (ValueError(), "ValueError, at f.py:3 in g"),
        (Mute(), "Mute, at f.py:3 in g"),
        (ValueError("x" * 1000), f"ValueError: {'x' * MAX_TEXT}, at f.py:3 in g"),
        (ExceptionGroup("several", [KeyError("a")]), "KeyError: 'a', at f.py:3 in g"),
    ],
    ids=["lines", "empty", "mute", "long", "group"],
)
def test_describe_is_one_line(error: Exception, expected: str) -> None:
    assert describe(error, Place("f.py", 3, "g")) == expected


def test_report_is_one_line_with_the_traceback_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "asyncemu.author"):
        assert report("clock0: on_write of alarm", caught(fails))

    line, traceback = caplog.records
    expected = f"clock0: on_write of alarm: ZeroDivisionError: division by zero, at {THIS}:{line_of(fails)} in fails"
    assert (line.levelname, line.getMessage(), line.exc_info) == ("ERROR", expected, None)
    assert (traceback.levelname, bool(traceback.exc_info)) == ("DEBUG", True)


def test_report_again_and_again_is_logged_at_powers_of_ten(caplog: pytest.LogCaptureFixture) -> None:
    error = caught(fails)

    for _ in range(120):
        report("clock0", error)

    texts = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [text.partition(" in fails")[2] for text in texts] == ["", " (10 times by now)", " (100 times by now)"]


def test_report_of_many_devices_keeps_a_bounded_count(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "asyncemu.author")
    error = caught(fails)

    for number in range(MAX_PLACES + 10):
        report(f"clock{number}", error)

    assert len(author_errors._times._times) == 10


def test_report_or_raise_raises_what_is_no_users() -> None:
    error = RuntimeError("ours")

    with pytest.raises(RuntimeError) as raised:
        author_errors.report_or_raise("clock0", error)

    assert raised.value is error


def test_raise_as_config_error_has_the_line() -> None:
    expected = rf"device\[0\]: ZeroDivisionError: division by zero, at {THIS}:{line_of(fails)} in fails"
    with pytest.raises(ConfigError, match=expected):
        author_errors.raise_as_config_error("device[0]", caught(fails))


def test_raise_as_config_error_a_value_error_of_ours_keeps_its_text() -> None:
    with pytest.raises(ConfigError, match=r"^device\[0\]: too big$"):
        author_errors.raise_as_config_error("device[0]", ValueError("too big"))


def test_raise_as_config_error_returns_for_a_bug_of_ours() -> None:
    author_errors.raise_as_config_error("device[0]", RuntimeError("ours"))


async def test_installed_callback_that_fails_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    author_errors.install(loop)

    loop.call_exception_handler({"message": "timer callback of main", "exception": caught(fails)})

    loop.set_exception_handler(None)
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage().startswith("timer callback of main: ZeroDivisionError: division by zero, at ")
    assert record.exc_info is None


async def test_installed_bug_of_ours_has_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    author_errors.install(loop)

    loop.call_exception_handler({"message": "timer callback of main", "exception": RuntimeError("ours")})

    loop.set_exception_handler(None)
    (record,) = [record for record in caplog.records if record.name == "asyncio"]
    assert record.exc_info is not None


async def test_installed_if_free_leaves_another_handler_alone() -> None:
    loop = asyncio.get_running_loop()

    def mine(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Of the program that the loop belongs to."""

    loop.set_exception_handler(mine)
    author_errors.install_if_free(loop)()
    assert loop.get_exception_handler() is mine

    loop.set_exception_handler(None)
    undo = author_errors.install_if_free(loop)
    loop.set_exception_handler(mine)
    undo()

    assert loop.get_exception_handler() is mine
    loop.set_exception_handler(None)
