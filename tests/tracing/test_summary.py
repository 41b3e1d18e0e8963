# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers of a trace: totals and self times, percentiles, shares, and who held a loop."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given

from asyncemu.tracing import Event, Track
from asyncemu.tracing.recorder import INSTANT
from asyncemu.tracing.summary import Group, Summary, TrackSummary, summarize
from tests.tracing.programs import tracks as any_tracks


def one(*events: Event, dropped: int = 0) -> TrackSummary:
    """The summary of one thread's events."""
    (track,) = summarize([Track("main", 1, events, dropped)], 0).tracks
    return track


def causes(summary: Summary) -> list[tuple[str, int, list[str]]]:
    return [(hold.track, hold.at_ns, [link.name for link in hold.blame.chain()]) for hold in summary.holds]


def test_group_counts_and_adds_up() -> None:
    (group,) = one(("bh", "x", 0, 10), ("bh", "x", 10, 40), ("bh", "x", 50, 70)).groups

    assert (group.category, group.name, group.count) == ("bh", "x", 3)
    assert (group.total_ns, group.self_ns, group.mean_ns, group.max_ns) == (60, 60, 20, 30)


def test_self_time_is_without_what_is_directly_within() -> None:
    groups = one(("coroutine", "c", 3, 4), ("coroutine", "b", 2, 6), ("bh", "a", 0, 10)).groups

    assert {group.name: (group.total_ns, group.self_ns) for group in groups} == {"a": (10, 6), "b": (4, 3), "c": (1, 1)}


def test_groups_are_ordered_by_self_time() -> None:
    groups = one(("bh", "b", 0, 5), ("bh", "a", 5, 10), ("bh", "c", 20, 30)).groups

    assert [group.name for group in groups] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("count", "percent", "expected"), [(1, 50, 1), (1, 99, 1), (2, 50, 1), (100, 50, 50), (100, 99, 99), (101, 99, 100)]
)
def test_percentile_is_the_nearest_rank(count: int, percent: int, expected: int) -> None:
    group = Group("bh", "x")
    group.durations.extend(range(1, count + 1))

    assert group.percentile(percent) == expected


def test_histogram_counts_by_powers_of_two() -> None:
    group = Group("bh", "x")
    group.durations.extend([0, 1, 2, 3, 4, 1023, 1024, (1 << 64) - 1])

    assert group.histogram() == Counter({0: 1, 1: 1, 2: 2, 3: 1, 10: 1, 11: 1, 64: 1})


def test_instants_are_counted_apart() -> None:
    track = one(("stall", "main", 1, INSTANT), ("stall", "main", 2, INSTANT), ("bh", "x", 0, 3))

    assert track.instants == Counter({("stall", "main"): 2})
    assert [group.name for group in track.groups] == ["x"]


# ---- threads


@pytest.mark.parametrize("category", ["bh", "handler", "timer", "doorbell", "posted", "poll"])
def test_thread_with_callbacks_is_a_loop(category: str) -> None:
    assert one((category, "x", 0, 1)).kind == "loop"


@pytest.mark.parametrize("category", ["guest", "halt", "fence", "mmio"])
def test_thread_with_a_guest_is_a_vcpu(category: str) -> None:
    assert one((category, "x", 0, 1)).kind == "vCPU"


@pytest.mark.parametrize("category", ["worker", "coroutine", "stall", "of a plug-in"])
def test_other_thread_is_of_no_kind(category: str) -> None:
    assert one((category, "x", 0, 1)).kind == ""


def test_threads_are_ordered_by_kind() -> None:
    threads = [Track(name, 1, ((name, "x", 0, 1),)) for name in ("worker", "guest", "bh", "halt", "timer")]

    assert [track.name for track in summarize(threads, 0).tracks] == ["bh", "timer", "guest", "halt", "worker"]


def test_busy_is_without_polling() -> None:
    track = one(("poll", "hit", 0, 4), ("handler", "x", 4, 6), ("bh", "y", 9, 10))

    assert (track.busy_ns, track.length_ns) == (3, 10)


