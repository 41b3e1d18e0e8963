# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the traces that ``perfetto`` writes. Any file may be given.

What is read is bounded, and what is not as expected is an error that names the file and the byte (of the unpacked
contents, where they are compressed). Perfetto traces of other programs intern names and leave tracks to defaults, as
ours do not: they end with an error too.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from asyncemu.errors import ConfigError, ProtocolError
from asyncemu.tracing.perfetto import DROPPED, INSTANT_EVENT, PACKET_TAG, SLICE_BEGIN, SLICE_END, protos, reason
from asyncemu.tracing.recorder import INSTANT, Event, Track

#: A trace holds no more bytes, unpacked: four million spans.
MAX_SIZE: Final = 256 << 20
#: ... and no more packets, two a span. A span takes some 160 bytes of memory.
MAX_PACKETS: Final = 8 << 20
#: ... and no more threads (arbitrary; a recording has 256 at most).
MAX_TRACKS: Final = 4096

_GZIP: Final = b"\x1f\x8b"
_DROPPED: Final = re.compile(DROPPED.format("([0-9]{1,18})"))
_REMEDY: Final = "give a trace that asyncemu run --trace wrote"


def read(path: Path) -> list[Track]:
    """The tracks of a file that ``write`` made. Raises ConfigError or ProtocolError if it is something else."""
    return parse(_contents(path), str(path))


def parse(data: bytes, name: str) -> list[Track]:
    """The tracks in the contents of a file called ``name``. Raises ProtocolError."""
    return _Reader(name, protos()).read(data)


def _contents(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = _unpacked(file, str(path)) if file.peek(2)[:2] == _GZIP else file.read(MAX_SIZE + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), reason(error), _REMEDY) from error
    if len(data) > MAX_SIZE:
        raise ConfigError(str(path), f"holds more than {MAX_SIZE >> 20} MiB", _REMEDY)
    return data


def _unpacked(file: BufferedReader, name: str) -> bytes:
    try:
        return gzip.GzipFile(fileobj=file).read(MAX_SIZE + 1)
    except EOFError as error:
        raise ProtocolError(name, file.tell(), "the compressed data end too early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ProtocolError(name, file.tell(), f"the compressed data before this are damaged: {error}") from error


class _OpenTrack:
    """A track while it is read."""

    def __init__(self, name: str, thread_id: int, dropped: int) -> None:
        self.name = name
        self.thread_id = thread_id
        self.dropped = dropped
        self.events: list[Event] = []
        self.now = 0
        #: Slices without an end so far: category, name, start, and where the file says so.
        self.open: list[tuple[str, str, int, int]] = []


class _Reader:
    """Puts begins and ends together again. ``offset`` is where the packet at hand begins."""

    def __init__(self, name: str, messages: Any) -> None:
        from google.protobuf.message import DecodeError

        self.name = name
        self.offset = 0
        self._decode = messages.TracePacket.FromString
        self._decode_error = DecodeError
        self._tracks: dict[int, _OpenTrack] = {}
        # One string for all events of a name.
        self._strings: dict[str | bytes, str] = {}

    def read(self, data: bytes) -> list[Track]:
        """The tracks in ``data``, which is not compressed. Raises ProtocolError with the offset."""
        for start, end in self._frames(data):
            try:
                packet = self._decode(data[start:end])
            except self._decode_error as error:
                raise self._error("damaged packet") from error
            if packet.HasField("track_event"):
                self._event(packet.timestamp, packet.track_event)
            elif packet.HasField("track_descriptor") and packet.track_descriptor.HasField("thread"):
                self._describe(packet.track_descriptor)
        for track in self._tracks.values():
            if track.open:
                self.offset = track.open[-1][3]
                raise self._error("this slice has no end; the file is not complete")
        if not self._tracks:
            raise self._error("the trace has no threads; was it written by asyncemu?")
        return [Track(track.name, track.thread_id, tuple(track.events), track.dropped)
                for track in self._tracks.values()]  # fmt: skip

    def _frames(self, data: bytes) -> Iterator[tuple[int, int]]:
        """From where to where each packet goes."""
        position, size = 0, len(data)
        packets = 0
        while position < size:
            self.offset = position
            packets += 1
            if packets > MAX_PACKETS:
                raise self._error(f"the trace has more than {MAX_PACKETS} packets")
            if data[position] != PACKET_TAG:
                raise self._error("no packet of a Perfetto trace begins here")
            position += 1
            length = shift = 0
            while True:
                # A length of 5 bytes is longer than any file that is read.
                if position >= size or shift > 28:
                    raise self._error("the file ends within a packet")
                byte = data[position]
                position += 1
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            if length > size - position:
                raise self._error("the file ends within a packet")
            yield position, position + length
            position += length
        self.offset = position

    def _describe(self, descriptor: Any) -> None:
        dropped = _DROPPED.fullmatch(_text(descriptor.description))
        self._tracks[descriptor.uuid] = _OpenTrack(
            _text(descriptor.thread.thread_name), descriptor.thread.tid, int(dropped[1]) if dropped else 0
        )
        if len(self._tracks) > MAX_TRACKS:
            raise self._error(f"the trace has more than {MAX_TRACKS} threads")

    def _event(self, time: int, event: Any) -> None:
        track = self._tracks.get(event.track_uuid)
        if track is None:
            raise self._error("this event is of no thread described before it; was the trace written by asyncemu?")
        if time < track.now:
            raise self._error(f"this event is {track.now - time} ns earlier than the one before it")
        track.now = time
        kind = event.type
        if kind == SLICE_END:
            if not track.open:
                raise self._error("this slice ends without having begun")
            category, name, start, _ = track.open.pop()
            track.events.append((category, name, start, time))
            return
        if kind not in (SLICE_BEGIN, INSTANT_EVENT) or not event.HasField("name"):
            raise self._error("this event has no name, or is of no kind that asyncemu writes")
        category = self._string(event.categories[0]) if event.categories else ""
        name = self._string(event.name)
        if kind == INSTANT_EVENT:
            track.events.append((category, name, time, INSTANT))
        else:
            track.open.append((category, name, time, self.offset))

    def _string(self, text: str | bytes) -> str:
        known = self._strings.get(text)
        if known is None:
            known = self._strings[text] = _text(text)
        return known

    def _error(self, problem: str) -> ProtocolError:
        return ProtocolError(self.name, self.offset, problem)


def _text(text: str | bytes) -> str:
    """protobuf gives bytes for a string that is not UTF-8."""
    return text.decode(errors="replace") if isinstance(text, bytes) else text
