# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockStatistics and LatencyHistogram."""

from __future__ import annotations

import pytest

from asyncemu.block import statistics as module
from asyncemu.block.statistics import FLUSH, READ, UNMAP, WRITE, BlockStatistics, LatencyHistogram


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The monotonic clock: its only element, ns."""
    clock = [1000]
    monkeypatch.setattr(module, "monotonic_ns", lambda: clock[0])
    return clock


def test_done_counts_bytes_and_time(now: list[int]) -> None:
    statistics = BlockStatistics()
    statistics.done(WRITE, 4096, 400)
    statistics.done(WRITE, 512, 900)
    assert (statistics.operations[WRITE], statistics.bytes[WRITE]) == (2, 4608)
    assert (statistics.total_time_ns[WRITE], statistics.last_access_ns) == (700, 1000)
    assert statistics.operations[READ] == 0


def test_failed_counts_and_is_an_access(now: list[int]) -> None:
    statistics = BlockStatistics()
    now[0] = 5000
    statistics.failed(READ)
    assert (statistics.failed_operations[READ], statistics.operations[READ]) == (1, 0)
    assert statistics.last_access_ns == 5000


@pytest.mark.parametrize(
    ("what", "kind"), [("read", READ), ("write", WRITE), ("write zeroes", WRITE), ("flush", FLUSH), ("discard", UNMAP)]
)
def test_refused_counts_by_kind(what: str, kind: int) -> None:
    statistics = BlockStatistics()
    statistics.refused(what)
    assert [index for index, count in enumerate(statistics.invalid_operations) if count] == [kind]


def test_refused_of_what_is_not_counted_is_nothing() -> None:
    statistics = BlockStatistics()
    statistics.refused("truncate")
    assert not any(statistics.invalid_operations)


def test_as_qmp_has_qemus_names(now: list[int]) -> None:
    statistics = BlockStatistics()
    statistics.done(READ, 512, 0)
    statistics.done(FLUSH, 0, 990)
    statistics.failed(UNMAP)
    found = statistics.as_qmp()
    assert (found["rd_bytes"], found["rd_operations"], found["rd_total_time_ns"]) == (512, 1, 1000)
    assert (found["flush_operations"], found["flush_total_time_ns"], found["failed_unmap_operations"]) == (1, 10, 1)
    assert sorted(found) == sorted(
        [
            f"{kind}_{what}"
            for kind in ("rd", "wr", "unmap")
            for what in ("bytes", "merged", "operations", "total_time_ns")
        ]
        + ["account_failed", "account_invalid", "idle_time_ns", "timed_stats", "wr_highest_offset"]
        + ["flush_operations", "flush_total_time_ns"]
        + [f"{how}_{kind}_operations" for how in ("failed", "invalid") for kind in ("rd", "wr", "flush", "unmap")]
    )


def test_histogram_bins_are_below_each_boundary_and_above_all() -> None:
    """QMP: [0, 10), [10, 50), [50, 100), [100, ...)."""
    histogram = LatencyHistogram([10, 50, 100])
    for latency in (0, 9, 10, 49, 50, 99, 100, 1 << 40):
        histogram.account(latency)
    assert histogram.bins == [2, 2, 2, 2]


def test_histogram_of_one_kind_counts_that_kind(now: list[int]) -> None:
    statistics = BlockStatistics()
    histogram = statistics.histograms[READ] = LatencyHistogram([100])
    statistics.done(READ, 1, 950)
    statistics.done(READ, 1, 0)
    statistics.done(WRITE, 1, 0)
    assert histogram.bins == [1, 1]


@pytest.mark.parametrize("boundaries", [[], [0], [-1, 5], [5, 5], [5, 4]])
def test_histogram_boundaries_that_do_not_increase_raise(boundaries: list[int]) -> None:
    with pytest.raises(ValueError, match="boundaries must be positive and increase"):
        LatencyHistogram(boundaries)
