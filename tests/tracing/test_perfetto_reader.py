# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading traces: damaged, foreign and hostile files end with one line that names the file and the byte."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.errors import ConfigError, ProtocolError
from asyncemu.tracing import Track, perfetto, perfetto_reader
from asyncemu.tracing.recorder import INSTANT

MESSAGES = perfetto.protos()
TYPES = MESSAGES.TrackEvent
REMEDY = "give a trace that asyncemu run --trace wrote"


def trace(*packets: Any) -> bytes:
    """A file of these packets, made by perfetto's own messages."""
    data: bytes = MESSAGES.Trace(packet=packets).SerializeToString()
    return data


def thread(uuid: int = 2, **descriptor: Any) -> Any:
    return MESSAGES.TracePacket(
        track_descriptor=MESSAGES.TrackDescriptor(
            uuid=uuid, thread=MESSAGES.ThreadDescriptor(tid=7, thread_name="main"), **descriptor
        )
    )


def event(kind: int, timestamp: int, uuid: int = 2, **fields: Any) -> Any:
    return MESSAGES.TracePacket(
        timestamp=timestamp, track_event=MESSAGES.TrackEvent(type=kind, track_uuid=uuid, **fields)
    )


def begin(timestamp: int, name: str = "x") -> Any:
    return event(TYPES.TYPE_SLICE_BEGIN, timestamp, name=name, categories=["bh"])


def end(timestamp: int) -> Any:
    return event(TYPES.TYPE_SLICE_END, timestamp)


WHOLE = trace(thread(), begin(1, "a"), begin(2, "b"), end(3), end(4))
#: Where its packets begin.
AT = [len(trace(thread(), *rest)) for rest in ([], [begin(1)], [begin(1), begin(2)])]


def test_read_traces_of_asyncemu(tmp_path: Path) -> None:
    tracks = [Track("main", 7, (("bh", "b", 2, 3), ("bh", "a", 1, 4), ("stall", "x", 9, INSTANT)), dropped=5)]
    plain, packed = tmp_path / "t.pftrace", tmp_path / "t.pftrace.gz"
    perfetto.write(perfetto.create(plain), tracks)
    perfetto.write(perfetto.create(packed), tracks)

    assert perfetto_reader.read(plain) == perfetto_reader.read(packed) == tracks


def test_read_packed_is_known_by_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "renamed"
    path.write_bytes(gzip.compress(WHOLE))

    assert perfetto_reader.read(path)[0].events == (("bh", "b", 2, 3), ("bh", "a", 1, 4))


def test_packets_of_other_kinds_are_passed_over() -> None:
    other = MESSAGES.TracePacket(clock_snapshot=MESSAGES.ClockSnapshot())

    assert perfetto_reader.parse(trace(other, thread(), other), "t") == [Track("main", 7, ())]


def test_description_of_somebody_else_is_no_count() -> None:
    assert perfetto_reader.parse(trace(thread(description="many dropped")), "t")[0].dropped == 0


def test_event_without_category_has_an_empty_one() -> None:
    instant = event(TYPES.TYPE_INSTANT, 1, name="x")

    assert perfetto_reader.parse(trace(thread(), instant), "t")[0].events == (("", "x", 1, INSTANT),)


def test_names_that_are_no_utf8_are_shown_with_marks() -> None:
    data = trace(thread(), begin(1, "zzz"), end(2)).replace(b"zzz", b"z\xff\xfe").replace(b"main", b"ma\xffn")

    (track,) = perfetto_reader.parse(data, "t")

    assert (track.name, track.events[0][1]) == ("ma\ufffdn", "z\ufffd\ufffd")


