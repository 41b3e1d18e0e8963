# SPDX-License-Identifier: GPL-2.0-or-later
"""-p, and SIGUSR1."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from asyncemu.cli.tools.progress import ProgressLine


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    """The handler that was there."""
    handler = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, handler)


def test_shown_progress_is_rewritten_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(True) as progress:
        for share in (0, 0.005, 0.0101, 0.5, 1):
            progress.report(share)
    assert capsys.readouterr().out == ("    (0.00/100%)\r    (1.01/100%)\r    (50.00/100%)\r    (100.00/100%)\r\n")


def test_step_says_how_fine(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(True, 30) as progress:
        for done in range(11):
            progress.of(done, 10)
    assert capsys.readouterr().out.count("\r") == 4


def test_nothing_is_shown_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(False) as progress:
        progress.report(0.5)
    assert capsys.readouterr() == ("", "")


def test_sigusr1_asks_for_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(False) as progress:
        progress.report(0.25)
        os.kill(os.getpid(), signal.SIGUSR1)
        progress.report(0.5)
        progress.report(0.75)
    assert capsys.readouterr() == ("", "    (50.00/100%)\n")


def test_more_than_all_is_all(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(True) as progress:
        progress.advance(0.7)
        progress.advance(0.7)
    assert "(100.00/100%)" in capsys.readouterr().out


def test_nothing_of_nothing_is_all(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(True) as progress:
        progress.of(0, 0)
    assert "(100.00/100%)" in capsys.readouterr().out
