# SPDX-License-Identifier: GPL-2.0-or-later
"""A process with a raw terminal ends in every way; the terminal is what it was."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.chardev.recorder import GUARD


@dataclass
class Session:
    """The program in a terminal of its own."""

    process: subprocess.Popen[bytes]
    user: int
    terminal: int
    before: list[Any]

    def read_until(self, end: bytes) -> bytes:
        data = b""
        while end not in data:
            assert select.select([self.user], [], [], GUARD)[0], f"only {data!r} came"
            data += os.read(self.user, 4096)
        return data

    def type(self, keys: bytes) -> None:
        os.write(self.user, keys)

    def attributes(self) -> list[Any]:
        return termios.tcgetattr(self.terminal)


StartProgram = Callable[[str], Session]


@pytest.fixture
def start_program() -> Iterator[StartProgram]:
    sessions: list[Session] = []

    def start(how: str) -> Session:
        user, terminal = os.openpty()
        before = termios.tcgetattr(terminal)
        # A process group of its own, so that SIGTSTP stops it alone.
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chardev.stdio_program", how],
            stdin=terminal,
            stdout=terminal,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        session = Session(process, user, terminal, before)
        sessions.append(session)
        session.read_until(b"ready")
        return session

    yield start
    for session in sessions:
        session.process.kill()
        session.process.wait(GUARD)
        os.close(session.user)
        os.close(session.terminal)


def test_process_ctrl_a_x_restores_terminal(start_program: StartProgram) -> None:
    session = start_program("wait")
    while_running = session.attributes()

    session.type(b"\x01x")
    status = session.process.wait(GUARD)

    assert status == 0
    assert while_running != session.before
    assert session.attributes() == session.before
    assert b"asyncemu: terminated" in session.read_until(b"terminated")


@pytest.mark.parametrize(("how", "status"), [("raise", 1), ("exit", 3)])
def test_process_never_closed_restores_terminal(start_program: StartProgram, how: str, status: int) -> None:
    session = start_program(how)

    assert session.process.wait(GUARD) == status
    assert session.attributes() == session.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_process_signal_kills_and_restores_terminal(start_program: StartProgram, number: signal.Signals) -> None:
    session = start_program("wait")

    session.process.send_signal(number)

    assert session.process.wait(GUARD) == -number
    assert session.attributes() == session.before


def test_process_stopped_and_continued_restores_and_is_raw_again(start_program: StartProgram) -> None:
    session = start_program("wait")
    raw = session.attributes()

    session.process.send_signal(signal.SIGTSTP)
    os.waitid(os.P_PID, session.process.pid, os.WSTOPPED)
    while_stopped = session.attributes()
    session.process.send_signal(signal.SIGCONT)
    session.read_until(b"continued")

    assert while_stopped == session.before
    assert session.attributes() == raw
