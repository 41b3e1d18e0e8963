# SPDX-License-Identifier: GPL-2.0-or-later
"""Two programs side by side: ours, within the test's process, and qemu-img, each with the same images of its own.

Both run under the name qemu-img, on the files that ``images`` describes, and are compared in what they print, in their
exit status, and in what they leave behind.
"""

from __future__ import annotations

import filecmp
import io
import shutil
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from asyncemu.cli.img import main
from tests.cli.holding import held

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    status: int
    output: str
    errors: str


class Tools:
    """Both programs, each in a directory of its own."""

    def __init__(self, directory: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._images = images
        self.our_directory, self.their_directory = directory / "ours", directory / "theirs"
        for each in (self.our_directory, self.their_directory):
            each.mkdir()
        monkeypatch.chdir(self.our_directory)

    def take(self, *names: str) -> None:
        """Give both a copy of the images."""
        for name in names:
            for each in (self.our_directory, self.their_directory):
                subprocess.run(["cp", "--sparse=always", self._images / name, each / name], check=True)

    def write(self, name: str, data: bytes) -> None:
        """A file for both."""
        (self.our_directory / name).write_bytes(data)
        (self.their_directory / name).write_bytes(data)

    def ours(self, *words: str) -> Result:
        """Run ours."""
        # Not pytest's streams: the program prints bytes that are no text.
        streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2)]
        with self._monkeypatch.context() as patch:
            patch.setattr("sys.stdout", streams[0])
            patch.setattr("sys.stderr", streams[1])
            status = main(["qemu-img", *words])
        return Result(status, *(_printed(stream) for stream in streams))

    def theirs(self, *words: str) -> Result:
        """Run qemu-img."""
        found = subprocess.run(
            ["qemu-img", *words], capture_output=True, cwd=self.their_directory, timeout=30, check=False
        )
        return Result(found.returncode, _text(found.stdout), _text(found.stderr))

    def both(self, *words: str) -> tuple[Result, Result]:
        """Run both, ours first."""
        return self.ours(*words), self.theirs(*words)

    @contextmanager
    def in_use(self, name: str) -> Iterator[None]:
        """Another process holds the file, of both, and lets nobody else write to it or resize it."""
        with ExitStack() as stack:
            for directory in (self.our_directory, self.their_directory):
                stack.enter_context(held(directory / name))
            yield

    def different_files(self) -> list[str]:
        """Names of files that are not the same, byte for byte, or that only one of them has."""
        comparison = filecmp.dircmp(self.our_directory, self.their_directory)
        _, different, odd = filecmp.cmpfiles(
            self.our_directory, self.their_directory, comparison.common_files, shallow=False
        )
        return sorted([*different, *odd, *comparison.left_only, *comparison.right_only])

    def same_contents(self, name: str) -> bool:
        """Do both images hold the same data?"""
        words = ["qemu-img", "compare", "-q", str(self.our_directory / name), str(self.their_directory / name)]
        return subprocess.run(words, check=False).returncode == 0

    def is_clean(self, name: str) -> bool:
        """Does qemu-img find nothing wrong with ours?"""
        words = ["qemu-img", "check", "-q", str(self.our_directory / name)]
        return subprocess.run(words, check=False).returncode == 0


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _printed(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return _text(stream.buffer.getvalue())


@pytest.fixture
def tools(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tools]:
    """Both programs."""
    handler = signal.getsignal(signal.SIGUSR1)
    yield Tools(tmp_path, images, monkeypatch)
    signal.signal(signal.SIGUSR1, handler)


# ---- images


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with images that QEMU's tools have made; nobody writes to them.

    base.qcow2     1 MiB: data, zeroes, a compressed cluster, and nothing
    overlay.qcow2  2 MiB over base.qcow2: data, a discarded cluster, data behind the base's end
    top.qcow2      2 MiB over overlay.qcow2: data, zeroes over data, a cluster in part
    snapshots.qcow2 two internal snapshots, s1 and s2
    bitmaps.qcow2  nothing, but a persistent bitmap
    leaks.qcow2, damaged.qcow2  a cluster with a reference too many, one with too few
    raw, other, longer: raw, sparse, of 1, 1 and 2 MiB; other and longer differ from raw in a byte each
    odd, empty     raw, of 1 byte and none
    """
    directory = tmp_path_factory.mktemp("images")
    _make_qcow2(directory)
    _make_raw(directory)
    _break_refcounts(directory / "leaks.qcow2", {12: 1}, grow=3)
    _break_refcounts(directory / "damaged.qcow2", {5: 0, 9: 3})
    return directory


def _make_qcow2(directory: Path) -> None:
    run = _runner(directory)
    run("qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "1M")
    run("qemu-io", "-c", "write -P 1 64k 64k", "-c", "write -z 192k 64k", "-c", "write -c -P 3 512k 64k", "base.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "overlay.qcow2", "2M")
    run(
        "qemu-io",
        *("-c", "write -P 1 0 64k", "-c", "discard 64k 64k", "-c", "write -P 2 1536k 64k", "overlay.qcow2"),
    )
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "overlay.qcow2", "-F", "qcow2", "top.qcow2")
    run("qemu-io", "-c", "write -P 7 256k 64k", "-c", "write -z 1536k 64k", "-c", "write -P 8 70k 1k", "top.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "bitmaps.qcow2", "1M")
    run("qemu-img", "bitmap", "--add", "bitmaps.qcow2", "b0")
    for name in ("snapshots.qcow2", "leaks.qcow2", "damaged.qcow2"):
        shutil.copy(directory / "base.qcow2", directory / name)
    run("qemu-img", "snapshot", "-c", "s1", "snapshots.qcow2")
    run("qemu-io", "-c", "write -P 9 64k 64k", "snapshots.qcow2")
    run("qemu-img", "snapshot", "-c", "s2", "snapshots.qcow2")


def _runner(directory: Path) -> Callable[..., None]:
    def run(*words: str) -> None:
        subprocess.run(words, check=True, cwd=directory, stdout=subprocess.DEVNULL)

    return run


def _make_raw(directory: Path) -> None:
    data = bytes(range(1, 256)) * 100
    for name, size, changed in (("raw", MIB, None), ("other", MIB, 700_000), ("longer", 2 * MIB, 1_700_001)):
        with (directory / name).open("wb") as file:
            file.truncate(size)
            for offset in (40 * KIB, 500 * KIB):
                file.seek(offset)
                file.write(data)
            if changed is not None:
                file.seek(changed)
                file.write(b"y")
    (directory / "odd").write_bytes(b"x")
    (directory / "empty").write_bytes(b"")


def _break_refcounts(image: Path, counts: dict[int, int], grow: int = 0) -> None:
    """Set reference counts of clusters, and add clusters to the file."""
    with image.open("r+b") as file:
        header = file.read(104)
        (table,) = struct.unpack_from(">Q", header, 48)
        file.seek(table)
        (block,) = struct.unpack(">Q", file.read(8))
        for cluster, count in counts.items():
            file.seek(block + 2 * cluster)
            file.write(struct.pack(">H", count))
        end = file.seek(0, 2)
        file.truncate((-(-end // (64 * KIB)) + grow) * 64 * KIB if grow else end)
