# SPDX-License-Identifier: GPL-2.0-or-later
"""control: how soon a monitor answers, at rest and beside a guest that reads its disk as fast as it can; how long a
program waits for a command in the guest's shell; what tests of devices cost.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

import asyncemu
from benchmarks import kit_tests
from benchmarks.benchmark import Benchmark, Outcome, interleave
from benchmarks.boot import TIMEOUT, USERSPACE
from benchmarks.emulators import Guest, Qemu, vm_toml
from benchmarks.errors import BenchmarkError
from benchmarks.goal import Goal, Measurement, compare
from benchmarks.process import GuestProcess
from benchmarks.timing import percentile

#: Commands of one sample at rest; a third of a second or so.
COMMANDS: Final = 500
#: Commands in the guest's shell, of one sample; a second or so.
SHELL_COMMANDS: Final = 50
#: Unmeasured ones before.
WARM_UP: Final = 50
#: A monitor's socket, in the directory that the emulator runs in.
SOCKET: Final = "qmp.sock"
#: What QEMU and asyncemu greet with, on their standard output: the other monitor can be connected to then.
_GREETING: Final = b'"QMP"'


@dataclass(frozen=True, slots=True)
class Replies:
    """Times from sending query-status to its reply, in µs."""

    median: float
    p99: float


class AtRest:
    """A machine that is paused, with a monitor at SOCKET; and one on standard output, to know when."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._path = scratch / "rest.toml"
        self._path.write_text(
            '[machine]\nmemory = "16MiB"\npaused = true\n'
            f'[qmp]\nlisten = "unix:{SOCKET}"\n'
            '[[chardev]]\nid = "up"\nbackend = "stdio"\n'
            '[[monitor]]\nchardev = "up"\nmode = "control"\n'
        )

    def ours(self) -> Replies:
        """Of asyncemu."""
        return self._measure([sys.executable, "-m", "asyncemu", str(self._path)])

    def peers(self) -> Replies:
        """Of QEMU."""
        path = shutil.which("qemu-system-riscv64")
        assert path is not None  # Qemu() was made
        monitors = ["-qmp", f"unix:{SOCKET},server=on,wait=off", "-qmp", "stdio"]
        return self._measure([path, "-M", "virt", "-m", "16M", "-display", "none", "-nodefaults", "-S", *monitors])

    def _measure(self, command: Sequence[str]) -> Replies:
        with GuestProcess(command, self._scratch) as process:
            process.wait_for(_GREETING, TIMEOUT)
            return asyncio.run(_ask(self._scratch / SOCKET, COMMANDS, lambda: True))


class UnderLoad:
    """Debian reading its disk at queue depth 32, from its first line to its power-off."""

    def __init__(self, guest: Guest, scratch: Path) -> None:
        self._scratch = scratch
        self._path = scratch / "load.toml"
        self._path.write_text(vm_toml(guest) + f'\n[qmp]\nlisten = "unix:{SOCKET}"\n')
        self._qemu = [*Qemu(scratch).command(guest), "-qmp", f"unix:{SOCKET},server=on,wait=off"]

    def ours(self) -> Replies:
        """Of asyncemu."""
        return self._measure([sys.executable, "-m", "asyncemu", str(self._path)])

    def peers(self) -> Replies:
        """Of QEMU."""
        return self._measure(self._qemu)

    def _measure(self, command: Sequence[str]) -> Replies:
        with GuestProcess(command, self._scratch) as process:
            process.wait_for(USERSPACE, TIMEOUT)
            replies = asyncio.run(_ask(self._scratch / SOCKET, None, lambda: _runs(process)))
            process.wait_for_exit(TIMEOUT)
            return replies


class InShell:
    """Debian's shell, in this process: ``vm.run("true")``."""

    def __init__(self, guest: Guest, scratch: Path) -> None:
        self._path = scratch / "shell.toml"
        self._path.write_text(vm_toml(guest))

    def ours(self) -> Replies:
        """From the call to its result. Nobody else has such a thing."""

        async def times() -> list[float]:
            found = []
            async with asyncemu.Machine(self._path) as vm:
                await vm.run("dmesg -n 1")
                for _ in range(SHELL_COMMANDS):
                    begin = time.perf_counter_ns()
                    await vm.run("true")
                    found.append((time.perf_counter_ns() - begin) / 1000)
            return sorted(found)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            sample = runner.run(times())
        return Replies(percentile(sample, 0.5), percentile(sample, 0.99))


