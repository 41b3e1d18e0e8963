# SPDX-License-Identifier: GPL-2.0-or-later
"""block: img beside qemu-img, the NBD server beside qemu-nbd; the same command lines on the same files, in turns.

The peers are Debian's. Clients of the NBD servers are fio (its nbd engine, on libnbd) and nbdcopy. Files lie in the
guests' cache folder, on the disk that the checkout is on, and are in the page cache but for the rows that say direct.
What is still to be written to that disk is waited for before each run that is timed, untimed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from asyncemu.loop.markers import DEBUG
from benchmarks.benchmark import Benchmark, Outcome, interleave
from benchmarks.block_images import SIZE, Images, make_images
from benchmarks.errors import BenchmarkError
from benchmarks.goal import Goal, Measurement
from benchmarks.nbd_servers import OURS, PEER, NbdServerProcess, copy_seconds, read_latency
from benchmarks.tool_process import bench_microseconds, seconds

#: Our side, as an installed asyncemu-img is run.
IMG: Final = (sys.executable, "-m", "asyncemu", "img")
QEMU_IMG: Final = ("qemu-img",)

#: Requests of one run of ``bench``; a step that is no multiple of a cluster spreads them over the whole image.
REQUESTS: Final = 20_000
STEP: Final = 1_118_208


def run(runs: int, note: Callable[[str], None]) -> Outcome:
    """See the module's head."""
    for program in ("qemu-img", "qemu-nbd", "fio", "nbdcopy"):
        if shutil.which(program) is None:
            raise BenchmarkError(f"{program} is not installed; make dev installs it")
    if DEBUG:
        note("ASYNCEMU_DEBUG is on: our side is slower than it is for users")
    from guests.fetch import cache_root

    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=cache_root()) as name:
        directory = Path(name)
        images = make_images(directory)
        measured: list[Measurement] = []
        for part in (_converting, _requests, _opening, _serving):
            measured += part(runs, note, images, directory)
    version = subprocess.run(["qemu-img", "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    return Outcome(version, tuple(measured))


def _pairs(
    runs: int, note: Callable[[str], None], name: str, unit: str, goal: Goal, sample: Callable[[Sequence[str]], float]
) -> Measurement:
    note(name)
    os.sync()
    ours, peer = interleave(runs, lambda: sample(IMG), lambda: sample(QEMU_IMG))
    return Measurement(name, unit, tuple(ours), tuple(peer), goal)


def _converting(runs: int, note: Callable[[str], None], images: Images, directory: Path) -> list[Measurement]:
    """Seconds of ``convert``. A goal of 0.8 of the peer's MB/s is 1.25 of its time."""
    target = directory / "converted"
    cases: list[tuple[str, Path, list[str], float]] = [
        ("convert raw to qcow2", images.raw, ["-f", "raw", "-O", "qcow2"], 1.25),
        ("convert qcow2 to raw", images.qcow2, ["-f", "qcow2", "-O", "raw"], 1.25),
        ("convert raw to qcow2, direct", images.raw, ["-f", "raw", "-O", "qcow2", "-t", "none", "-T", "none"], 1.25),
        ("convert qcow2 to raw, direct", images.qcow2, ["-f", "qcow2", "-O", "raw", "-t", "none", "-T", "none"], 1.25),
        ("convert to qcow2 -c, zlib", images.text, ["-f", "raw", "-c", "-O", "qcow2"], 1.0),
        (
            "convert to qcow2 -c, zstd",
            images.text,
            ["-f", "raw", "-c", "-O", "qcow2", "-o", "compression_type=zstd"],
            1.0,
        ),
    ]
    found = []
    for name, source, options, limit in cases:

        def sample(program: Sequence[str], source: Path = source, options: list[str] = options) -> float:
            target.unlink(missing_ok=True)
            os.sync()  # what the run before has left to be written would slow this one
            _touch_free_memory(target)
            return seconds([*program, "convert", *options, str(source), str(target)])

        found.append(_pairs(runs, note, name, "s", Goal(limit), sample))
    target.unlink(missing_ok=True)
    return found


def _touch_free_memory(scratch: Path) -> None:
    """Have the host back as much free memory as a copy needs.

    In a virtual machine that returns free pages to its host, the first use of each costs several times what a copy
    does, for whoever comes first.
    """
    block = bytes(1 << 20)
    with scratch.open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(block)
    scratch.unlink()


def _requests(runs: int, note: Callable[[str], None], images: Images, directory: Path) -> list[Measurement]:
    """Microseconds a request of ``bench``. A goal of 0.5 of the peer's IOPS is 2.0 of its time."""
    cases: list[tuple[str, Path, str, int, float]] = [
        ("4 KiB read, raw, depth 1", images.raw, "raw", 1, 1.0),
        ("4 KiB read, raw, depth 32", images.raw, "raw", 32, 2.0),
        ("4 KiB read, qcow2, depth 1", images.qcow2, "qcow2", 1, 1.5),
        ("4 KiB read, qcow2, depth 32", images.qcow2, "qcow2", 32, 2.0),
    ]
    found = []
    for name, image, image_format, depth, limit in cases:
        command = ["bench", "-f", image_format, "-i", "threads", "-t", "writeback", "-c", str(REQUESTS)]
        command += ["-d", str(depth), "-s", "4096", "-S", str(STEP), str(image)]

        def sample(program: Sequence[str], command: list[str] = command) -> float:
            return bench_microseconds([*program, *command], REQUESTS)

        found.append(_pairs(runs, note, name, "us", Goal(limit), sample))
    return found


def _opening(runs: int, note: Callable[[str], None], images: Images, directory: Path) -> list[Measurement]:
    """Milliseconds until a tool has told what a small image, and a sparse one of 1 TiB, are."""
    note("start-up")
    os.sync()
    bare = tuple(1000 * seconds([sys.executable, "-c", "pass"]) for _ in range(runs))
    start = tuple(1000 * seconds([*IMG, "info", str(images.small)]) for _ in range(runs))
    large = tuple(1000 * seconds([*IMG, "info", str(images.terabyte)]) for _ in range(runs))
    added = tuple(each - small for each, small in zip(large, start, strict=True))
    return [
        Measurement("bare Python", "ms", bare, None),
        Measurement("img info, small image", "ms", start, None, Goal(90, absolute=True)),
        Measurement("opening 1 TiB, on top of that", "ms", added, None, Goal(50, absolute=True)),
    ]


def _serving(runs: int, note: Callable[[str], None], images: Images, directory: Path) -> list[Measurement]:
    """The servers, each with the same raw file, through libnbd."""
    found = []
    socket = directory / "nbd.sock"

    def over(server: Sequence[str], measure: Callable[[str], float]) -> float:
        with NbdServerProcess([*server, "-t", "-f", "raw", "-e", "16", "-k", str(socket), str(images.raw)], socket):
            return measure(f"nbd+unix:///?socket={socket}")

    cases: list[tuple[str, str, float, Callable[[str], float]]] = [
        ("NBD 4 KiB read, depth 1", "us", 1.5, partial(read_latency, depth=1, jobs=1)),
        ("NBD 4 KiB read, 16 clients", "us", 2.0, partial(read_latency, depth=1, jobs=16)),
        ("NBD sequential read", "s", 1.25, copy_seconds),
    ]
    for name, unit, limit, measure in cases:
        note(name)
        ours, peer = interleave(runs, partial(over, OURS, measure), partial(over, PEER, measure))
        found.append(Measurement(name, unit, tuple(ours), tuple(peer), Goal(limit)))
    return found


BENCHMARK: Final = Benchmark("block", "img, io and the NBD server beside QEMU's", run)
