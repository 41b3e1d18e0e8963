# SPDX-License-Identifier: GPL-2.0-or-later
"""Two programs side by side: ours, within the test's process, and qemu-io, each with images of its own."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from asyncemu.cli.io import main
from tests.cli.holding import held

_TIME = re.compile(r"; (?:[\d:]+:)?[\d.]+(?: sec)? \([^)]*/sec and [\d.]+ ops/sec\)")
_MACHINE_TIME = re.compile(r"^(\d+,\d+),[\d:.]+,[\d.]+,[\d.]+$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to, without figures of time."""

    status: int
    output: str
    errors: str


def without_times(text: str) -> str:
    """``text`` with what differs from run to run replaced."""
    return _MACHINE_TIME.sub(r"\1,TIME", _TIME.sub("; TIME", text))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _printed(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return without_times(_text(stream.buffer.getvalue()))


class Exercise:
    """Both programs, each in a directory of its own."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.our_directory, self.their_directory = directory / "ours", directory / "theirs"
        self.our_directory.mkdir()
        self.their_directory.mkdir()
        monkeypatch.chdir(self.our_directory)

    def create(self, name: str, *options: str) -> None:
        """``qemu-img create OPTIONS`` the same image for both."""
        words = ["qemu-img", "create", "-q", *options]
        subprocess.run(words, check=True, cwd=self.our_directory)
        shutil.copy(self.our_directory / name, self.their_directory / name)

    def write(self, name: str, data: bytes) -> None:
        """A file for both."""
        (self.our_directory / name).write_bytes(data)
        (self.their_directory / name).write_bytes(data)

    def ours(self, *words: str, stdin: bytes = b"") -> Result:
        """Run ours."""
        reading, writing = os.pipe()
        os.write(writing, stdin)
        os.close(writing)
        with os.fdopen(reading) as file, self._monkeypatch.context() as patch:
            patch.setattr("sys.stdin", file)
            # Not pytest's: the program prints bytes that are no text.
            streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2)]
            patch.setattr("sys.stdout", streams[0])
            patch.setattr("sys.stderr", streams[1])
            status = main(["qemu-io", *words])
        return Result(status, *(_printed(stream) for stream in streams))

    def theirs(self, *words: str, stdin: bytes = b"") -> Result:
        """Run qemu-io."""
        found = subprocess.run(
            ["qemu-io", *words], input=stdin, capture_output=True, cwd=self.their_directory, timeout=30, check=False
        )
        return Result(found.returncode, *(without_times(_text(data)) for data in (found.stdout, found.stderr)))

    def both(self, *words: str, stdin: bytes = b"") -> tuple[Result, Result]:
        """Run both, ours first."""
        return self.ours(*words, stdin=stdin), self.theirs(*words, stdin=stdin)

    def commands(self, *commands: str, image: tuple[str, ...] = ("-f", "raw", "disk.raw")) -> tuple[Result, Result]:
        """Run both with these ``-c``."""
        return self.both(*image, *(word for command in commands for word in ("-c", command)))

    @contextmanager
    def in_use(self, name: str) -> Iterator[None]:
        """Another process holds the file, of both, and lets nobody else write to it or resize it."""
        with ExitStack() as stack:
            for directory in (self.our_directory, self.their_directory):
                stack.enter_context(held(directory / name))
            yield

    def same_images(self, name: str) -> bool:
        """Do both images hold the same data?"""
        words = ["qemu-img", "compare", "-q", str(self.our_directory / name), str(self.their_directory / name)]
        return subprocess.run(words, check=False).returncode == 0

    def same_files(self, name: str) -> bool:
        """Are both files the same, byte for byte?"""
        return (self.our_directory / name).read_bytes() == (self.their_directory / name).read_bytes()


@pytest.fixture
def exercise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exercise:
    """Both programs."""
    return Exercise(tmp_path, monkeypatch)


@pytest.fixture
def raw(exercise: Exercise) -> Exercise:
    """Both programs, each with a raw image ``disk.raw`` of 1 MiB."""
    exercise.write("disk.raw", bytes(1 << 20))
    return exercise


@pytest.fixture
def qcow2(exercise: Exercise) -> Exercise:
    """Both programs, each with a qcow2 image ``disk.qcow2`` of 1 MiB."""
    exercise.create("disk.qcow2", "-f", "qcow2", "disk.qcow2", "1M")
    return exercise