def _runs(process: GuestProcess) -> bool:
    """Is the guest at it? Takes what it prints."""
    process.let_run(0.001)
    return "blockbench:" not in process.output


async def _ask(path: Path, count: int | None, goes_on: Callable[[], bool]) -> Replies:
    """``count`` times, or as long as ``goes_on``."""
    from qemu.qmp import QMPClient
    from qemu.qmp.error import QMPError

    client = QMPClient("benchmark")
    times: list[float] = []
    try:
        await client.connect(str(path))
        for _ in range(WARM_UP):
            await client.execute("query-status")
        while goes_on() and (count is None or len(times) < count):
            begin = time.perf_counter_ns()
            await client.execute("query-status")
            times.append((time.perf_counter_ns() - begin) / 1000)
    except (QMPError, EOFError) as error:
        # A guest that is done powers off.
        if count is not None:
            raise BenchmarkError(f"the monitor at {path}: {error}") from error
    with suppress(QMPError, EOFError, ConnectionError):
        await client.disconnect()
    if not times:
        raise BenchmarkError("the guest was done before the monitor was asked")
    times.sort()
    return Replies(percentile(times, 0.5), percentile(times, 0.99))


def run(runs: int, note: Callable[[str], None]) -> Outcome:
    """See the module's head."""
    from guests.errors import FetchError
    from guests.fetch import cache_root, ensure

    try:
        files = ensure()
    except FetchError as error:
        raise BenchmarkError(str(error)) from error
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=cache_root()) as directory:
        scratch = Path(directory)
        disk = scratch / "disk.img"
        shutil.copyfile(files.disk, disk)
        guest = Guest(files.image, files.initrd, disk, "console=ttyS0 session=blockbench-qd32")
        shell = Guest(files.image, files.initrd, disk, "console=ttyS0 session=shell")
        peer = Qemu(scratch).version()
        beside_qemu = _measure(runs, note, AtRest(scratch), UnderLoad(guest, scratch))
        return Outcome(peer, beside_qemu + _measure_alone(runs, note, InShell(shell, scratch)))


def _measure(runs: int, note: Callable[[str], None], at_rest: AtRest, under_load: UnderLoad) -> tuple[Measurement, ...]:
    note(f"{runs} pairs of {COMMANDS} commands to paused machines")
    ours, theirs = interleave(runs, at_rest.ours, at_rest.peers)
    note(f"{runs} pairs of guests that read their disks")
    our_load, their_load = interleave(runs, under_load.ours, under_load.peers)
    return (
        compare("query-status at rest, median", "µs", ours, theirs, lambda replies: replies.median, Goal(1.0)),
        compare("query-status at rest, p99", "µs", ours, theirs, lambda replies: replies.p99, None),
        compare(
            "query-status under disk I/O, median", "µs", our_load, their_load, lambda replies: replies.median, None
        ),
        compare(
            "query-status under disk I/O, p99",
            "µs",
            our_load,
            their_load,
            lambda replies: replies.p99,
            Goal(10_000, absolute=True),
        ),
    )


def _measure_alone(runs: int, note: Callable[[str], None], in_shell: InShell) -> tuple[Measurement, ...]:
    note(f"{runs} times {SHELL_COMMANDS} commands in a guest's shell")
    commands = tuple(in_shell.ours().median for _ in range(runs))
    note(f"{runs} times a thousand tests of devices")
    tests = tuple(kit_tests.measure() for _ in range(runs))
    return (
        Measurement("a command in the guest's shell, median", "µs", commands, None, Goal(20_000, absolute=True)),
        Measurement("1,000 tests of devices", "s", tests, None, Goal(kit_tests.GOAL_S, absolute=True)),
    )


BENCHMARK: Final = Benchmark("control", "how soon a monitor, a guest's shell and the kit's tests answer", run)
