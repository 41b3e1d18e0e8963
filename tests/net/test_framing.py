# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames in a stream of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.errors import ProtocolError
from asyncemu.net.frame import GSO_TCPV4, MAX_FRAME, NEEDS_CHECKSUM, PLAIN, Frame, VnetHeader
from asyncemu.net.framing import MAX_BATCH, MAX_LENGTH, FrameDecoder, encode, encode_with_header

VNET = VnetHeader(NEEDS_CHECKSUM, GSO_TCPV4, 54, 1448, 34, 16)


def feed(decoder: FrameDecoder, data: bytes, piece: int = 1 << 16) -> list[Frame]:
    """All frames of a stream that comes in pieces, copied."""
    found = []
    for start in range(0, len(data), piece):
        decoder.feed(data[start : start + piece])
        while frames := decoder.frames():
            found += [frame.copy() for frame in frames]
            decoder.consumed(len(frames))
    return found


def test_encode_is_qemus_framing() -> None:
    assert b"".join(encode(Frame.of(b"abc", b"de"))) == b"\0\0\0\5abcde"


def test_encode_with_header_is_qemus_framing_with_vnet_hdr_support() -> None:
    assert (
        b"".join(encode_with_header(Frame.of(b"abc", vnet=VNET)))
        == bytes.fromhex("0000000f 0000000c 01 01 3600 a805 2200 1000 0000".replace(" ", "")) + b"abc"
    )


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=20),
    st.integers(min_value=1, max_value=700),
    st.booleans(),
)
def test_decoder_gives_what_was_encoded_however_it_is_cut(frames: list[bytes], piece: int, headers: bool) -> None:
    coder = encode_with_header if headers else encode
    stream = b"".join(b"".join(coder(Frame.of(each))) for each in frames)
    decoder = FrameDecoder("peer", headers, size=2 * MAX_LENGTH)

    assert [frame.tobytes() for frame in feed(decoder, stream, piece)] == frames


@given(st.binary(max_size=2000), st.integers(min_value=1, max_value=500), st.booleans())
def test_decoder_any_bytes_are_frames_or_a_protocol_error(data: bytes, piece: int, headers: bool) -> None:
    decoder = FrameDecoder("peer", headers, size=2 * MAX_LENGTH)

    try:
        frames = feed(decoder, data, piece)
    except ProtocolError as error:
        assert 0 <= error.offset <= len(data)
    else:
        assert sum(frame.nbytes for frame in frames) <= len(data)


def test_decoder_header_says_what_is_left_to_be_done() -> None:
    stream = b"".join(encode_with_header(Frame.of(bytes(100), vnet=VNET)))

    (frame,) = feed(FrameDecoder("peer", True), stream, 5)

    assert (frame.vnet, frame.nbytes) == (VNET, 100)


@pytest.mark.parametrize("header", [b"\0\0\0\0", b"\0\0\0\x0a" + bytes(10), b"\0\0\0\x0c" + bytes(12)])
def test_decoder_header_may_be_short_or_missing(header: bytes) -> None:
    stream = (len(header) - 4 + 3).to_bytes(4, "big") + header + b"abc"

    (frame,) = feed(FrameDecoder("peer", True), stream)

    assert (frame.tobytes(), frame.vnet) == (b"abc", PLAIN)


def test_decoder_frame_that_was_not_taken_comes_again() -> None:
    decoder = FrameDecoder("peer")
    decoder.feed(b"\0\0\0\1a\0\0\0\1b\0\0\0\1c")

    decoder.frames()
    decoder.consumed(1)

    assert [frame.tobytes() for frame in decoder.frames()] == [b"b", b"c"]


def test_decoder_gives_a_batch_at_a_time() -> None:
    decoder = FrameDecoder("peer")
    decoder.feed(b"\0\0\0\1x" * (MAX_BATCH + 1))

    first = decoder.frames()
    decoder.consumed(len(first))

    assert (len(first), len(decoder.frames())) == (MAX_BATCH, 1)


def test_decoder_longest_frame_passes_and_longer_ones_are_dropped() -> None:
    decoder = FrameDecoder("peer")
    sizes = [MAX_FRAME, MAX_FRAME + 1, MAX_LENGTH, 0, 5]
    stream = b"".join(size.to_bytes(4, "big") + bytes(size) for size in sizes)

    frames = feed(decoder, stream, 50_000)

    assert [frame.nbytes for frame in frames] == [MAX_FRAME, 5]
    assert decoder.dropped == 2


def test_decoder_frame_with_a_header_that_does_not_fit_is_dropped() -> None:
    decoder = FrameDecoder("peer", True)
    bad = Frame.of(bytes(10), vnet=VNET)

    assert feed(decoder, b"".join(encode_with_header(bad))) == []
    assert decoder.dropped == 1


def test_decoder_frame_beyond_the_longest_is_an_error() -> None:
    decoder = FrameDecoder("net0: 127.0.0.1:4")
    decoder.feed(b"\0\0\0\1a")
    decoder.consumed(len(decoder.frames()))
    decoder.feed((MAX_LENGTH + 1).to_bytes(4, "big"))

    with pytest.raises(ProtocolError) as caught:
        decoder.frames()

    assert str(caught.value) == "net0: 127.0.0.1:4, byte 5: a frame of 69633 bytes is longer than 69632"


@pytest.mark.parametrize(("length", "header"), [(100, 11), (9, 10), (100, 1 << 31)])
def test_decoder_header_that_virtio_net_has_not_is_an_error(length: int, header: int) -> None:
    decoder = FrameDecoder("peer", True)
    decoder.feed(length.to_bytes(4, "big") + header.to_bytes(4, "big"))

    with pytest.raises(ProtocolError) as caught:
        decoder.frames()

    assert caught.value.problem == f"a header of {header} bytes in {length}, which virtio-net has not"


def test_decoder_cleared_begins_anew() -> None:
    decoder = FrameDecoder("peer")
    decoder.feed(b"\0\0\0\x0aab")
    decoder.frames()

    decoder.clear()

    assert [frame.tobytes() for frame in feed(decoder, b"\0\0\0\1x")] == [b"x"]


def test_decoder_feed_more_than_there_is_room_for_is_an_error() -> None:
    decoder = FrameDecoder("peer", size=2 * MAX_LENGTH)

    with pytest.raises(ValueError, match="different structures"):
        decoder.feed(bytes(2 * MAX_LENGTH + 1))
