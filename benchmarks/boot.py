# SPDX-License-Identifier: GPL-2.0-or-later
"""boot: Debian's kernel to userspace and to power-off, an idle shell, and a disk at queue depth 1."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.benchmark import Benchmark, Outcome, interleave
from benchmarks.emulators import Asyncemu, Emulator, Guest, Qemu
from benchmarks.errors import BenchmarkError
from benchmarks.goal import Goal, Measurement, compare
from benchmarks.process import GuestProcess, cpu_seconds, parse_smaps, resident_beyond

#: What guests/init prints first, and its shell's prompt.
USERSPACE: Final = b"asyncemu: userspace"
PROMPT: Final = b"guest:/mnt# "

#: For one session: a boot takes 3 s, so this is a hang. Seconds.
TIMEOUT: Final = 120.0
#: After the prompt the kernel still tidies up (initcalls of modules, timers of the file system): seconds.
SETTLE: Final = 3.0
#: Seconds over which the CPU share of an idle guest is taken.
IDLE: Final = 10.0
#: An idle pair takes half a minute and hardly varies: not more than this many.
IDLE_RUNS: Final = 2


@dataclass(frozen=True, slots=True)
class Boot:
    """Seconds from process start."""

    userspace: float
    power_off: float


@dataclass(frozen=True, slots=True)
class IdleCost:
    """Of a guest at its prompt: percent of one core, MiB resident beyond guest RAM."""

    cpu_share: float
    resident: float


@dataclass(frozen=True, slots=True)
class ReadLatency:
    """What blockbench measured in the guest, in µs."""

    median: float
    p99: float


_BLOCKBENCH: Final = re.compile(r"blockbench: reads=\d+ median_ns=(\d+) p99_ns=(\d+) mean_ns=\d+")


def parse_blockbench(output: str) -> ReadLatency:
    """The result among a guest's output. BenchmarkError when there is none."""
    found = _BLOCKBENCH.search(output)
    if found is None:
        reason = re.search(r"blockbench: (.*)", output)
        raise BenchmarkError(f"blockbench gave no result: {reason[1].strip() if reason else 'it said nothing'}")
    return ReadLatency(int(found[1]) / 1000, int(found[2]) / 1000)


class Sessions:
    """The guest's sessions, each in a process of its own. ``scratch`` is where the disk's copy is made."""

    def __init__(self, kernel: Path, initrd: Path, disk: Path, scratch: Path) -> None:
        self._kernel = kernel
        self._initrd = initrd
        self._original = disk
        self._disk = scratch / "disk.img"

    def boot(self, emulator: Emulator) -> Boot:
        """Power on, first line of userspace, power off."""
        with self._start(emulator, "poweroff") as process:
            userspace = process.wait_for(USERSPACE, TIMEOUT)
            return Boot(userspace, process.wait_for_exit(TIMEOUT))

    def idle(self, emulator: Emulator) -> IdleCost:
        """A shell at which nobody types."""
        with self._start(emulator, "shell") as process:
            process.wait_for(PROMPT, TIMEOUT)
            process.let_run(SETTLE)
            before = cpu_seconds(process.pid)
            process.let_run(IDLE)
            share = 100 * (cpu_seconds(process.pid) - before) / IDLE
            mappings = parse_smaps(Path(f"/proc/{process.pid}/smaps").read_text())
            return IdleCost(share, resident_beyond(mappings, emulator.is_guest_ram) / 2**20)

    def read_latency(self, emulator: Emulator) -> ReadLatency:
        """4 KiB reads at random places of a disk that the host has in its page cache."""
        with self._start(emulator, "blockbench") as process:
            process.wait_for_exit(TIMEOUT)
            return parse_blockbench(process.output)

    def _start(self, emulator: Emulator, session: str) -> GuestProcess:
        # A fresh copy: a guest that was killed left its file system to be recovered. It is in the page cache then.
        shutil.copyfile(self._original, self._disk)
        guest = Guest(self._kernel, self._initrd, self._disk, f"console=ttyS0 session={session}")
        return GuestProcess(emulator.command(guest), emulator.directory)


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
        us, qemu = Asyncemu(scratch), Qemu(scratch)
        sessions = Sessions(files.image, files.initrd, files.disk, scratch)
        return Outcome(qemu.version(), _measure(runs, note, sessions, us, qemu))


def _measure(
    runs: int, note: Callable[[str], None], sessions: Sessions, us: Emulator, peer: Emulator
) -> tuple[Measurement, ...]:
    note(f"{runs} pairs of boots")
    sessions.boot(us)  # once unmeasured: the host's page cache, and the interpreter's compiled modules
    sessions.boot(peer)
    ours, theirs = interleave(runs, lambda: sessions.boot(us), lambda: sessions.boot(peer))
    note(f"{runs} pairs of disk reads")
    our_reads, their_reads = interleave(runs, lambda: sessions.read_latency(us), lambda: sessions.read_latency(peer))
    idle_runs = min(runs, IDLE_RUNS)
    note(f"{idle_runs} pairs of idle shells")
    our_idle, their_idle = interleave(idle_runs, lambda: sessions.idle(us), lambda: sessions.idle(peer))

    return (
        compare("to first userspace line", "s", ours, theirs, lambda boot: boot.userspace, Goal(1.0)),
        compare("to power-off", "s", ours, theirs, lambda boot: boot.power_off, Goal(0.9)),
        compare("4 KiB random read, median", "us", our_reads, their_reads, lambda read: read.median, Goal(1.2)),
        compare("4 KiB random read, p99", "us", our_reads, their_reads, lambda read: read.p99),
        compare("idle shell, CPU", "%", our_idle, their_idle, lambda idle: idle.cpu_share, Goal(5.0, absolute=True)),
        compare("resident beyond guest RAM", "MiB", our_idle, their_idle, lambda idle: idle.resident, Goal(1.0)),
    )


BENCHMARK: Final = Benchmark("boot", "Debian's boot, an idle shell and disk reads, against QEMU's TCG", run)
