# SPDX-License-Identifier: GPL-2.0-or-later
"""The event_model benchmark: its parts with next to no repetitions, and what it makes of them. No time is judged."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import event_model, loop_timing, qemu_unit_tests, timer_timing, two_iothreads
from benchmarks.errors import BenchmarkError
from benchmarks.event_model import Sizes
from benchmarks.goal import Goal, Measurement
from benchmarks.loop_rows import FdRound, fd_measurements
from benchmarks.qemu_unit_tests import RECORDED, UnitTests
from benchmarks.rows import Row, measurements
from benchmarks.timing import Timing, percentile
from benchmarks.two_iothreads import Lateness, MachineRound
from guests import fetch
from guests.errors import FetchError

TINY = Sizes(batches=2, timers=2, few_timers=2, many_timers=4, idle_fds=(1, 2, 3, 1000))


def silent(line: str) -> None:
    """Takes what a benchmark notes."""


@pytest.fixture(scope="module")
def measured() -> tuple[list[Measurement], list[str]]:
    """Everything without a guest, measured twice, where 1000 idle descriptors are not allowed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_model, "allow_descriptors", lambda count: count < 1000)
        return event_model.measure_loops(2, silent, lambda: RECORDED, TINY)


@pytest.fixture
def loops(measured: tuple[list[Measurement], list[str]]) -> dict[str, Measurement]:
    """The measurements by name."""
    return {measurement.name: measurement for measurement in measured[0]}


@pytest.mark.slow
def test_loops_have_two_samples_of_each(loops: dict[str, Measurement]) -> None:
    assert {len(each.ours) for each in loops.values()} == {2}


def test_loops_names_are_unique(measured: tuple[list[Measurement], list[str]], loops: dict[str, Measurement]) -> None:
    assert len(loops) == len(measured[0])


def test_loops_times_are_positive(loops: dict[str, Measurement]) -> None:
    times = [value for each in loops.values() if each.unit == "us" for value in (*each.ours, *(each.peer or ()))]
    assert min(times) > 0


def test_loops_have_a_row_for_each_goal_of_the_issue(loops: dict[str, Measurement]) -> None:
    goals = {each.name.partition(" / ")[0]: each.goal for each in loops.values() if each.goal is not None}
    assert goals["BH schedule->run, batch of 64"] == Goal(1.2)
    assert goals["coroutine create+enter+finish"] == Goal(0.35, absolute=True)
    assert goals["coroutine enter+yield, there and back"] == Goal(0.25, absolute=True)
    assert goals["CoMutex lock+unlock, uncontended"] == Goal(0.2, absolute=True)
    assert goals["cross-thread BH, loop asleep"] == Goal(1.2)
    assert goals["timer of 50 us, error p99"] == goals["timer of 5000 us, error p99"] == Goal(150, absolute=True)
    assert goals["run one of 4 timers"] == Goal(2.0)
    assert goals["event among 3 idle fds"] == Goal(1.2)


def test_loops_batch_has_an_absolute_goal_too(loops: dict[str, Measurement]) -> None:
    assert loops["BH schedule->run, batch of 64"].goal == Goal(0.5, absolute=True)


def test_loops_show_qemu_beside_coroutines(loops: dict[str, Measurement]) -> None:
    assert loops["coroutine create+enter+finish / QEMU /perf/lifecycle"].peer == (RECORDED.lifecycle,) * 2
    assert loops["coroutine enter+yield, there and back / QEMU /perf/yield"].peer == (RECORDED.yield_cycle,) * 2


def test_loops_our_timers_are_never_early(loops: dict[str, Measurement]) -> None:
    assert loops["timers called early / uvloop call_later"].ours == (0, 0)


def test_loops_awake_loop_is_not_woken(loops: dict[str, Measurement]) -> None:
    assert loops["eventfd writes for a cross-thread batch of 64, loop awake"].ours == (0, 0)


def test_loops_leave_out_more_idle_fds_than_the_limit_allows(loops: dict[str, Measurement]) -> None:
    assert [name for name in loops if "idle fds / among" in name] == [
        "event among 2 idle fds / among 1",
        "event among 3 idle fds / among 1",
    ]


def test_loops_remark_on_what_is_left_out_and_on_debug_runs(measured: tuple[list[Measurement], list[str]]) -> None:
    assert measured[1] == [
        "1000 idle fds: the limit of open files does not allow them",
        "ASYNCEMU_DEBUG is set: every call of ours is checked, so ours are slower than they are",
    ]


# ---- the parts


@pytest.mark.parametrize("side", [loop_timing.OURS, loop_timing.UVLOOP, loop_timing.ASYNCIO])
def test_fd_events_leaves_no_descriptor(side: loop_timing.Side) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    loop_timing.fd_events(side, 1, 5)
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_from_asleep_counts_the_wakeups() -> None:
    assert loop_timing.from_asleep(loop_timing.OURS, 1, 1).wakeups == 1


def test_from_asleep_of_a_bare_loop_counts_none() -> None:
    assert loop_timing.from_asleep(loop_timing.UVLOOP, 1, 1).wakeups == 0


def test_timer_errors_both_ways_count_alike_and_early_ones_are_counted() -> None:
    errors = timer_timing.TimerErrors((-5.0, 1.0, -2.0, 3.0))
    assert (errors.median, errors.p99, errors.early) == (3.0, 5.0, 2)


