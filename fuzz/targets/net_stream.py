# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer's stream of frames behind their lengths, in pieces, beside a decoder that reads all of it at once.

    1 byte    bit 0: with headers of virtio-net; the others: frames that are taken of each batch, 0 is all
    1 byte    how many sizes of pieces follow, modulo 8
    2 bytes   each of them
    then      the stream

Both must find the same frames, the same place where the peer is out of step, and drop as many.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Final

from asyncemu.errors import ProtocolError
from asyncemu.net import vnet_header
from asyncemu.net.frame import MAX_FRAME, NEEDS_CHECKSUM, Frame, VnetHeader
from asyncemu.net.framing import MAX_LENGTH, FrameDecoder, encode, encode_with_header
from asyncemu.net.packets.errors import Malformed
from fuzz.choices import Choices
from fuzz.driving import Defect

#: As small as it may be, so that frames are moved in it.
_BUFFER: Final = 2 * MAX_LENGTH


def fuzz_one(data: bytes) -> None:
    """Read the stream twice."""
    choices = Choices(data)
    kind = choices.number(1)
    sizes = [choices.number(2) or 1 for _ in range(choices.number(1) % 8)] or [_BUFFER]
    stream = choices.rest()
    found = _in_pieces(stream, bool(kind & 1), sizes, kind >> 1)
    expected = _at_once(stream, bool(kind & 1))
    if found != expected:
        raise Defect(f"in pieces: {found}, at once: {expected}")


_Outcome = tuple[list[tuple[bytes, VnetHeader]], int, int]


def _in_pieces(stream: bytes, with_headers: bool, sizes: Sequence[int], at_a_time: int) -> _Outcome:
    """Frames, how many were dropped, and where the peer is out of step; -1: nowhere."""
    decoder = FrameDecoder("peer", with_headers, _BUFFER)
    frames: list[tuple[bytes, VnetHeader]] = []
    at = 0
    try:
        for size in cycle(sizes):
            room = decoder.room()
            if not room:
                raise Defect("no room, and nothing is left to be taken")
            piece = stream[at : at + min(size, len(room))]
            room[: len(piece)] = piece
            decoder.received(len(piece))
            at += len(piece)
            for frame in _taken(decoder, at_a_time):
                frames.append((frame.tobytes(), frame.vnet))
            if at == len(stream):
                break
    except ProtocolError as error:
        return frames, decoder.dropped, error.offset
    return frames, decoder.dropped, -1


def _taken(decoder: FrameDecoder, at_a_time: int) -> Iterator[Frame]:
    while batch := decoder.frames():
        taken = batch[: at_a_time or len(batch)]
        yield from taken
        decoder.consumed(len(taken))


def _at_once(stream: bytes, with_headers: bool) -> _Outcome:
    prefix = struct.Struct("!II" if with_headers else "!I")
    frames: list[tuple[bytes, VnetHeader]] = []
    dropped = at = 0
    while at + prefix.size <= len(stream):
        length, header_length = (*prefix.unpack_from(stream, at), 0)[:2]
        if length > MAX_LENGTH or header_length not in (0, 10, 12) or header_length > length:
            return frames, dropped, at
        start = at + prefix.size + header_length
        end = at + prefix.size + length
        if end > len(stream):
            break
        try:
            vnet = vnet_header.parse(stream[start - header_length : start], end - start) if header_length else None
            is_frame = 0 < end - start <= MAX_FRAME
        except Malformed:
            is_frame = False
        if is_frame:
            frames.append((stream[start:end], vnet or VnetHeader()))
        else:
            dropped += length != 0
        at = end
    return frames, dropped, -1


def seeds() -> Sequence[bytes]:
    """Frames of both kinds, the longest, one that is too long, and a peer that is out of step."""
    plain = b"".join(b"".join(encode(Frame.of(bytes(length)))) for length in (60, 1514, 1))
    vnet = VnetHeader(NEEDS_CHECKSUM, 1, 54, 1460, 34, 16)
    headed = b"".join(b"".join(encode_with_header(Frame.of(bytes(200), vnet=each))) for each in (vnet, VnetHeader()))
    return [
        b"\0\0" + plain,
        b"\4\3\0\1\0\7\1\0" + plain,
        b"\1\1\0\x20" + headed,
        b"\1\0" + headed + struct.pack("!II", 20, 11),
        b"\0\1\7\0" + plain + struct.pack("!I", MAX_LENGTH) + bytes(MAX_LENGTH) + plain,
        b"\0\0" + plain + struct.pack("!I", MAX_LENGTH + 1),
        b"\0\1\0\3" + struct.pack("!I", 0) + plain,
    ]
