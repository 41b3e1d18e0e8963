# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.chardev.websocket.frames import CloseCode, FrameError, FrameReader, Opcode, Piece, encode_frame
from tests.chardev.websocket.client import BINARY, CLOSE, CONTINUATION, MASK, PING, PONG, TEXT, frame


def read(stream: bytes, size: int = 1 << 30) -> list[Piece]:
    """All pieces of ``stream``, fed ``size`` bytes at a time."""
    reader = FrameReader()
    pieces: list[Piece] = []
    for start in range(0, len(stream), size):
        pieces += reader.feed(stream[start : start + size])
    return pieces


def payload(pieces: list[Piece]) -> bytes:
    return b"".join(piece.payload for piece in pieces if piece.opcode < Opcode.CLOSE)


def test_feed_example_of_the_rfc() -> None:
    # RFC 6455, 5.7: a single-frame masked text message.
    assert read(bytes.fromhex("818537fa213d7f9f4d5158")) == [Piece(Opcode.TEXT, b"Hello")]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 100_000])
def test_feed_lengths_of_all_spellings(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)

    assert payload(read(frame(BINARY, data[:size]), 4096)) == data[:size]


def test_feed_message_in_fragments_with_a_ping_between() -> None:
    stream = frame(BINARY, b"ab", final=False) + frame(PING, b"?") + frame(CONTINUATION, b"cd")

    assert read(stream) == [Piece(Opcode.BINARY, b"ab"), Piece(Opcode.PING, b"?"), Piece(Opcode.BINARY, b"cd")]


def test_feed_payload_is_handed_out_before_the_frame_ends() -> None:
    reader = FrameReader()

    pieces = list(reader.feed(b"\x82\xff" + (1 << 62).to_bytes(8) + MASK + b"\x37"))

    assert pieces == [Piece(Opcode.BINARY, b"\x00")]


def test_feed_text_with_a_character_cut_in_two_is_taken() -> None:
    stream = frame(TEXT, b"\xc3", final=False) + frame(CONTINUATION, b"\xbc")

    assert payload(read(stream)) == "ü".encode()


@pytest.mark.parametrize(
    ("stream", "offset", "problem"),
    [
        (b"\xc2\x80", 2, "a frame uses extensions that were not agreed on"),
        (b"\x83\x80", 2, "a frame has the unknown opcode 3"),
        (b"\x8b\x80", 2, "a frame has the unknown opcode 11"),
        (b"\x82\x01", 2, "a frame is not masked"),
        (b"\x09\x80", 2, "a control frame is too long or in fragments"),
        (b"\x89\xfe", 2, "a control frame is too long or in fragments"),
        (frame(CONTINUATION, b"x"), 2, "a continuation continues nothing"),
        (frame(BINARY, b"", final=False) + frame(TEXT, b""), 8, "a message begins inside another one"),
        (b"\x82\xfe\x00\x7d" + MASK, 8, "the length of a frame is not written as it should be"),
        (b"\x82\xff" + (65535).to_bytes(8) + MASK, 14, "the length of a frame is not written as it should be"),
        (b"\x82\xff" + b"\xff" * 8 + MASK, 14, "the length of a frame is not written as it should be"),
    ],
)
def test_feed_broken_rule_is_told_with_its_place(stream: bytes, offset: int, problem: str) -> None:
    with pytest.raises(FrameError) as caught:
        read(stream)

    assert str(caught.value) == f"WebSocket client, byte {offset}: {problem}"
    assert caught.value.code is CloseCode.PROTOCOL_ERROR


@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80"])
def test_feed_text_that_is_not_utf8_is_told(text: bytes) -> None:
    with pytest.raises(FrameError, match=r"a text is not UTF-8$") as caught:
        read(frame(TEXT, text))

    assert caught.value.code is CloseCode.INVALID_TEXT


FRAMES = st.lists(
    st.tuples(st.sampled_from([BINARY, PING, PONG, CLOSE]), st.binary(max_size=125), st.binary(min_size=4, max_size=4))
)


@given(FRAMES, st.integers(min_value=1, max_value=20))
def test_feed_cut_anywhere_gives_the_same(frames: list[tuple[int, bytes, bytes]], size: int) -> None:
    stream = b"".join(frame(opcode, content, mask=mask) for opcode, content, mask in frames)

    pieces = read(stream, size)

    assert payload(pieces) == b"".join(content for opcode, content, _ in frames if opcode == BINARY)
    assert [piece for piece in pieces if piece.opcode >= Opcode.CLOSE] == [
        (opcode, content) for opcode, content, _ in frames if opcode != BINARY
    ]


@given(st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([b"\x82\x81", b"\x01\x82", b"\x80\xfe"]))))
def test_feed_any_bytes_give_no_more_than_was_fed(parts: list[bytes]) -> None:
    stream = b"".join(parts)
    reader, got = FrameReader(), 0

    with suppress(FrameError):
        for piece in reader.feed(stream):
            got += len(piece.payload)

    assert got <= len(stream)


@pytest.mark.parametrize(
    ("size", "header"),
    [(0, "8200"), (125, "827d"), (126, "827e007e"), (65535, "827effff"), (65536, "827f0000000000010000")],
)
def test_encode_frame_takes_the_shortest_length(size: int, header: str) -> None:
    assert encode_frame(Opcode.BINARY, bytes(size)) == bytes.fromhex(header) + bytes(size)
