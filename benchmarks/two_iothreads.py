# SPDX-License-Identifier: GPL-2.0-or-later
"""How late the main loop is while a guest reads from two disks, 32 reads at a time on each: a probe within a machine.

The machine runs in a process of its own, which is this module again: ``python -m benchmarks.two_iothreads vm.toml
BEGIN END`` boots it by the Python API, probes between two things that its guest prints, and prints JSON. The probe is a
timer on the main loop that is due every millisecond, however late it was before: after a stall of 5 ms there are five
late calls, not one.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.emulators import MEMORY
from benchmarks.errors import BenchmarkError
from benchmarks.goal import Goal
from benchmarks.process import GuestProcess
from benchmarks.rows import Row
from benchmarks.timing import percentile

if TYPE_CHECKING:
    from asyncemu.loop import AioContext
    from asyncemu.machine import Machine

#: Of the probe, in ns.
PERIOD: Final = 1_000_000
#: How long it runs where the guest prints nothing at the end: seconds.
IDLE: Final = 5.0
#: A boot takes 3 s: seconds.
TIMEOUT: Final = 120.0
_ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Lateness:
    """Of the probe's calls, in ms; and what a read took in the guest, in ms, the median: 0 when it read nothing."""

    median: float
    p99: float
    largest: float
    read: float = 0.0


@dataclass(frozen=True, slots=True)
class Files:
    """What the machine is made of; the disk is copied for each of its two."""

    kernel: Path
    initrd: Path
    disk: Path


@dataclass(frozen=True, slots=True)
class Session:
    """Of guests/init: its name, and what it prints where the probe begins and ends. Without an end: IDLE seconds."""

    name: str
    begin: str
    end: str = ""


READS: Final = Session("blockbench-qd32", "blockbench: reading", " mean_ns=")
IDLE_GUEST: Final = Session("idle", "\nidle\r\n")


class ProbedMachine:
    """``scratch`` is where the disks and vm.toml lie."""

    def __init__(self, files: Files, scratch: Path) -> None:
        self._files = files
        self._scratch = scratch

    def reading(self, *, iothreads: bool = True) -> Lateness:
        """While the guest reads; with ``iothreads`` each disk has one, without both are the main loop's."""
        return self.run(READS, iothreads)

    def idle(self) -> Lateness:
        """While it sleeps."""
        return self.run(IDLE_GUEST, True)

    def run(self, session: Session, iothreads: bool) -> Lateness:
        """While the guest is at ``session``."""
        disks = [self._scratch / f"disk{number}.img" for number in range(2)]
        for disk in disks:
            shutil.copyfile(self._files.disk, disk)
        config = self._scratch / "vm.toml"
        config.write_text(vm_toml(self._files, disks, session.name, iothreads))
        command = [sys.executable, "-m", "benchmarks.two_iothreads", str(config), session.begin, session.end]
        with GuestProcess(command, _ROOT) as process:
            process.wait_for_exit(TIMEOUT)
            return parse(process.output)


def vm_toml(files: Files, disks: Sequence[Path], session: str, iothreads: bool) -> str:
    """The machine; its console is the memory of the process."""
    # A JSON string is a TOML basic string.
    kernel, initrd = json.dumps(str(files.kernel)), json.dumps(str(files.initrd))
    parts = [
        f"""\
[machine]
memory = "{MEMORY}MiB"
kernel = {kernel}
initrd = {initrd}
append = "console=ttyS0 quiet session={session}"

[[chardev]]
id = "console"
backend = "test-memory"
"""
    ]
    for number, disk in enumerate(disks):
        if iothreads:
            parts.append(f'[[iothread]]\nid = "io{number}"\n')
        parts.append(f'[[blockdev]]\nnode-name = "disk{number}"\ndriver = "file"\nfilename = {json.dumps(str(disk))}\n')
        on = f'iothread = "io{number}"\n' if iothreads else ""
        parts.append(f'[[device]]\ndriver = "virtio-blk"\ndrive = "disk{number}"\n{on}')
    return "\n".join(parts)


