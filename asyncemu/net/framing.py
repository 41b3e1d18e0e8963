# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames in a stream of bytes, each behind its length: how QEMU joins machines. No I/O.

    length (4 bytes, big-endian) | frame                                                 netdevs socket and stream
    length | length of the header (4 bytes, big-endian) | header of virtio-net | frame   filters, vnet_hdr_support

The length in front counts all that follows it but the length of the header. QEMU: net_fill_rstate, filter_send.
"""

from __future__ import annotations

import struct
from typing import Final

from asyncemu.errors import ProtocolError
from asyncemu.memory.buffers import Buffers
from asyncemu.net import vnet_header
from asyncemu.net.frame import MAX_FRAME, PLAIN, Frame
from asyncemu.net.packets.errors import Malformed

_LENGTH: Final = struct.Struct("!I")
_LENGTHS: Final = struct.Struct("!II")

#: Bytes that a peer may announce: QEMU's NET_BUFSIZE, 68 KiB. Whoever announces more is not in step with us.
MAX_LENGTH: Final = 4096 + 65536

#: Bytes of a decoder's buffer: three of the longest frames, and a hundred usual ones for each read.
BUFFER_SIZE: Final = 256 * 1024

#: Frames that ``frames`` gives at most: a batch.
MAX_BATCH: Final = 64

#: Lengths that the header of virtio-net may have; 0: there is none.
_HEADER_LENGTHS: Final = (0, vnet_header.SHORT_LENGTH, vnet_header.LENGTH)


def encode(frame: Frame) -> list[bytes | memoryview]:
    """A plain frame as it is in the stream; its bytes are lent, not copied."""
    return [_LENGTH.pack(frame.nbytes), *frame.buffers]


def encode_with_header(frame: Frame) -> list[bytes | memoryview]:
    """Any frame as it is in a stream with headers; its bytes are lent, not copied."""
    length = vnet_header.LENGTH
    return [_LENGTHS.pack(frame.nbytes + length, length), vnet_header.pack(frame.vnet), *frame.buffers]


class FrameDecoder:
    """From pieces of the stream to frames, in one buffer: a frame is a view of it until it is ``consumed``."""

    def __init__(self, peer: str, with_headers: bool = False, size: int = BUFFER_SIZE) -> None:
        """``peer``: as errors call it. ``size``: bytes of the buffer, at least twice MAX_LENGTH."""
        self.peer = peer
        self.with_headers = with_headers
        #: Frames that nobody can have sent: longer than MAX_FRAME, or with a header that does not fit them.
        self.dropped = 0
        self._prefix = _LENGTHS.size if with_headers else _LENGTH.size
        self._buffer = memoryview(bytearray(size))
        # What has come in and is not consumed, and where that is in the stream.
        self._start = self._end = self._offset = 0
        # Where each frame of the last batch ends.
        self._ends: list[int] = []

    def clear(self) -> None:
        """A new stream begins."""
        self._start = self._end = self._offset = 0
        self._ends = []

    def room(self) -> memoryview:
        """Where the next bytes are to be written; never empty once all frames are consumed."""
        if self._start == self._end:
            self._start = self._end = 0
        elif len(self._buffer) - self._end < MAX_LENGTH and self._start:
            # Part of a frame, or frames that were not taken, seldom many bytes.
            length = self._end - self._start
            self._buffer[:length] = self._buffer[self._start : self._end]
            self._start, self._end = 0, length
        return self._buffer[self._end :]

    def received(self, nbytes: int) -> None:
        """So many bytes have been written to ``room``."""
        self._end += nbytes

    def feed(self, data: bytes) -> None:
        """Bytes of the stream, as many as there is room for. ValueError: they are more."""
        self.room()[: len(data)] = data
        self._end += len(data)

    def frames(self) -> list[Frame]:
        """The frames that are there, MAX_BATCH at most. Raises ProtocolError: the peer is out of step."""
        frames: list[Frame] = []
        self._ends = []
        position = self._start
        while len(frames) < MAX_BATCH:
            body = position + self._prefix
            if body > self._end:
                break
            lengths = self._lengths(position, bool(frames))
            if lengths is None:
                break
            length, header_length = lengths
            end = body + length
            if end > self._end:
                break
            frame = self._frame(body, header_length, end)
            if frame is not None:
                frames.append(frame)
                self._ends.append(end)
            elif frames:
                # Skipped when it is the first one, so that it counts once.
                break
            else:
                self.dropped += length != 0
                self._go_on_at(end)
            position = end
        return frames

    def consumed(self, count: int) -> None:
        """The first ``count`` frames of those that ``frames`` gave are done with."""
        if count:
            self._go_on_at(self._ends[count - 1])
            self._ends = []

    def _go_on_at(self, position: int) -> None:
        self._offset += position - self._start
        self._start = position

    def _lengths(self, position: int, later: bool) -> tuple[int, int] | None:
        """``later``: say what is wrong when the frames in front of it are done with; None until then."""
        if self.with_headers:
            length, header_length = _LENGTHS.unpack_from(self._buffer, position)
        else:
            (length,) = _LENGTH.unpack_from(self._buffer, position)
            header_length = 0
        if length > MAX_LENGTH:
            problem = f"a frame of {length} bytes is longer than {MAX_LENGTH}"
        elif header_length not in _HEADER_LENGTHS or header_length > length:
            problem = f"a header of {header_length} bytes in {length}, which virtio-net has not"
        else:
            return length, header_length
        if later:
            return None
        raise ProtocolError(self.peer, self._offset + position - self._start, problem)

    def _frame(self, body: int, header_length: int, end: int) -> Frame | None:
        start = body + header_length
        length = end - start
        if not 0 < length <= MAX_FRAME:
            return None
        vnet = PLAIN
        if header_length:
            try:
                vnet = vnet_header.parse(self._buffer[body:start], length)
            except Malformed:
                return None
        return Frame(Buffers((self._buffer[start:end],)), vnet)
