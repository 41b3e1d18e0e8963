# SPDX-License-Identifier: GPL-2.0-or-later
"""event_model: bottom halves, coroutines, timers, descriptors, and a machine with two IOThreads.

The peers are what would stand in their places: uvloop's and asyncio's bare loops, asyncio's Task and Lock, and QEMU's
coroutines as its own test-coroutine times them; a row's name says who it is, behind the slash. Everything is measured
in one run, in rounds in which each side has its turn; a round's figure is the median, or the p99, of its batches.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Final, TypeVar

from asyncemu.loop.markers import DEBUG
from benchmarks import coroutine_timing, loop_rows, qemu_unit_tests, timer_timing, two_iothreads
from benchmarks.benchmark import Benchmark, Outcome
from benchmarks.errors import BenchmarkError
from benchmarks.goal import Measurement
from benchmarks.loop_timing import allow_descriptors
from benchmarks.qemu_unit_tests import RECORDED, CoroutineFigures
from benchmarks.rows import measurements
from benchmarks.two_iothreads import Files, ProbedMachine

RoundT = TypeVar("RoundT")

#: A round of machines takes half a minute, and its p99 is over 5,000 samples: not more than this many.
MACHINE_RUNS: Final = 3


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much a round does."""

    #: Batches of each timing.
    batches: int = 300
    #: Timers of each delay, one after the other.
    timers: int = 300
    #: Few and many armed timers.
    few_timers: int = 100
    many_timers: int = 100_000
    #: Idle descriptors, rising; the first is what the others are compared with.
    idle_fds: tuple[int, ...] = (10, 600, 10_000)


def run(runs: int, note: Callable[[str], None]) -> Outcome:
    """See the module's head."""
    from guests.errors import FetchError
    from guests.fetch import cache_root, ensure

    try:
        guest = ensure()
    except FetchError as error:
        raise BenchmarkError(str(error)) from error
    qemu, version, remarks = _qemu(note)
    loops, loop_remarks = measure_loops(runs, note, qemu, Sizes())
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=cache_root()) as directory:
        machine = ProbedMachine(Files(guest.image, guest.initrd, guest.disk), Path(directory))
        machine_runs = min(runs, MACHINE_RUNS)
        machines = _rounds(machine_runs, note, "a machine with two IOThreads", lambda: two_iothreads.measure(machine))
    return Outcome(
        f"uvloop {version_of('uvloop')}, asyncio of Python {platform.python_version()}, {version}",
        (*loops, *measurements(machines, two_iothreads.ROWS)),
        (*remarks, *loop_remarks),
    )


def _qemu(note: Callable[[str], None]) -> tuple[Callable[[], CoroutineFigures], str, list[str]]:
    """Who gives QEMU's figures, his version, and what is to be said of them."""
    try:
        tests = qemu_unit_tests.ensure(note)
    except BenchmarkError as error:
        return lambda: RECORDED, "QEMU 7.2.22 (recorded)", [f"QEMU's figures are those of another day: {error}"]
    return lambda: qemu_unit_tests.measure(tests.coroutine), f"QEMU {tests.version}", []


def measure_loops(
    runs: int, note: Callable[[str], None], qemu: Callable[[], CoroutineFigures], sizes: Sizes
) -> tuple[list[Measurement], list[str]]:
    """All that needs no guest; and what is to be said of it."""

    def rounds(what: str, measure: Callable[[], RoundT]) -> list[RoundT]:
        return _rounds(runs, note, what, measure)

    batches, few, many = sizes.batches, sizes.few_timers, sizes.many_timers
    idle_fds = [count for count in sizes.idle_fds if allow_descriptors(count)]
    home = rounds("bottom halves from home", lambda: loop_rows.measure_home(batches))
    crossing = rounds("bottom halves from another thread", lambda: loop_rows.measure_crossing(batches))
    coroutines = rounds("coroutines", lambda: coroutine_timing.measure(batches, qemu))
    errors = rounds("timers", lambda: timer_timing.measure_errors(sizes.timers))
    costs = rounds("many timers", lambda: timer_timing.measure_costs(few, many))
    fds = rounds("descriptors", lambda: loop_rows.measure_fds(batches, idle_fds))
    remarks = [
        f"{count} idle fds: the limit of open files does not allow them" for count in sizes.idle_fds[len(idle_fds) :]
    ]
    if DEBUG:
        remarks.append("ASYNCEMU_DEBUG is set: every call of ours is checked, so ours are slower than they are")
    return [
        *measurements(home, loop_rows.HOME_ROWS),
        *measurements(crossing, loop_rows.CROSSING_ROWS),
        *measurements(coroutines, coroutine_timing.ROWS),
        *timer_timing.error_measurements(errors),
        *measurements(costs, timer_timing.cost_rows(few, many)),
        *loop_rows.fd_measurements(fds, idle_fds),
    ], remarks


def _rounds(runs: int, note: Callable[[str], None], what: str, measure: Callable[[], RoundT]) -> list[RoundT]:
    note(f"{runs} rounds of {what}")
    return [measure() for _ in range(runs)]


BENCHMARK: Final = Benchmark(
    "event_model", "bottom halves, coroutines, timers and IOThreads, against bare loops and QEMU's coroutines", run
)