DAMAGED: dict[str, tuple[bytes, str]] = {
    "text": (b"[machine]", "byte 0: no packet of a Perfetto trace begins here"),
    "more behind the end": (
        WHOLE + b"\x00",
        f"byte {len(WHOLE)}: no packet of a Perfetto trace begins here",
    ),
    "no length": (WHOLE + b"\x0a", f"byte {len(WHOLE)}: the file ends within a packet"),
    "half a length": (WHOLE + b"\x0a\x80", f"byte {len(WHOLE)}: the file ends within a packet"),
    "length without end": (
        WHOLE + b"\x0a" + b"\x80" * 20,
        f"byte {len(WHOLE)}: the file ends within a packet",
    ),
    "length beyond the end": (WHOLE[:-1], f"byte {len(WHOLE) - len(trace(end(4)))}: the file ends within a packet"),
    "packet of noise": (WHOLE + b"\x0a\x03\xff\xff\xff", f"byte {len(WHOLE)}: damaged packet"),
    "slice without end": (
        trace(thread(), begin(1), begin(2)),
        f"byte {AT[1]}: this slice has no end; the file is not complete",
    ),
    "nothing": (b"", "byte 0: the trace has no threads; was it written by asyncemu?"),
    "no thread": (trace(MESSAGES.TracePacket()), "byte 2: the trace has no threads; was it written by asyncemu?"),
    "unknown thread": (
        trace(thread(), event(TYPES.TYPE_SLICE_END, 1, uuid=3)),
        f"byte {AT[0]}: this event is of no thread described before it; was the trace written by asyncemu?",
    ),
    "thread described too late": (
        trace(begin(1), thread()),
        "byte 0: this event is of no thread described before it; was the trace written by asyncemu?",
    ),
    "back in time": (
        trace(thread(), begin(9), end(4)),
        f"byte {AT[1]}: this event is 5 ns earlier than the one before it",
    ),
    "end without begin": (trace(thread(), end(4)), f"byte {AT[0]}: this slice ends without having begun"),
    "interned name": (
        trace(thread(), event(TYPES.TYPE_SLICE_BEGIN, 1, name_iid=3)),
        f"byte {AT[0]}: this event has no name, or is of no kind that asyncemu writes",
    ),
    "counter": (
        trace(thread(), event(TYPES.TYPE_COUNTER, 1, name="x", counter_value=3)),
        f"byte {AT[0]}: this event has no name, or is of no kind that asyncemu writes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_file_is_one_line(case: str) -> None:
    data, message = DAMAGED[case]

    with pytest.raises(ProtocolError) as raised:
        perfetto_reader.parse(data, "t.pftrace")

    assert str(raised.value) == f"t.pftrace, {message}"


def test_too_many_packets_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perfetto_reader, "MAX_PACKETS", 2)

    with pytest.raises(ProtocolError) as raised:
        perfetto_reader.parse(WHOLE, "t")

    assert str(raised.value) == f"t, byte {AT[1]}: the trace has more than 2 packets"


def test_too_many_threads_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perfetto_reader, "MAX_TRACKS", 1)

    with pytest.raises(ProtocolError) as raised:
        perfetto_reader.parse(trace(thread(2), thread(3)), "t")

    assert str(raised.value) == f"t, byte {AT[0]}: the trace has more than 1 threads"


def outcome(data: bytes) -> str:
    """How reading ends; anything but a result or a ProtocolError of one line is raised."""
    try:
        perfetto_reader.parse(data, "t")
    except ProtocolError as error:
        assert str(error).startswith("t, byte ")
        assert "\n" not in str(error)
        return "refused"
    return "read"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert outcome(data) in ("read", "refused")


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_any_packets_are_read_or_refused(packets: list[bytes]) -> None:
    data = b"".join(b"\x0a" + bytes((len(packet),)) + packet for packet in packets)

    assert outcome(data) in ("read", "refused")


@given(st.data())
def test_any_change_of_a_trace_is_read_or_refused(data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(WHOLE) - 1))
    changed = bytearray(WHOLE)
    changed[position] = data.draw(st.integers(0, 255))

    assert outcome(bytes(changed)) in ("read", "refused")


def test_every_truncation_but_after_the_description_is_refused() -> None:
    assert [size for size in range(len(WHOLE)) if outcome(WHOLE[:size]) == "read"] == [AT[0]]


# ---- files


def problem(path: Path) -> str:
    with pytest.raises((ConfigError, ProtocolError)) as raised:
        perfetto_reader.read(path)
    return str(raised.value)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "nope"

    assert problem(path) == f"{path}: no such file or directory; {REMEDY}"


def test_directory_is_one_line(tmp_path: Path) -> None:
    assert problem(tmp_path) == f"{tmp_path}: is a directory; {REMEDY}"


def test_name_with_a_nul_is_one_line() -> None:
    assert problem(Path("a\0b")) == f"a\0b: embedded null byte; {REMEDY}"


def test_truncated_gzip_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.gz"
    path.write_bytes(gzip.compress(WHOLE)[:-9])

    size = path.stat().st_size
    assert problem(path) == f"{path}, byte {size}: the compressed data end too early"


def flip(data: bytes, position: int) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 0xFF
    return bytes(changed)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda packed: flip(packed, -5), "CRC check failed"),
        (lambda packed: flip(packed, 2), "Unknown compression method"),
        (lambda packed: flip(packed, 10), "Error -3 while decompressing data: invalid"),
    ],
)
def test_damaged_gzip_is_one_line(damage: Callable[[bytes], bytes], what: str, tmp_path: Path) -> None:
    path = tmp_path / "t.gz"
    packed = gzip.compress(WHOLE)
    path.write_bytes(damage(packed))

    line = problem(path)

    assert line.startswith(f"{path}, byte ")
    assert f": the compressed data before this are damaged: {what}" in line


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_huge_file_is_one_line(pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(perfetto_reader, "MAX_SIZE", 1 << 20)
    path = tmp_path / "t"
    path.write_bytes(pack(bytes((1 << 20) + 1)))

    assert problem(path) == f"{path}: holds more than 1 MiB; {REMEDY}"


def test_gzip_bomb_is_stopped_at_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(perfetto_reader, "MAX_SIZE", 1 << 20)
    path = tmp_path / "t"
    path.write_bytes(gzip.compress(bytes(16 << 20), 1))
    tracemalloc.start()

    problem(path)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
