# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests out of a client's stream."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block.nbd.constants import (
    CMD_BLOCK_STATUS,
    CMD_CACHE,
    CMD_DISC,
    CMD_FLAG_DF,
    CMD_FLAG_FUA,
    CMD_FLAG_NO_HOLE,
    CMD_FLUSH,
    CMD_READ,
    CMD_TRIM,
    CMD_WRITE,
    CMD_WRITE_ZEROES,
)
from asyncemu.block.nbd.error_values import EINVAL, ENOSPC, EPERM
from asyncemu.block.nbd.messages import Request
from asyncemu.block.nbd.server_transmission import Incoming, Refusal, RequestParser, Terms, check_request
from asyncemu.errors import ProtocolError

SIZE = 1 << 30
TERMS = Terms(SIZE, read_only=False, structured_replies=True, has_contexts=True)
MIB = 1 << 20


def allocate(length: int) -> memoryview:
    """Memory for a write."""
    return memoryview(bytearray(length))


def parser(terms: Terms = TERMS, rest: bytes = b"") -> RequestParser:
    """One at the beginning of the transmission."""
    return RequestParser(terms, allocate, rest=rest)


def feed(requests: RequestParser, stream: bytes, pieces: random.Random | None = None) -> list[Incoming]:
    """All requests in ``stream``, which arrives in pieces."""
    found: list[Incoming] = []
    position = 0
    while True:
        while (incoming := requests.next()) is not None:
            found.append(incoming)
        if position == len(stream):
            return found
        view = requests.buffer()
        count = min(len(view), len(stream) - position)
        if pieces is not None:
            count = pieces.randint(1, count)
        view[:count] = stream[position : position + count]
        requests.received(count)
        position += count


def as_values(found: list[Incoming]) -> list[tuple[Request, bytes | None, Refusal | None]]:
    """Comparable."""
    return [(request, None if data is None else bytes(data), refusal) for request, data, refusal in found]


# ---- checks


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (
            Request(0, CMD_READ, 1, SIZE - 10, 20),
            EINVAL,
            f"operation past EOF; From: {SIZE - 10}, Len: 20, Size: {SIZE}",
        ),
        (
            Request(0, CMD_WRITE, 1, SIZE - 10, 20),
            ENOSPC,
            f"operation past EOF; From: {SIZE - 10}, Len: 20, Size: {SIZE}",
        ),
        (Request(0, CMD_WRITE_ZEROES, 1, SIZE, 1), ENOSPC, f"operation past EOF; From: {SIZE}, Len: 1, Size: {SIZE}"),
        (Request(0, CMD_TRIM, 1, 2**64 - 1, 1), EINVAL, f"operation past EOF; From: {2**64 - 1}, Len: 1, Size: {SIZE}"),
        (Request(0, CMD_READ, 1, 0, 32 * MIB + 1), EINVAL, "len (33554433 ) is larger than max len (33554432)"),
        (Request(0, CMD_CACHE, 1, 0, 32 * MIB + 1), EINVAL, "len (33554433 ) is larger than max len (33554432)"),
        (Request(2, CMD_READ, 1, 0, 4), EINVAL, "unsupported flags for command read (got 0x2)"),
        (Request(4, CMD_WRITE, 1, 0, 4), EINVAL, "unsupported flags for command write (got 0x4)"),
        (Request(32, 9, 1, 0, 0), EINVAL, "unsupported flags for command <unknown> (got 0x20)"),
        (Request(0, 9, 1, 0, 0), EINVAL, "invalid request type (9) received"),
        (Request(0, CMD_BLOCK_STATUS, 1, 0, 0), EINVAL, "need non-zero length"),
    ],
)
def test_check_request_refuses(request_: Request, error: int, message: str) -> None:
    assert check_request(request_, TERMS) == Refusal(error, message)


@pytest.mark.parametrize("kind", [CMD_WRITE, CMD_WRITE_ZEROES, CMD_TRIM])
def test_check_request_that_writes_to_read_only_is_not_permitted(kind: int) -> None:
    refusal = check_request(Request(0, kind, 1, 0, 1), TERMS._replace(read_only=True))
    assert refusal == Refusal(EPERM, "Export is read-only")