_BLOCKBENCH: Final = re.compile(r"queued_reads=\d+ median_ns=(\d+)")


def parse(output: str) -> Lateness:
    """What the other process printed. BenchmarkError when there is no result in it."""
    try:
        result = json.loads(output.splitlines()[-1])
        late = [int(nanoseconds) / 1e6 for nanoseconds in result["late_ns"]]
        read = _BLOCKBENCH.search(result["console"])
        median = int(read[1]) / 1e6 if read else 0.0
        return Lateness(percentile(late, 0.5), percentile(late, 0.99), max(late), median)
    except (LookupError, ValueError, TypeError, OverflowError):
        raise BenchmarkError(
            f"the probed machine gave no result: {output[-300:].strip() or 'it said nothing'}"
        ) from None


# ---- in the benchmark


@dataclass(frozen=True, slots=True)
class MachineRound:
    """The machine in its three states, once."""

    reading: Lateness
    without: Lateness
    idle: Lateness


def measure(machine: ProbedMachine) -> MachineRound:
    """One round."""
    return MachineRound(machine.reading(), machine.reading(iothreads=False), machine.idle())


_LATE: Final = "main loop late, two IOThreads read at depth 32"
ROWS: Final = (
    Row(f"{_LATE}, p99", "reading.p99", goal=Goal(2.0, absolute=True), unit="ms"),
    Row(f"{_LATE}, p99 / both disks in the main loop", "reading.p99", "without.p99", unit="ms"),
    Row(f"{_LATE}, median / both disks in the main loop", "reading.median", "without.median", unit="ms"),
    Row(
        "the guest's 4 KiB reads meanwhile, median / both disks in the main loop",
        "reading.read",
        "without.read",
        unit="ms",
    ),
    Row("main loop late, idle guest, p99", "idle.p99", unit="ms"),
)


# ---- the process with the machine


def main(arguments: Sequence[str]) -> int:
    """Boot, probe, print; the exit status."""
    from asyncemu.config import load
    from asyncemu.errors import AsyncemuError
    from asyncemu.loop import MainLoop
    from asyncemu.testing import memory_chardev  # noqa: F401  makes the back end known

    path, begin, end = arguments
    try:
        config = load(Path(path), [])
        result = MainLoop.run(lambda context: _probe(context, config.make_machine(context), begin, end))
    except (AsyncemuError, BenchmarkError) as error:
        print(error)
        return 2
    print(json.dumps(result))
    return 0


async def _probe(context: AioContext, machine: Machine, begin: str, end: str) -> dict[str, Any]:
    try:
        await machine.build()
        machine.start()
        gc.freeze()  # as `asyncemu run` does: no collection goes through what stays
        await _until_printed(machine, begin)
        late: list[int] = []
        clock = machine.clocks.realtime
        deadline = clock.now()

        def due() -> None:
            nonlocal deadline
            late.append(clock.now() - deadline)
            deadline += PERIOD
            timer.mod(deadline)

        timer = context.timer(clock, due)
        timer.mod(deadline)
        if end:
            await _until_printed(machine, end)
        else:
            await asyncio.sleep(IDLE)
        timer.cancel()
        return {"late_ns": late, "console": _tail(machine)}
    finally:
        await machine.close()


async def _until_printed(machine: Machine, text: str) -> None:
    console: Any = machine.chardevs["console"]
    while text.encode() not in console.sent:
        if machine.exited.done():
            raise BenchmarkError(f"the guest ended before it printed {text!r}: {_tail(machine) or 'it said nothing'}")
        await asyncio.sleep(0.02)


def _tail(machine: Machine) -> str:
    console: Any = machine.chardevs["console"]
    said: bytes = console.sent[-300:]
    return said.decode(errors="replace").strip()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
