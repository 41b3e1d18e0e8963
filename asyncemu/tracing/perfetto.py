# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings as Perfetto traces, which https://ui.perfetto.dev opens, also compressed.

What is in a file: a Trace message, a sequence of TracePackets. The first describes the process, then a packet describes
each thread's track (uuid, name, how many events were dropped), and behind it come the track's events by time:
SLICE_BEGIN with category and name, SLICE_END, INSTANT. Timestamps are ns of CLOCK_MONOTONIC. Names are written out
rather than interned: a span takes some 65 bytes instead of 42 (but 6.4 instead of 6.0 in a compressed file), and a
packet means the same wherever it stands.

Needs the package perfetto, which is imported when a file is written or read (0.1 s). Writing takes some 6 µs a span.
``perfetto_reader`` reads the files again.
"""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, cast

from asyncemu.errors import ConfigError, HostError
from asyncemu.tracing.nesting import nested
from asyncemu.tracing.recorder import INSTANT, Event, Track

#: A file whose name ends so is compressed with gzip.
COMPRESSED: Final = ".gz"

#: Bytes that go to the file, or through the compressor, at once (arbitrary).
_BUFFER: Final = 1 << 18

_PROCESS_UUID: Final = 1
_FIRST_THREAD_UUID: Final = 2
#: All packets come from one writer; trace_processor refuses events without this.
_SEQUENCE: Final = 1
#: TracePacket.SequenceFlags: the first packet of a sequence says that nothing before it is needed.
_STATE_CLEARED: Final = 1
#: What a track's description says, for people and for the reader.
DROPPED: Final = "{} older events dropped"
# TrackEvent.Type
SLICE_BEGIN, SLICE_END, INSTANT_EVENT = 1, 2, 3

#: Trace.packet, field 1, length-delimited: the byte before each packet's length.
PACKET_TAG: Final = 0x0A


def protos() -> Any:
    """The package's messages. Raises ConfigError if it is not there."""
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError as error:
        raise ConfigError(
            "trace", "the Python package perfetto is missing", "install asyncemu with its extra: asyncemu[trace]"
        ) from error
    return perfetto_trace_pb2


def create(path: Path) -> IO[bytes]:
    """Open ``path`` for ``write``. Raises ConfigError if it can't be written, or the package is missing."""
    protos()
    packing = path.name.endswith(COMPRESSED)
    try:
        file = gzip.open(path, "wb", compresslevel=6) if packing else path.open("wb")  # noqa: SIM115
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), reason(error), "give a trace the name of a file that can be written") from error
    return cast("IO[bytes]", file)


def write(stream: IO[bytes], tracks: Sequence[Track]) -> None:
    """Write the trace to ``stream``, and close it. Raises HostError if the host can't."""
    try:
        # Buffered: gzip takes as long for a packet as for a thousand.
        with stream, io.BufferedWriter(cast("io.RawIOBase", stream), _BUFFER) as buffered:
            for packet in _packets(tracks):
                buffered.write(_framed(packet))
    except OSError as error:
        raise HostError(getattr(stream, "name", "trace"), error.errno or 0, "write") from error


def _packets(tracks: Sequence[Track]) -> Iterator[Any]:
    """The packets of a file, in their order. Each is to be used before the next is asked for."""
    messages = protos()
    packet = messages.TracePacket(trusted_packet_sequence_id=_SEQUENCE, sequence_flags=_STATE_CLEARED)
    packet.track_descriptor.uuid = _PROCESS_UUID
    packet.track_descriptor.process.pid = os.getpid()
    packet.track_descriptor.process.process_name = "asyncemu"
    yield packet
    for uuid, track in enumerate(tracks, _FIRST_THREAD_UUID):
        packet = messages.TracePacket(trusted_packet_sequence_id=_SEQUENCE)
        descriptor = packet.track_descriptor
        descriptor.uuid = uuid
        descriptor.parent_uuid = _PROCESS_UUID
        descriptor.thread.pid = os.getpid()
        descriptor.thread.tid = track.thread_id
        descriptor.thread.thread_name = _encodable(track.name)
        if track.dropped:
            descriptor.description = DROPPED.format(track.dropped)
        yield packet
        # One packet for all events that differ in their time only: setting that is quick, making packets is not.
        packets: dict[tuple[int, str, str], Any] = {}
        for time, kind, category, name in _edges(track.events):
            packet = packets.get((kind, category, name))
            if packet is None:
                packet = messages.TracePacket(trusted_packet_sequence_id=_SEQUENCE)
                packet.track_event.type = kind
                packet.track_event.track_uuid = uuid
                if kind != SLICE_END:
                    packet.track_event.categories.append(_encodable(category))
                    packet.track_event.name = _encodable(name)
                packets[kind, category, name] = packet
            packet.timestamp = time
            yield packet


def _framed(packet: Any) -> bytes:
    """``packet`` as an element of Trace.packet: tag, length as a varint, contents."""
    contents: bytes = packet.SerializeToString()
    length = len(contents)
    frame = bytearray((PACKET_TAG,))
    while length > 0x7F:
        frame.append(length & 0x7F | 0x80)
        length >>= 7
    frame.append(length)
    return bytes(frame) + contents


def _edges(events: Sequence[Event]) -> Iterator[tuple[int, int, str, str]]:
    """Begins, ends and instants by time: when, which (TrackEvent.Type), category and name."""
    open_ends: list[int] = []
    for depth, (category, name, start, end) in nested(events):
        while len(open_ends) > depth:
            yield open_ends.pop(), SLICE_END, "", ""
        if end == INSTANT:
            yield start, INSTANT_EVENT, category, name
        else:
            open_ends.append(end)
            yield start, SLICE_BEGIN, category, name
    while open_ends:
        yield open_ends.pop(), SLICE_END, "", ""


def _encodable(text: str) -> str:
    """``text`` without lone surrogates, which names of files may hold and UTF-8 may not."""
    return text.encode(errors="backslashreplace").decode()


def reason(error: OSError | ValueError) -> str:
    """Why a file can't be opened, as the middle of a message."""
    return (getattr(error, "strerror", None) or str(error)).lower()
