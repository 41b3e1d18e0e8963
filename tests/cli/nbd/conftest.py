# SPDX-License-Identifier: GPL-2.0-or-later
"""Our server as a process of its own, and qemu-nbd beside it; command lines that are refused run within the test's."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from asyncemu.cli.nbd import main

OURS = (sys.executable, "-c", "import sys; sys.argv[0] = 'qemu-nbd'; from asyncemu.cli.nbd import script; script()")
THEIRS = ("qemu-nbd",)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    status: int
    output: str
    errors: str


def refused(monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    """Ours, within this process: for command lines that start no server."""
    with monkeypatch.context() as patch:
        streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2)]
        patch.setattr("sys.stdout", streams[0])
        patch.setattr("sys.stderr", streams[1])
        status = main(["qemu-nbd", *words])
    texts = []
    for stream in streams:
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        texts.append(stream.buffer.getvalue().decode())
    return Result(status, *texts)


def qemu_nbd(*words: str) -> Result:
    """qemu-nbd, for the same."""
    found = subprocess.run(["qemu-nbd", *words], capture_output=True, text=True, timeout=30, check=False)
    return Result(found.returncode, found.stdout, found.stderr)


class Server:
    """A server's process. Listening at ``socket``, where it was told to."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self.process = process
        self.socket = path

    @property
    def uri(self) -> str:
        """Of the export without a name."""
        return f"nbd+unix:///?socket={self.socket}"

    def wait_until_it_listens(self) -> None:
        """From then on clients can connect; they are answered when all is open."""
        listening = re.compile(rf"^\S+ \S+ \S+ 00010000 .* {re.escape(str(self.socket))}$", re.MULTILINE)
        deadline = time.monotonic() + 30
        while not listening.search(Path("/proc/net/unix").read_text()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no server: {self.process.poll()}, {self.errors()}")
            time.sleep(0.005)  # nothing tells of a socket that begins to listen

    def wait(self) -> int:
        """Until it has ended; its exit status."""
        return self.process.wait(30)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it with a signal; its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def errors(self) -> str:
        """What it has complained of, once it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()


class Servers:
    """Starts them, and ends what a test has left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, program: Sequence[str] = OURS) -> Server:
        """A server with a Unix socket; returns when it listens."""
        path = self.directory / f"{len(self._processes)}.sock"
        server = Server(self.process(*program, "-k", str(path), *words), path)
        server.wait_until_it_listens()
        return server

    def process(self, *words: str, **arguments: object) -> subprocess.Popen[bytes]:
        """Any process."""
        process: subprocess.Popen[bytes] = subprocess.Popen(
            words,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **arguments,  # type: ignore[call-overload]
        )
        self._processes.append(process)
        return process

    def close(self) -> None:
        """Kill those that are left."""
        for process in self._processes:
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Servers in ``tmp_path``, where there is a raw image ``disk.raw`` of 1 MiB."""
    (tmp_path / "disk.raw").write_bytes(bytes(range(256)) * 4096)
    found = Servers(tmp_path)
    yield found
    found.close()


def run(*words: str, status: int = 0) -> str:
    """Another program's output; it is to end with ``status``."""
    found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == status, found.stderr
    return found.stdout
