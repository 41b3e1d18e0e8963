# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing Perfetto traces: what the package perfetto, which is not ours, finds in the files."""

from __future__ import annotations

import gzip
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from asyncemu.errors import ConfigError, HostError
from asyncemu.tracing import Track, perfetto, perfetto_reader
from asyncemu.tracing.recorder import INSTANT, Event
from tests.tracing.programs import tracks as any_tracks


class Kept(BytesIO):
    """Keeps its contents when it is closed."""

    def close(self) -> None:
        if not self.closed:
            self.contents = self.getvalue()
        super().close()


def written(tracks: Sequence[Track]) -> bytes:
    stream = Kept()
    perfetto.write(stream, tracks)
    return stream.contents


def packets(tracks: Sequence[Track]) -> list[Any]:
    """The packets, as perfetto's own protos read them."""
    return list(perfetto.protos().Trace.FromString(written(tracks)).packet)


def test_first_packet_describes_the_process() -> None:
    first = packets([])[0]

    assert first.sequence_flags == perfetto.protos().TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    assert (first.track_descriptor.process.process_name, first.track_descriptor.process.pid) == (
        "asyncemu",
        os.getpid(),
    )


def test_each_thread_is_a_track_of_the_process() -> None:
    process, one, other = packets([Track("main", 7, ()), Track("CPU 0/TCG", 8, ())])

    described = [(each.track_descriptor.thread.thread_name, each.track_descriptor.thread.tid) for each in (one, other)]
    assert described == [("main", 7), ("CPU 0/TCG", 8)]
    assert {each.track_descriptor.thread.pid for each in (one, other)} == {os.getpid()}
    assert {each.track_descriptor.parent_uuid for each in (one, other)} == {process.track_descriptor.uuid}
    assert len({each.track_descriptor.uuid for each in (process, one, other)}) == 3


def test_dropped_events_are_told_in_the_tracks_description() -> None:
    _, full, lossy = packets([Track("full", 1, ()), Track("lossy", 2, (), dropped=12)])

    assert not full.track_descriptor.HasField("description")
    assert lossy.track_descriptor.description == "12 older events dropped"


def test_span_is_a_begin_and_an_end() -> None:
    types = perfetto.protos().TrackEvent

    _, thread, begin, end = packets([Track("main", 1, (("bh", "refill", 1000, 3000),))])

    assert (begin.timestamp, end.timestamp) == (1000, 3000)
    assert (begin.track_event.type, end.track_event.type) == (types.TYPE_SLICE_BEGIN, types.TYPE_SLICE_END)
    assert (begin.track_event.name, list(begin.track_event.categories)) == ("refill", ["bh"])
    assert {begin.track_event.track_uuid, end.track_event.track_uuid} == {thread.track_descriptor.uuid}


def test_instant_is_one_event() -> None:
    instant = packets([Track("main", 1, (("stall", "main: x", 1000, INSTANT),))])[2]

    assert (instant.timestamp, instant.track_event.name) == (1000, "main: x")
    assert instant.track_event.type == perfetto.protos().TrackEvent.TYPE_INSTANT


def test_name_that_is_no_unicode_is_escaped() -> None:
    _, thread, begin, _ = packets([Track("a\udcff", 1, (("b\udcff", "c\udcff", 1, 2),))])

    assert thread.track_descriptor.thread.thread_name == "a\\udcff"
    assert (begin.track_event.name, list(begin.track_event.categories)) == ("c\\udcff", ["b\\udcff"])


def test_long_names_are_framed_right() -> None:
    begin = packets([Track("main", 1, (("bh", "x" * 70_000, 1, 2),))])[2]

    assert begin.track_event.name == "x" * 70_000


@given(any_tracks)
def test_file_is_sound_for_whoever_reads_packets(tracks: list[Track]) -> None:
    """What Perfetto asks of a trace, by its own messages: known tracks, times that ascend, ends that match begins."""
    found: dict[int, list[Event]] = {}
    running: dict[int, list[tuple[str, str, int]]] = defaultdict(list)
    now: dict[int, int] = defaultdict(int)
    types = perfetto.protos().TrackEvent
    for packet in packets(tracks):
        assert packet.trusted_packet_sequence_id
        if packet.HasField("track_descriptor"):
            found[packet.track_descriptor.uuid] = []
            continue
        event, time = packet.track_event, packet.timestamp
        uuid = event.track_uuid
        assert time >= now[uuid]
        now[uuid] = time
        if event.type == types.TYPE_SLICE_BEGIN:
            running[uuid].append((event.categories[0], event.name, time))
        elif event.type == types.TYPE_SLICE_END:
            found[uuid].append((*running[uuid].pop(), time))
        else:
            found[uuid].append((event.categories[0], event.name, time, INSTANT))

    assert not any(running.values())
    assert [sorted(events) for events in list(found.values())[1:]] == [sorted(track.events) for track in tracks]


@given(any_tracks)
def test_what_is_written_is_read_back(tracks: list[Track]) -> None:
    read = perfetto_reader.parse(written(tracks), "trace")

    assert [(track.name, track.thread_id, track.dropped, sorted(track.events)) for track in read] == [
        (track.name, track.thread_id, track.dropped, sorted(track.events)) for track in tracks
    ]


# ---- files

SOME = [Track("main", 1, (("bh", "refill", 1000, 3000),))]


def test_file_that_ends_in_gz_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / "t.pftrace.gz"

    perfetto.write(perfetto.create(path), SOME)

    assert gzip.decompress(path.read_bytes()) == written(SOME)


def test_other_file_is_not_compressed(tmp_path: Path) -> None:
    path = tmp_path / "t.pftrace"

    perfetto.write(perfetto.create(path), SOME)

    assert path.read_bytes() == written(SOME)


@pytest.mark.parametrize("name", ["t.pftrace", "t.pftrace.gz"])
def test_create_where_nothing_can_be_is_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / name

    with pytest.raises(ConfigError) as raised:
        perfetto.create(path)

    assert str(raised.value) == (
        f"{path}: no such file or directory; give a trace the name of a file that can be written"
    )


def test_create_with_a_nul_is_one_line() -> None:
    with pytest.raises(ConfigError) as raised:
        perfetto.create(Path("a\0b"))

    assert str(raised.value) == "a\0b: embedded null byte; give a trace the name of a file that can be written"


@pytest.mark.parametrize("name", ["full", "full.gz"])
def test_write_to_a_full_disk_is_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.symlink_to("/dev/full")

    with pytest.raises(HostError) as raised:
        perfetto.write(perfetto.create(path), SOME)

    assert str(raised.value) == f"{path}: write: No space left on device"


def test_create_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    monkeypatch.setitem(sys.modules, "perfetto.protos.perfetto.trace.perfetto_trace_pb2", None)

    with pytest.raises(ConfigError) as raised:
        perfetto.create(tmp_path / "t.pftrace")

    assert str(raised.value) == (
        "trace: the Python package perfetto is missing; install asyncemu with its extra: asyncemu[trace]"
    )
    assert list(tmp_path.iterdir()) == []