@pytest.mark.parametrize(("part", "expected"), [(0.0, 1), (0.5, 6), (0.99, 10), (1.0, 10)])
def test_percentile_is_the_nearest_rank(part: float, expected: int) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], part) == expected


def test_percentile_of_no_sample_raises_value_error() -> None:
    with pytest.raises(ValueError, match="no sample"):
        percentile([], 0.5)


def test_timing_is_in_microseconds_for_each_operation() -> None:
    assert Timing.of([64_000] * 9 + [128_000], 64) == Timing(1.0, 2.0)


def test_row_takes_attributes_of_rounds() -> None:
    rounds = [Timing(1.0, 2.0), Timing(3.0, 4.0)]
    rows = (Row("both", "median", "p99", Goal(1.0)), Row("ours", "p99", unit="ms"))
    assert measurements(rounds, rows) == [
        Measurement("both", "us", (1.0, 3.0), (2.0, 4.0), Goal(1.0)),
        Measurement("ours", "ms", (2.0, 4.0), None),
    ]


FD_ROUND = FdRound(ours=(2.0, 2.2), uvloop=1.0, asyncio=3.0)


def test_fd_measurements_compare_with_the_fewest() -> None:
    first = fd_measurements([FD_ROUND], [10, 600])[0]
    assert first == Measurement("event among 600 idle fds / among 10", "us", (2.2,), (2.0,), Goal(1.2))


def test_fd_measurements_show_how_qemu_grew() -> None:
    growth = fd_measurements([FD_ROUND], [10, 600])[1]
    assert growth.ours == pytest.approx((1.1,))
    assert growth.peer == pytest.approx((3.41,), abs=0.01)


def test_fd_measurements_with_one_number_compare_with_the_peers_only() -> None:
    made = fd_measurements([FdRound((2.0,), 1.0, 3.0)], [10])
    assert [each.name for each in made] == [
        "event among 10 idle fds / uvloop add_reader",
        "event among 10 idle fds / asyncio add_reader",
    ]


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The soft and the hard limit of open files, as allow_descriptors sees and sets them."""
    values = [1024, 4096]
    monkeypatch.setattr(resource, "getrlimit", lambda which: tuple(values))
    monkeypatch.setattr(resource, "setrlimit", lambda which, new: values.__setitem__(slice(None), new))
    yield values


@pytest.mark.parametrize(
    ("count", "allowed", "soft"), [(600, True, 1024), (2000, True, 2100), (3996, True, 4096), (4000, False, 1024)]
)
def test_allow_descriptors_raises_the_limit_within_the_hard_one(
    limits: list[int], count: int, allowed: bool, soft: int
) -> None:
    assert loop_timing.allow_descriptors(count) is allowed
    assert limits == [soft, 4096]


# ---- the whole


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """run() without its parts; the list is the runs that the loops were asked for."""
    runs: list[int] = []

    def loops(count: int, *others: object) -> tuple[list[Measurement], list[str]]:
        runs.append(count)
        return [Measurement("loop", "us", (1.0,), None)], ["said of loops"]

    late = Lateness(0.1, 1.0, 2.0)
    monkeypatch.setattr(fetch, "ensure", lambda: fetch.Guest(tmp_path))
    monkeypatch.setattr(fetch, "cache_root", lambda: tmp_path)
    monkeypatch.setattr(qemu_unit_tests, "ensure", lambda note: UnitTests(tmp_path, "7.2"))
    monkeypatch.setattr(event_model, "measure_loops", loops)
    monkeypatch.setattr(two_iothreads, "measure", lambda machine: MachineRound(late, late, late))
    return runs


def test_run_has_loops_then_machines(parts: list[int]) -> None:
    outcome = event_model.run(2, silent)
    assert parts == [2]
    assert outcome.measurements[:2] == (
        Measurement("loop", "us", (1.0,), None),
        Measurement(two_iothreads.ROWS[0].name, "ms", (1.0, 1.0), None, Goal(2.0, absolute=True)),
    )


def test_run_often_boots_machines_less_often(parts: list[int]) -> None:
    outcome = event_model.run(9, silent)
    assert parts == [9]
    assert len(outcome.measurements[-1].ours) == event_model.MACHINE_RUNS


def test_run_names_the_peers(parts: list[int]) -> None:
    outcome = event_model.run(1, silent)
    assert outcome.peer.startswith("uvloop ") and outcome.peer.endswith(", QEMU 7.2")
    assert outcome.remarks == ("said of loops",)


def test_run_without_qemu_uses_recorded_figures_and_says_so(parts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def ensure(note: Callable[[str], None]) -> UnitTests:
        raise BenchmarkError("QEMU's unit tests can't be built: no mirror")

    monkeypatch.setattr(qemu_unit_tests, "ensure", ensure)
    outcome = event_model.run(1, silent)
    assert outcome.peer.endswith("QEMU 7.2.22 (recorded)")
    assert outcome.remarks[0] == (
        "QEMU's figures are those of another day: QEMU's unit tests can't be built: no mirror"
    )


def test_run_without_a_guest_raises_benchmark_error(parts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def ensure() -> fetch.Guest:
        raise FetchError("no suite could be fetched")

    monkeypatch.setattr(fetch, "ensure", ensure)
    with pytest.raises(BenchmarkError, match="no suite could be fetched"):
        event_model.run(1, silent)
