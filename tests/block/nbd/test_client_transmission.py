# SPDX-License-Identifier: GPL-2.0-or-later
"""Replies out of a server's stream."""

from __future__ import annotations

import contextlib
import errno
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block.nbd.client_transmission import ClientTransmission, PendingRequest
from asyncemu.block.nbd.constants import CMD_BLOCK_STATUS, CMD_FLUSH, CMD_READ, CMD_WRITE, STRUCTURED_REPLY_MAGIC
from asyncemu.block.nbd.messages import (
    CHUNK,
    block_status_chunk,
    data_chunk,
    error_chunk,
    hole_chunk,
    none_chunk,
    simple_reply,
)
from asyncemu.errors import ProtocolError
from asyncemu.memory.buffers import Buffers

LENGTH = 100
OFFSET = 1000
CONTEXT = 7


def transmission(*, structured: bool = True, rest: bytes = b"") -> ClientTransmission:
    """At the beginning."""
    return ClientTransmission(structured, CONTEXT, rest=rest)


def begin_read(under_test: ClientTransmission, length: int = LENGTH) -> tuple[PendingRequest, bytearray]:
    """A read of ``length`` bytes at OFFSET, and its memory, in two views."""
    memory = bytearray(b"\xee" * length)
    view = memoryview(memory)
    pending, _ = under_test.begin(CMD_READ, 0, OFFSET, length, Buffers.of(view[: length // 3], view[length // 3 :]))
    return pending, memory


def feed(under_test: ClientTransmission, stream: bytes, pieces: random.Random | None = None) -> list[PendingRequest]:
    """Who is answered by ``stream``, which arrives in pieces."""
    ended: list[PendingRequest] = []
    position = 0
    while True:
        while (pending := under_test.next()) is not None:
            ended.append(pending)
        if position == len(stream):
            return ended
        targets = under_test.targets()
        count = min(targets.nbytes, len(stream) - position)
        if pieces is not None:
            count = pieces.randint(1, count)
        targets.write(stream[position : position + count])
        under_test.received(count)
        position += count


def data(cookie: int, start: int, content: bytes, *, done: bool = False) -> bytes:
    """A chunk of data, ``start`` bytes into the read."""
    return data_chunk(cookie, OFFSET + start, len(content), int(done)) + content


# ---- what is right


def test_begin_gives_each_request_a_cookie_of_its_own() -> None:
    under_test = transmission()
    pending = [under_test.begin(CMD_FLUSH, 0, 0, 0)[0] for _ in range(3)]
    assert len({each.request.cookie for each in pending}) == 3
    assert list(under_test.pending.values()) == pending


def test_simple_reply_of_a_read_fills_the_buffers() -> None:
    under_test = transmission(structured=False)
    pending, memory = begin_read(under_test)
    assert feed(under_test, simple_reply(1) + bytes(range(LENGTH))) == [pending]
    assert memory == bytes(range(LENGTH))
    assert under_test.pending == {}


def test_simple_error_has_no_data() -> None:
    under_test = transmission(structured=False)
    pending, memory = begin_read(under_test)
    assert feed(under_test, simple_reply(1, 28)) == [pending]
    assert pending.error == errno.ENOSPC
    assert memory == b"\xee" * LENGTH


def test_replies_in_another_order_find_their_requests() -> None:
    under_test = transmission()
    first, _ = under_test.begin(CMD_WRITE, 0, 0, 5)
    second, _ = under_test.begin(CMD_FLUSH, 0, 0, 0)
    assert feed(under_test, none_chunk(2) + simple_reply(1)) == [second, first]


def test_chunks_in_any_order_with_holes_fill_the_buffers() -> None:
    under_test = transmission()
    pending, memory = begin_read(under_test)
    stream = data(1, 60, b"c" * 40) + hole_chunk(1, OFFSET + 20, 40, 0) + data(1, 0, b"a" * 20) + none_chunk(1)
    assert feed(under_test, stream) == [pending]
    assert memory == b"a" * 20 + bytes(40) + b"c" * 40


def test_error_chunk_fails_the_request_with_the_servers_words() -> None:
    under_test = transmission()
    pending, _ = begin_read(under_test)
    assert feed(under_test, data(1, 0, b"a" * 20) + error_chunk(1, 5, "broken", OFFSET + 20)) == [pending]
    assert (pending.error, pending.message) == (errno.EIO, "broken")


def test_error_chunk_of_an_unknown_type_fails_the_request() -> None:
    under_test = transmission()
    pending, _ = under_test.begin(CMD_FLUSH, 0, 0, 0)
    payload = struct.pack(">IH", 12345, 0) + b"who knows"
    assert feed(under_test, CHUNK.pack(STRUCTURED_REPLY_MAGIC, 1, 0xFFFF, 1, len(payload)) + payload) == [pending]
    assert pending.error == errno.EINVAL


def test_block_status_gives_extents() -> None:
    under_test = transmission()
    pending, _ = under_test.begin(CMD_BLOCK_STATUS, 0, 0, 100)
    assert feed(under_test, block_status_chunk(1, CONTEXT, [(60, 0), (50, 3)])) == [pending]
    assert pending.extents == [(60, 0), (50, 3)]


def test_abandoned_read_leaves_its_buffers_alone() -> None:
    under_test = transmission()
    pending, memory = begin_read(under_test)
    under_test.abandon(pending)
    assert feed(under_test, data(1, 0, b"a" * 50) + hole_chunk(1, OFFSET + 50, 50)) == [pending]
    assert memory == b"\xee" * LENGTH


def test_abandoned_in_the_middle_of_its_data_leaves_the_rest_alone() -> None:
    under_test = transmission()
    pending, memory = begin_read(under_test)
    stream = data(1, 0, b"a" * LENGTH, done=True)
    assert feed(under_test, stream[:-60]) == []
    under_test.abandon(pending)
    assert feed(under_test, stream[-60:] + error_chunk(1, 5)[:0]) == [pending]
    assert memory == b"a" * 40 + b"\xee" * 60


def test_rest_of_the_handshake_is_taken_in() -> None:
    under_test = transmission(structured=False, rest=simple_reply(1))
    pending, _ = under_test.begin(CMD_FLUSH, 0, 0, 0)
    assert feed(under_test, b"") == [pending]


def test_midway_inside_of_a_message_only() -> None:
    under_test = transmission()
    begin_read(under_test)
    stream = data(1, 0, b"a" * LENGTH, done=True)
    feed(under_test, stream[:-1])
    assert under_test.midway
    feed(under_test, stream[-1:])
    assert not under_test.midway


@settings(deadline=None)
@given(st.data())
def test_read_in_any_chunks_and_pieces_is_what_was_sent(draw: st.DataObject) -> None:
    length = draw.draw(st.integers(1, 60_000))
    pieces = random.Random(draw.draw(st.integers(0, 1000)))
    cuts = sorted(draw.draw(st.sets(st.integers(1, length), max_size=6)) - {length})
    chunks, expected = [], b""
    for start, end in zip([0, *cuts], [*cuts, length], strict=True):
        hole = pieces.random() < 0.3
        content = bytes(end - start) if hole else pieces.randbytes(end - start)
        expected += content
        chunks.append(hole_chunk(1, OFFSET + start, end - start, 0) if hole else data(1, start, content))
    pieces.shuffle(chunks)
    under_test = transmission()
    pending, memory = begin_read(under_test, length)
    assert feed(under_test, b"".join(chunks) + none_chunk(1), pieces) == [pending]
    assert memory == expected


# ---- what is wrong


def chunk(kind: int, payload: bytes = b"", *, done: bool = True) -> bytes:
    """Any chunk."""
    return CHUNK.pack(STRUCTURED_REPLY_MAGIC, int(done), kind, 1, len(payload)) + payload


@pytest.mark.parametrize(
    ("stream", "problem"),
    [
        (b"z" * 20, "invalid magic 0x7a7a7a7a of a reply"),
        (none_chunk(9), "a reply to request 0x9, which is not there"),
        (simple_reply(1), "simple reply when structured reply chunk was expected"),
        (none_chunk(1), "0 bytes in reply to a read of 100"),
        (data(1, 0, b"a" * 99, done=True), "99 bytes in reply to a read of 100"),
        (data(1, 0, b"a" * 101), "101 bytes at 1000 in reply to a read of 100 at 1000"),
        (data_chunk(1, 999, 5), "5 bytes at 999 in reply to a read of 100 at 1000"),
        (data_chunk(1, 2**64 - 1, 5), f"5 bytes at {2**64 - 1} in reply to a read of 100 at 1000"),
        (data_chunk(1, OFFSET, 2**31), f"{2**31} bytes at 1000 in reply to a read of 100 at 1000"),
        (data(1, 0, b"a" * 50) + data(1, 49, b"b"), "the bytes 1049 to 1050 overlap with an earlier chunk"),
        (hole_chunk(1, OFFSET, 101), "101 bytes at 1000 in reply to a read of 100 at 1000"),
        (hole_chunk(1, OFFSET, 0), "an empty hole"),
        (chunk(1, bytes(8)), "a data chunk of 8 bytes"),
        (chunk(0, b"x"), "an empty chunk that is not empty, or not the last"),
        (chunk(0, done=False), "an empty chunk that is not empty, or not the last"),
        (chunk(5, bytes(4) + struct.pack(">II", 1, 0)), "a chunk of type 5 in reply to read"),
        (chunk(3), "a chunk of type 3 in reply to read"),
        (
            CHUNK.pack(STRUCTURED_REPLY_MAGIC, 1, 5, 1, 2**32 - 1),
            "a chunk of type 5 with 4294967295 bytes, at most 8192",
        ),
    ],
)
def test_server_that_breaks_the_protocol_in_reply_to_a_read(stream: bytes, problem: str) -> None:
    under_test = transmission()
    begin_read(under_test)
    with pytest.raises(ProtocolError) as raised:
        feed(under_test, stream)
    assert raised.value.problem == problem


@pytest.mark.parametrize(
    ("stream", "problem"),
    [
        (none_chunk(1), "Server did not reply with any status extents"),
        (block_status_chunk(1, 8, [(1, 0)]), "status of metadata context 8, which was not negotiated"),
        (
            block_status_chunk(1, CONTEXT, [(1, 0)], 0) * 2,
            "several chunks of block status for one metadata context",
        ),
        (data_chunk(1, 0, 5), "a chunk of type 1 in reply to block status"),
    ],
)
def test_server_that_breaks_the_protocol_in_reply_to_block_status(stream: bytes, problem: str) -> None:
    under_test = transmission()
    under_test.begin(CMD_BLOCK_STATUS, 0, 0, 100)
    with pytest.raises(ProtocolError) as raised:
        feed(under_test, stream + bytes(5))
    assert raised.value.problem == problem


def test_chunk_that_was_not_negotiated_breaks_the_protocol() -> None:
    under_test = transmission(structured=False)
    begin_read(under_test)
    with pytest.raises(ProtocolError, match=r"a structured reply, which was not negotiated$"):
        feed(under_test, none_chunk(1))


messages = st.one_of(
    st.builds(simple_reply, st.integers(1, 4), st.sampled_from((0, 5))),
    st.builds(none_chunk, st.integers(1, 4)),
    st.builds(lambda start, content: data(1, start, content), st.integers(0, 99), st.binary(min_size=1, max_size=50)),
    st.builds(hole_chunk, st.integers(1, 4), st.integers(990, 1100), st.integers(0, 110), st.integers(0, 1)),
    st.builds(error_chunk, st.integers(1, 4), st.integers(0, 100)),
    st.binary(max_size=40),
)


@settings(deadline=None)
@given(st.lists(messages, max_size=8), st.integers(0, 1000))
def test_any_bytes_answer_requests_or_break_the_protocol(stream: list[bytes], seed: int) -> None:
    under_test = transmission()
    begin_read(under_test)
    under_test.begin(CMD_FLUSH, 0, 0, 0)
    under_test.begin(CMD_BLOCK_STATUS, 0, 0, 100)
    with contextlib.suppress(ProtocolError):
        feed(under_test, b"".join(stream), random.Random(seed))
