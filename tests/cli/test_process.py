# SPDX-License-Identifier: GPL-2.0-or-later
"""asyncemu as a process: signals, closed descriptors, broken pipes, files that others hold."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asyncemu.block.file.locking import ImageLocks
from asyncemu.block.flags import PERM_ALL, PERM_WRITE

PROGRAM = (sys.executable, "-m", "asyncemu")
TIMEOUT = 30

pytestmark = pytest.mark.slow

WAITING = (
    '[machine]\nmemory = "8M"\n[[chardev]]\nid = "c"\nbackend = "socket"\npath = "s"\nserver = true\nwait = {wait}\n'
)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``start(arguments)``: the program in ``tmp_path``, killed at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **options: object) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen([*PROGRAM, *arguments], cwd=tmp_path, **{**pipes, **options})  # type: ignore[call-overload]
        started.append(process)
        return process  # type: ignore[no-any-return]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_while_a_machine_is_built_ends_with_130(
    number: int, start: Callable[..., subprocess.Popen[str]], vm: Callable[[str], None], tmp_path: Path
) -> None:
    vm(WAITING.format(wait="true"))
    process = start("vm.toml")
    assert process.stderr is not None
    waits = process.stderr.readline()

    process.send_signal(number)

    assert process.communicate(timeout=TIMEOUT) == ("", "")
    assert (process.returncode, waits) == (130, "asyncemu: chardev c waits for a client at unix:s\n")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("paused", ["true", "false"])
def test_machine_without_kernel_stays_until_a_signal(
    paused: str, start: Callable[..., subprocess.Popen[str]], vm: Callable[[str], None], tmp_path: Path
) -> None:
    # Its pty is announced before the machine runs; the link is there by then.
    vm('[machine]\nmemory = "8M"\n[[chardev]]\nid = "c"\nbackend = "pty"\npath = "link"\n')
    process = start("vm.toml", "--set", f"machine.paused={paused}")
    assert process.stderr is not None
    announced = process.stderr.readline()

    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)

    assert process.communicate(timeout=TIMEOUT) == ("", "")
    assert (process.returncode, announced) == (130, "asyncemu: chardev c is link\n")


def test_signals_at_many_moments_always_end_with_130(start: Callable[..., subprocess.Popen[str]]) -> None:
    """From the moment when the handlers are installed to the running guest, which would take longer than that."""
    results = []
    for step in range(12):
        reading, writing = os.pipe()
        # -X importtime tells each import on stderr: a clock that goes as the program does.
        command = [sys.executable, "-X", "importtime", "-m", "asyncemu", "demo"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writing)
        os.close(writing)
        with open(reading) as imports:  # noqa: PTH123
            seen = 0
            for line in imports:
                seen += "asyncemu.cli.interrupts" in line or bool(seen)
                if seen > 5 + 30 * step:
                    break
            process.send_signal(signal.SIGTERM)
            rest = imports.read()
        results.append((process.wait(timeout=TIMEOUT), "Traceback" in rest))

    assert results == [(130, False)] * 12


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_replaced(closed: str, tmp_path: Path, vm: Callable[[str], None]) -> None:
    vm('[machine]\nmemory = "8M"\n')
    command = f'exec "$@" {closed}'

    result = subprocess.run(
        ["sh", "-c", command, "sh", *PROGRAM, "check", "vm.toml"], cwd=tmp_path, capture_output=True, timeout=TIMEOUT
    )

    assert (result.returncode, result.stderr) == (0, b"")


def test_closed_stderr_with_an_error_still_exits_2(tmp_path: Path) -> None:
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *PROGRAM, "nope.toml"], cwd=tmp_path, capture_output=True, timeout=TIMEOUT
    )

    assert (result.returncode, result.stdout) == (2, b"")


@pytest.mark.parametrize("arguments", [["schema"], ["--help"], ["devices"]])
def test_broken_pipe_is_silent(arguments: list[str], start: Callable[..., subprocess.Popen[str]]) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    # Buffered, as output to a pipe is by default.
    process = start(*arguments, stdout=writing, env={**os.environ, "PYTHONUNBUFFERED": ""})
    os.close(writing)

    assert process.communicate(timeout=TIMEOUT)[1] == ""
    assert process.returncode == 141


def test_broken_stderr_with_an_error_still_exits_2(start: Callable[..., subprocess.Popen[str]]) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    process = start("nope.toml", stderr=writing)
    os.close(writing)

    assert process.wait(timeout=TIMEOUT) == 2


def test_disk_of_another_process_is_refused(
    start: Callable[..., subprocess.Popen[str]], vm: Callable[[str], None], tmp_path: Path
) -> None:
    vm(
        '[machine]\nmemory = "8M"\n[[blockdev]]\nnode-name = "d"\ndriver = "file"\nfilename = "disk.img"\n'
        '[[device]]\ndriver = "virtio-blk"\ndrive = "d"\n'
    )
    with (tmp_path / "disk.img").open("w+b") as held:
        held.truncate(4096)
        ImageLocks(held.fileno(), "disk.img", "d", required=True).prepare(PERM_WRITE, PERM_ALL & ~PERM_WRITE)

        errors = start("vm.toml").communicate(timeout=TIMEOUT)[1]

    assert errors == (
        'asyncemu: device[0].d: Failed to get "write" lock; Is another process using the image [disk.img]?\n'
    )


def test_port_in_use_is_one_line(start: Callable[..., subprocess.Popen[str]], vm: Callable[[str], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        vm(f'[[chardev]]\nid = "c"\nbackend = "socket"\nhost = "127.0.0.1"\nport = {port}\nserver = true\n')

        process = start("vm.toml")
        errors = process.communicate(timeout=TIMEOUT)[1]

    assert errors == f"asyncemu: chardev[0]: c: listen at 127.0.0.1:{port}: Address already in use\n"
    assert process.returncode == 2
