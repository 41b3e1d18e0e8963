# SPDX-License-Identifier: GPL-2.0-or-later
"""The fuzz harnesses, driven by hypothesis: bytes at random, and messages that are nearly right."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block.nbd.messages import (
    Request,
    block_status_chunk,
    data_chunk,
    error_chunk,
    hole_chunk,
    none_chunk,
    simple_reply,
)
from asyncemu.block.nbd.option_messages import (
    BlockSizes,
    InfoRequest,
    MetaContext,
    MetaContextRequest,
    block_size_information,
    export_information,
    option_reply,
    option_request,
)
from tests.block.nbd import fuzz_client, fuzz_server

choices = st.integers(0, 255).map(lambda number: bytes([number]))
small = st.integers(0, 12)
names = st.sampled_from(("disk", "", "x"))
queries = st.lists(st.sampled_from(("base:allocation", "base:", "qemu:", "x")), max_size=3).map(tuple)
lengths = st.sampled_from((0, 1, 1000, 1001, 1 << 20, (32 << 20) + 1, 0xFFFFFFFF))

from_client = st.one_of(
    st.binary(max_size=30),
    st.builds(option_request, small, st.binary(max_size=20)),
    st.builds(
        lambda option, name: option_request(option, InfoRequest(name, (3,)).encode()), st.sampled_from((6, 7)), names
    ),
    st.builds(
        lambda option, name, wanted: option_request(option, MetaContextRequest(name, wanted).encode()),
        st.sampled_from((9, 10)),
        names,
        queries,
    ),
    st.builds(Request, small, small, small, lengths, lengths).map(Request.encode),
)

from_server = st.one_of(
    st.binary(max_size=30),
    st.sampled_from((b"NBDMAGICIHAVEOPT\0\3", b"NBDMAGICIHAVEOPT\0\0", b"NBDMAGIC\0\x42\2\x81\x86\x12\x53")),
    st.builds(option_reply, small, st.integers(1, 4) | st.integers(0x80000001, 0x8000000A), st.binary(max_size=20)),
    st.just(option_reply(8, 1)),
    st.just(option_reply(10, 4, MetaContext(0, "base:allocation").encode()) + option_reply(10, 1)),
    st.just(option_reply(7, 3, export_information(1000, 1))),
    st.just(option_reply(7, 3, block_size_information(BlockSizes()))),
    st.just(option_reply(7, 1)),
    st.builds(simple_reply, small, st.sampled_from((0, 5))),
    st.builds(none_chunk, small),
    st.builds(
        lambda cookie, offset, data: data_chunk(cookie, offset, len(data), 0) + data,
        small,
        lengths,
        st.binary(min_size=1, max_size=50),
    ),
    st.builds(hole_chunk, small, lengths, lengths, st.integers(0, 1)),
    st.builds(error_chunk, small, small, st.text(max_size=5), st.none() | lengths),
    st.builds(block_status_chunk, small, st.integers(0, 1), st.lists(st.tuples(lengths, small), max_size=3)),
    st.just(struct.pack(">I", 0x668E33EF)),
)


def stream_of(pieces: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Several of them, one behind the other, behind a choice."""
    return st.builds(lambda choice, parts: choice + b"".join(parts), choices, st.lists(pieces, max_size=10))


@settings(deadline=None, max_examples=300)
@given(stream_of(from_client))
def test_server_any_stream_is_answered_or_refused(data: bytes) -> None:
    fuzz_server.fuzz_one(data)


@settings(deadline=None, max_examples=300)
@given(stream_of(from_server))
def test_client_any_stream_has_an_outcome_or_an_error(data: bytes) -> None:
    fuzz_client.fuzz_one(data)