def test_check_request_block_status_without_contexts_is_refused() -> None:
    refusal = check_request(Request(0, CMD_BLOCK_STATUS, 1, 0, 1), TERMS._replace(has_contexts=False))
    assert refusal == Refusal(EINVAL, "CMD_BLOCK_STATUS not negotiated")


def test_check_request_do_not_fragment_needs_structured_replies() -> None:
    request = Request(CMD_FLAG_DF, CMD_READ, 1, 0, 1)
    assert check_request(request, TERMS) is None
    assert check_request(request, TERMS._replace(structured_replies=False)) is not None


@pytest.mark.parametrize(
    "request_",
    [
        Request(CMD_FLAG_FUA, CMD_READ, 1, 0, 32 * MIB),
        Request(CMD_FLAG_FUA | CMD_FLAG_NO_HOLE, CMD_WRITE_ZEROES, 1, 0, SIZE),
        Request(0, CMD_TRIM, 1, SIZE, 0),
        Request(0, CMD_FLUSH, 1, 0, 0),
        Request(0xFF, CMD_DISC, 1, 2**64 - 1, 2**32 - 1),
    ],
)
def test_check_request_allows(request_: Request) -> None:
    assert check_request(request_, TERMS) is None


# ---- the stream

requests_ = st.builds(
    Request,
    st.just(0),
    st.sampled_from((CMD_READ, CMD_WRITE, CMD_WRITE, CMD_FLUSH)),
    st.integers(0, 2**64 - 1),
    st.sampled_from((0, 4096, SIZE)),
    st.sampled_from((0, 1, 4096, 8 << 10, 50_000)),
)


@settings(deadline=None)
@given(st.lists(requests_, max_size=8), st.integers(0, 1000), st.integers(0, 3000))
def test_stream_in_any_pieces_gives_its_requests(requests: list[Request], seed: int, rest_length: int) -> None:
    pieces = random.Random(seed)
    stream, expected = b"", []
    for request in requests:
        data = pieces.randbytes(request.length) if request.type == CMD_WRITE else b""
        refusal = check_request(request, TERMS)
        stream += request.encode() + data
        expected.append((request, data if request.type == CMD_WRITE and refusal is None else None, refusal))
    under_test = parser(rest=stream[:rest_length])
    assert as_values(feed(under_test, stream[rest_length:], pieces)) == expected
    assert not under_test.midway


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 1000))
def test_stream_of_any_bytes_gives_requests_or_protocol_error(stream: bytes, seed: int) -> None:
    with contextlib.suppress(ProtocolError):
        feed(parser(), stream, random.Random(seed))


def test_stream_wrong_magic_names_the_place() -> None:
    flush = Request(0, CMD_FLUSH, 1, 0, 0).encode()
    with pytest.raises(ProtocolError, match=r"^client, byte 28: invalid magic \(got 0x7a7a7a7a\)$"):
        feed(parser(), flush + b"z" * 28)


def test_write_that_is_too_long_is_fatal_and_allocates_nothing() -> None:
    def refuse(length: int) -> memoryview:
        raise AssertionError(length)

    under_test = RequestParser(TERMS, refuse)
    (incoming,) = feed(under_test, Request(0, CMD_WRITE, 1, 0, 2**32 - 1).encode())
    assert incoming.refusal is not None
    assert incoming.refusal.fatal


def test_write_that_is_refused_has_its_data_thrown_away() -> None:
    def refuse(length: int) -> memoryview:
        raise AssertionError(length)

    under_test = RequestParser(TERMS._replace(read_only=True), refuse)
    stream = Request(0, CMD_WRITE, 1, 0, MIB).encode() + bytes(MIB) + Request(0, CMD_READ, 2, 0, 1).encode()
    assert [incoming.request.cookie for incoming in feed(under_test, stream)] == [1, 2]


@pytest.mark.parametrize("stream", [b"abc", Request(0, CMD_WRITE, 1, 0, 100).encode() + bytes(99)])
def test_midway_when_something_is_cut_in_two(stream: bytes) -> None:
    under_test = parser()
    feed(under_test, stream) if stream[0] != ord("a") else under_test.received(3)
    assert under_test.midway


def test_write_of_4096_bytes_is_received_at_once() -> None:
    assert len(parser().buffer()) >= 4096 + 28
