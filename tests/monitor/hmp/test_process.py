# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor behind Ctrl-A c of a machine that runs in a terminal of its own, as its user meets it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

#: Seconds after which output counts as never coming.
GUARD = 30.0

VM = """
[machine]
memory = "16MiB"
paused = true

[[chardev]]
id = "console"
backend = "stdio"
"""


class User:
    """Somebody at the terminal."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self.process = process
        self._terminal = terminal

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._terminal, keys)

    def open_monitor(self) -> bytes:
        """Press Ctrl-A c until the machine is up and has a monitor to show: its greeting and prompt."""
        while True:
            self.type(b"\x01c")
            text = self.read_until(b"no monitor here\r\r\n", b"(qemu) ")
            if text.endswith(b"(qemu) "):
                return text

    def read_until(self, *ends: bytes) -> bytes:
        """All output up to, and with, one of ``ends``."""
        data = b""
        while not data.endswith(ends):
            assert select.select([self._terminal], [], [], GUARD)[0], f"only {data!r} came"
            data += os.read(self._terminal, 1)
        return data


Start = Callable[[str], User]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """``start(more)``: ``asyncemu run`` of a paused machine with ``more`` in its vm.toml."""
    started: list[tuple[subprocess.Popen[bytes], int]] = []

    def begin(more: str = "") -> User:
        (tmp_path / "vm.toml").write_text(VM + more)
        user, terminal = os.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "asyncemu", "run", tmp_path / "vm.toml"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            process_group=0,
        )
        os.close(terminal)
        started.append((process, user))
        return User(process, user)

    yield begin
    for process, user in started:
        process.kill()
        process.wait()
        os.close(user)


@pytest.mark.slow
def test_ctrl_a_c_shows_a_monitor_with_completion_and_history(start: Start) -> None:
    user = start("")

    greeting = user.open_monitor()
    user.type(b"info stat\t\r")
    first = user.read_until(b"\n(qemu) ")
    user.type(b"\x1b[A\r")
    second = user.read_until(b"\n(qemu) ")
    user.type(b"s\t")
    listed = user.read_until(b"(qemu) s")
    user.type(b"\x15q\r")

    assert b"monitor - type 'help' for more information\r\r\n" in greeting
    # The terminal makes \r\n of \n, too.
    assert first == second == b"info status \r\r\nVM status: paused (prelaunch)\r\r\n(qemu) "
    assert b"set_link" in listed
    assert user.process.wait(GUARD) == 0


@pytest.mark.slow
def test_configured_monitor_on_the_terminal_takes_the_place_of_the_default_one(start: Start) -> None:
    user = start('\n[[monitor]]\nchardev = "console"\nmode = "readline"\n')
    user.open_monitor()

    # There are two front ends, not three.
    user.type(b"\x01c\x01cp 1\r")
    text = user.read_until(b"0x1\r\r\n(qemu) ")
    user.type(b"q\r")

    assert text.count(b"(qemu) ") == 2
    assert user.process.wait(GUARD) == 0


def test_default_monitor_imports_nothing_of_it_before_it_is_needed() -> None:
    program = (
        "import sys, asyncemu.monitor.hmp.lazy\n"
        "print([name for name in sys.modules if name.startswith('asyncemu.monitor')])"
    )

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stdout == "['asyncemu.monitor', 'asyncemu.monitor.hmp', 'asyncemu.monitor.hmp.lazy']\n"
