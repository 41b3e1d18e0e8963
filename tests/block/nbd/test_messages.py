# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of the transmission: round trips, and what is none."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block.nbd.constants import (
    REPLY_FLAG_DONE,
    REPLY_TYPE_BLOCK_STATUS,
    REPLY_TYPE_ERROR,
    REPLY_TYPE_ERROR_OFFSET,
    REPLY_TYPE_NONE,
    REPLY_TYPE_OFFSET_DATA,
    REPLY_TYPE_OFFSET_HOLE,
)
from asyncemu.block.nbd.messages import (
    CHUNK,
    ErrorPayload,
    InvalidMessage,
    ReplyHead,
    Request,
    block_status_chunk,
    data_chunk,
    decode_block_status,
    decode_data_offset,
    decode_error,
    decode_hole,
    decode_reply_head,
    decode_request,
    error_chunk,
    hole_chunk,
    none_chunk,
    simple_reply,
)

u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, 2**64 - 1)
lengths = st.integers(1, 0xFFFFFFFF)


def head_of(message: bytes) -> ReplyHead:
    """Its head, decoded."""
    head = decode_reply_head(message, 0, len(message))
    assert head is not None
    return head


@settings(deadline=None)
@given(u16, u16, u64, u64, u32)
def test_request_round_trip(flags: int, kind: int, cookie: int, offset: int, length: int) -> None:
    request = Request(flags, kind, cookie, offset, length)
    assert decode_request(b"xyz" + request.encode(), 3) == request


def test_request_wrong_magic_is_refused() -> None:
    with pytest.raises(InvalidMessage, match=r"^invalid magic \(got 0x7a7a7a7a\)$"):
        decode_request(b"z" * 28)


@settings(deadline=None)
@given(u64, u32)
def test_simple_reply_round_trip(cookie: int, error: int) -> None:
    assert head_of(simple_reply(cookie, error)) == ReplyHead(16, cookie, False, error)


@settings(deadline=None)
@given(u64)
def test_none_chunk_round_trip(cookie: int) -> None:
    assert head_of(none_chunk(cookie)) == ReplyHead(20, cookie, True, 0, REPLY_FLAG_DONE, REPLY_TYPE_NONE, 0)


@settings(deadline=None)
@given(u64, u64, st.integers(1, 0xFFFFFFFF - 8), st.sampled_from((0, REPLY_FLAG_DONE)))
def test_data_chunk_round_trip(cookie: int, offset: int, length: int, flags: int) -> None:
    message = data_chunk(cookie, offset, length, flags)
    assert head_of(message) == ReplyHead(20, cookie, True, 0, flags, REPLY_TYPE_OFFSET_DATA, length + 8)
    assert decode_data_offset(message[20:]) == offset


@settings(deadline=None)
@given(u64, u64, lengths, st.sampled_from((0, REPLY_FLAG_DONE)))
def test_hole_chunk_round_trip(cookie: int, offset: int, length: int, flags: int) -> None:
    message = hole_chunk(cookie, offset, length, flags)
    assert head_of(message) == ReplyHead(20, cookie, True, 0, flags, REPLY_TYPE_OFFSET_HOLE, 12)
    assert decode_hole(message[20:]) == (offset, length)


@settings(deadline=None)
@given(u64, u32, st.lists(st.tuples(lengths, u32), min_size=1, max_size=20))
def test_block_status_chunk_round_trip(cookie: int, context: int, extents: list[tuple[int, int]]) -> None:
    message = block_status_chunk(cookie, context, extents)
    length = 4 + 8 * len(extents)
    assert head_of(message) == ReplyHead(20, cookie, True, 0, REPLY_FLAG_DONE, REPLY_TYPE_BLOCK_STATUS, length)
    assert decode_block_status(message[20:]) == (context, extents)


@settings(deadline=None)
@given(u64, st.integers(1, 0xFFFFFFFF), st.text(max_size=50), st.none() | u64)
def test_error_chunk_round_trip(cookie: int, error: int, message: str, offset: int | None) -> None:
    encoded = error_chunk(cookie, error, message, offset)
    head = head_of(encoded)
    assert head.type == (REPLY_TYPE_ERROR if offset is None else REPLY_TYPE_ERROR_OFFSET)
    assert decode_error(encoded[20:], head.type) == ErrorPayload(error, message, offset)


def test_error_chunk_message_is_cut_at_the_limit() -> None:
    assert len(error_chunk(1, 5, "x" * 5000)) == CHUNK.size + 6 + 4096


@settings(deadline=None)
@given(st.binary(max_size=15))
def test_reply_head_cut_short_is_none(data: bytes) -> None:
    assert decode_reply_head(data, 0, len(data)) is None


def test_reply_head_of_a_chunk_cut_short_is_none() -> None:
    assert decode_reply_head(none_chunk(1), 0, 19) is None


def test_reply_head_wrong_magic_is_refused() -> None:
    with pytest.raises(InvalidMessage, match=r"^invalid magic 0x7a7a7a7a of a reply$"):
        decode_reply_head(b"z" * 20, 0, 20)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (REPLY_TYPE_ERROR, b""),
        (REPLY_TYPE_ERROR, struct.pack(">IH", 0, 0)),
        (REPLY_TYPE_ERROR, struct.pack(">IH", 5, 1)),
        (REPLY_TYPE_ERROR, struct.pack(">IH", 5, 4097) + bytes(4097)),
        (REPLY_TYPE_ERROR_OFFSET, struct.pack(">IH", 5, 0)),
        (REPLY_TYPE_ERROR_OFFSET, struct.pack(">IH", 5, 0) + bytes(9)),
    ],
)
def test_error_payload_against_the_rules_is_refused(kind: int, payload: bytes) -> None:
    with pytest.raises(InvalidMessage, match=r"^an error chunk"):
        decode_error(payload, kind)


@pytest.mark.parametrize("payload", [b"", bytes(4), bytes(11), bytes(12), bytes(13)])
def test_block_status_payload_against_the_rules_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidMessage):
        decode_block_status(payload)


@pytest.mark.parametrize("payload", [b"", bytes(11), bytes(12), bytes(13)])
def test_hole_payload_against_the_rules_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidMessage):
        decode_hole(payload)


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from((REPLY_TYPE_ERROR, REPLY_TYPE_ERROR_OFFSET)))
def test_decode_any_payload_gives_a_value_or_invalid_message(payload: bytes, kind: int) -> None:
    for decode in (lambda: decode_error(payload, kind), lambda: decode_block_status(payload)):
        with contextlib.suppress(InvalidMessage):
            decode()
