# SPDX-License-Identifier: GPL-2.0-or-later
"""Recording: rings of threads, their bounds and their names."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from time import monotonic_ns

import pytest

from asyncemu.tracing import Tracer, Track, tracer
from asyncemu.tracing.recorder import INSTANT
from asyncemu.tracing.recorder import tracer as same_tracer


@pytest.fixture
def recording() -> Tracer:
    """One that is on, with room for four events a thread."""
    tracer = Tracer()
    tracer.start(capacity=4)
    return tracer


def in_thread(function: Callable[[], object], name: str) -> None:
    """Run ``function`` in a thread that has ended when this returns."""
    thread = threading.Thread(target=function, name=name)
    thread.start()
    thread.join()


def names(track: Track) -> list[str]:
    return [event[1] for event in track.events]


def test_tracer_is_one_and_off() -> None:
    assert tracer is same_tracer
    assert not tracer.on


def test_on_is_a_plain_attribute() -> None:
    """The one attribute test that tracing costs when it is off: no property, no __getattr__."""
    assert type(Tracer.__dict__["on"]).__name__ == "member_descriptor"


def test_new_tracer_is_off_and_empty() -> None:
    tracer = Tracer()

    assert (tracer.on, tracer.tracks()) == (False, [])


def test_span_ends_now_in_the_calling_threads_track(recording: Tracer) -> None:
    start = monotonic_ns()
    recording.span("bh", "refill", start)
    end = monotonic_ns()

    (track,) = recording.tracks()
    ((category, name, began, ended),) = track.events
    assert (category, name, began) == ("bh", "refill", start)
    assert start <= ended <= end
    assert (track.name, track.thread_id, track.dropped) == ("MainThread", threading.get_native_id(), 0)


def test_instant_has_no_end(recording: Tracer) -> None:
    before = monotonic_ns()
    recording.instant("stall", "main")
    after = monotonic_ns()

    (track,) = recording.tracks()
    ((category, name, at, end),) = track.events
    assert (category, name, end) == ("stall", "main", INSTANT)
    assert before <= at <= after


def test_full_ring_drops_the_oldest_and_counts_them(recording: Tracer) -> None:
    for number in range(6):
        recording.instant("bh", str(number))

    (track,) = recording.tracks()
    assert (names(track), track.dropped) == (["2", "3", "4", "5"], 2)


def test_start_forgets_what_was_recorded(recording: Tracer) -> None:
    recording.instant("bh", "old")

    recording.start(capacity=4)
    recording.instant("bh", "new")

    assert [names(track) for track in recording.tracks()] == [["new"]]


@pytest.mark.parametrize("capacity", [0, -1])
def test_start_without_room_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"^a ring of {capacity} events holds nothing$"):
        Tracer().start(capacity)


def test_stop_keeps_what_was_recorded(recording: Tracer) -> None:
    recording.instant("bh", "kept")

    recording.stop()

    assert not recording.on
    assert [names(track) for track in recording.tracks()] == [["kept"]]


def test_on_set_by_hand_continues_the_recording(recording: Tracer) -> None:
    recording.instant("bh", "before")
    recording.on = False
    recording.on = True
    recording.instant("bh", "after")

    assert [names(track) for track in recording.tracks()] == [["before", "after"]]


# ---- threads


def test_threads_have_tracks_of_their_own(recording: Tracer) -> None:
    recording.instant("bh", "here")
    in_thread(lambda: recording.instant("worker", "there"), "worker-0")

    tracks = {track.name: names(track) for track in recording.tracks()}
    assert tracks == {"MainThread": ["here"], "worker-0": ["there"]}


def test_thread_is_named_before_its_first_event(recording: Tracer) -> None:
    def work() -> None:
        recording.name_thread("IO io0")
        recording.instant("bh", "x")

    in_thread(work, "Thread-1")

    assert [track.name for track in recording.tracks()] == ["IO io0"]


def test_thread_is_named_after_its_first_event(recording: Tracer) -> None:
    def work() -> None:
        recording.instant("bh", "x")
        recording.name_thread("IO io0")

    in_thread(work, "Thread-1")

    assert [track.name for track in recording.tracks()] == ["IO io0"]


def test_name_of_a_thread_outlives_the_recording(recording: Tracer) -> None:
    def work() -> None:
        recording.name_thread("IO io0")
        recording.start()
        recording.instant("bh", "x")

    in_thread(work, "Thread-1")

    assert [track.name for track in recording.tracks()] == ["IO io0"]


def test_thread_continues_the_track_of_an_ended_one_of_its_name(recording: Tracer) -> None:
    in_thread(lambda: recording.instant("worker", "first"), "worker-0")
    in_thread(lambda: recording.instant("worker", "second"), "worker-0")

    assert [names(track) for track in recording.tracks()] == [["first", "second"]]


def test_threads_of_one_name_that_live_together_have_two_tracks(recording: Tracer) -> None:
    def outer() -> None:
        recording.instant("worker", "first")
        in_thread(lambda: recording.instant("worker", "second"), "worker-0")

    in_thread(outer, "worker-0")

    assert [names(track) for track in recording.tracks()] == [["first"], ["second"]]


def test_threads_that_have_ended_make_room_for_others(recording: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    # By its name in sys.modules: what the package calls tracer is the object.
    monkeypatch.setattr(sys.modules["asyncemu.tracing.recorder"], "MAX_RINGS", 3)
    recording.instant("bh", "here")
    for number in range(4):
        in_thread(lambda: recording.instant("worker", "x"), f"Thread-{number}")

    assert [track.name for track in recording.tracks()] == ["MainThread", "Thread-2", "Thread-3"]


def test_tracks_while_threads_record_are_whole() -> None:
    recording = Tracer()
    recording.start(capacity=1000)
    stop = threading.Event()
    recorded = threading.Event()

    def record() -> None:
        number = 0
        while not stop.is_set():
            recording.instant("bh", str(number))
            number += 1
            recorded.set()

    thread = threading.Thread(target=record)
    thread.start()
    recorded.wait(10)
    snapshots = [recording.tracks()[0] for _ in range(100)]
    stop.set()
    thread.join()

    for track in snapshots:
        first = int(track.events[0][1])
        assert names(track) == [str(number) for number in range(first, first + len(track.events))]
        assert track.dropped <= first
