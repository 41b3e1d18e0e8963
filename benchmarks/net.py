# SPDX-License-Identifier: GPL-2.0-or-later
"""net: Debian's guest on our user network beside the same guest on QEMU's (libslirp), in turns.

A pair is two boots. Each runs guests/netbench in all its modes against one server on the host's loopback.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asyncemu.loop.markers import DEBUG
from benchmarks.benchmark import Benchmark, Outcome, interleave
from benchmarks.emulators import Asyncemu, Emulator, Guest, Qemu
from benchmarks.errors import BenchmarkError
from benchmarks.goal import Goal, Measurement, compare
from benchmarks.net_server import NetServer
from benchmarks.process import GuestProcess

#: Bytes, round trips or connections of each mode of netbench: about a second each.
COUNTS: Final[Mapping[str, int]] = {
    "tcp-send": 200_000_000,
    "tcp-receive": 200_000_000,
    "tcp-rr": 3000,
    "udp-rr": 3000,
    "connect": 1500,
    "concurrent": 1000,
}
#: For one boot: seconds.
TIMEOUT: Final = 180.0
_MEGABYTE: Final = 1_000_000
_RESULT: Final = re.compile(r"netbench: ([a-z-]+) count=(\d+) failed=(\d+) total_ns=(\d+) median_ns=(\d+) p99_ns=(\d+)")


@dataclass(frozen=True, slots=True)
class Result:
    """Of one mode: what was done, how much of it went wrong, and times in ns."""

    count: int
    failed: int
    total: int
    median: int
    p99: int


Results = Mapping[str, Result]


def parse_netbench(output: str) -> dict[str, Result]:
    """The results among a guest's output, by mode. BenchmarkError unless all of COUNTS are there."""
    results = {found[1]: Result(*map(int, found.groups()[1:])) for found in _RESULT.finditer(output)}
    for mode, count in COUNTS.items():
        if mode not in results or results[mode].count != count:
            reason = re.search(r"(?:netbench|FAILED): (?!\S+ count=)(.*)", output)
            raise BenchmarkError(f"netbench gave no result of {mode}: {reason[1].strip() if reason else 'no reason'}")
    return results


class Network:
    """Boots of a guest that measures its network. ``disk`` is not written to."""

    def __init__(self, kernel: Path, initrd: Path, disk: Path, port: int) -> None:
        runs = ",".join(f"{mode}:{count}" for mode, count in COUNTS.items())
        command_line = f"console=ttyS0 quiet session=netbench net=dhcp server=10.0.2.2:{port} runs={runs}"
        self._guest = Guest(kernel, initrd, disk, command_line, network=True)

    def measure(self, emulator: Emulator) -> Results:
        """All modes, once."""
        with GuestProcess(emulator.command(self._guest), emulator.directory) as process:
            process.wait_for_exit(TIMEOUT)
            return parse_netbench(process.output)


def run(runs: int, note: Callable[[str], None]) -> Outcome:
    """See the module's head."""
    from guests.errors import FetchError
    from guests.fetch import cache_root, ensure

    try:
        files = ensure()
    except FetchError as error:
        raise BenchmarkError(str(error)) from error
    if DEBUG:
        note("ASYNCEMU_DEBUG is on: our side is slower than it is for users")
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=cache_root()) as directory, NetServer() as server:
        scratch = Path(directory)
        us, qemu = Asyncemu(scratch), Qemu(scratch)
        network = Network(files.image, files.initrd, files.disk, server.port)
        note(f"{runs} pairs of boots")
        ours, theirs = interleave(runs, lambda: network.measure(us), lambda: network.measure(qemu))
        return Outcome(qemu.version(), measurements(ours, theirs))


def measurements(ours: list[Results], theirs: list[Results]) -> tuple[Measurement, ...]:
    """A goal of 0.7 of the peer's connections a second is 1.43 of its time; of its throughput likewise."""

    def row(name: str, unit: str, mode: str, value: Callable[[Result], float], goal: Goal | None = None) -> Measurement:
        return compare(name, unit, ours, theirs, lambda results: value(results[mode]), goal)

    return (
        row("TCP to the host", "ms/MB", "tcp-send", _ms_per_megabyte, Goal(1.0)),
        row("TCP to the guest", "ms/MB", "tcp-receive", _ms_per_megabyte, Goal(1.0)),
        row("TCP round trip, median", "us", "tcp-rr", _median_us, Goal(1.0)),
        row("TCP round trip, p99", "us", "tcp-rr", _p99_us),
        row("UDP round trip, median", "us", "udp-rr", _median_us, Goal(1.0)),
        row("UDP round trip, p99", "us", "udp-rr", _p99_us),
        row("UDP round trips lost", "", "udp-rr", _failed),
        row("a connection, one by one", "us", "connect", _mean_us, Goal(1 / 0.7)),
        row("connections lost, one by one", "", "connect", _failed, Goal(0, absolute=True)),
        row("1,000 connections, 3 messages", "ms", "concurrent", lambda result: result.total / 1e6),
        row("connections lost of 1,000", "", "concurrent", _failed, Goal(0, absolute=True)),
    )


def _ms_per_megabyte(result: Result) -> float:
    return result.total / 1e6 / (result.count / _MEGABYTE)


def _median_us(result: Result) -> float:
    return result.median / 1000


def _p99_us(result: Result) -> float:
    return result.p99 / 1000


def _mean_us(result: Result) -> float:
    return result.total / result.count / 1000


def _failed(result: Result) -> float:
    return result.failed


BENCHMARK: Final = Benchmark("net", "a guest's user network, against QEMU's with libslirp", run)