def test_busy_vcpu_is_without_sleep_and_fences() -> None:
    track = one(("fence", "uart", 12, 14), ("mmio", "uart", 11, 15), ("guest", "run", 0, 20), ("halt", "wfi", 20, 50))

    assert track.categories == Counter({"guest": 16, "mmio": 2, "fence": 2, "halt": 30})
    assert (track.busy_ns, track.length_ns) == (18, 50)


def test_length_is_the_traces_for_a_thread_that_dropped_nothing() -> None:
    early = Track("early", 1, (("bh", "x", 100, 110),))
    late = Track("late", 2, (("bh", "x", 150, 200),))

    assert [track.length_ns for track in summarize([early, late], 0).tracks] == [100, 100]


def test_length_of_a_thread_that_dropped_some_begins_with_what_it_has() -> None:
    early = Track("early", 1, (("bh", "x", 100, 110),))
    late = Track("late", 2, (("bh", "x", 150, 200),), dropped=7)

    assert [track.length_ns for track in summarize([early, late], 0).tracks] == [100, 50]


@pytest.mark.parametrize("tracks", [[], [Track("main", 1, ())], [Track("main", 1, (), dropped=3)]])
def test_nothing_is_summarized_too(tracks: list[Track]) -> None:
    summary = summarize(tracks, 5)

    assert (summary.length_ns, summary.holds) == (0, [])
    assert [track.groups for track in summary.tracks] == [[] for _ in tracks]


# ---- who held a loop


def test_holds_are_the_longest_of_all_loops() -> None:
    one = Track("one", 1, (("bh", "a", 100, 110), ("bh", "b", 110, 140)))
    two = Track("two", 2, (("timer", "c", 200, 220), ("timer", "d", 220, 225)))

    assert causes(summarize([one, two], 3)) == [("one", 10, ["b"]), ("two", 100, ["c"]), ("one", 0, ["a"])]


def test_hold_names_what_took_at_least_half_down_to_the_innermost() -> None:
    events = (
        ("coroutine", "d", 30, 49),
        ("coroutine", "c", 20, 60),
        ("coroutine", "small", 61, 62),
        ("doorbell", "b", 15, 95),
        ("bh", "a", 0, 100),
    )

    assert causes(summarize([Track("main", 1, events)], 1)) == [("main", 0, ["a", "b", "c"])]


def test_hold_of_equal_lengths_is_the_earlier_one() -> None:
    events = (("bh", "a", 0, 10), ("bh", "b", 10, 20), ("bh", "c", 20, 30))

    assert causes(summarize([Track("main", 1, events)], 2)) == [("main", 0, ["a"]), ("main", 10, ["b"])]


def test_polling_holds_no_loop() -> None:
    events = (("poll", "miss", 0, 1000), ("bh", "a", 1000, 1001))

    assert causes(summarize([Track("main", 1, events)], 2)) == [("main", 1000, ["a"])]


@pytest.mark.parametrize("category", ["guest", "worker"])
def test_other_threads_hold_no_loop(category: str) -> None:
    assert summarize([Track("x", 1, ((category, "a", 0, 10), ("coroutine", "b", 10, 20)))], 2).holds == []


def test_many_spans_within_each_other_are_no_recursion() -> None:
    depth = 20_000
    events = tuple(("bh", "x", depth - level, depth + level) for level in range(1, depth))

    (hold,) = summarize([Track("main", 1, events)], 1).holds

    assert len(hold.blame.chain()) == depth - 1


@given(any_tracks)
def test_self_times_add_up_to_the_time_in_any_span(tracks: list[Track]) -> None:
    for track, found in zip(tracks, (summarize([track], 0).tracks[0] for track in tracks), strict=True):
        spans = sorted((start, end) for _, _, start, end in track.events if end != INSTANT)
        covered = now = 0
        for start, end in spans:
            covered += max(end - max(start, now), 0)
            now = max(now, end)
        assert sum(group.self_ns for group in found.groups) == covered == sum(found.categories.values())
        assert all(group.self_ns >= 0 for group in found.groups)
        assert sum(group.count for group in found.groups) + sum(found.instants.values()) == len(track.events)
