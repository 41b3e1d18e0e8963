# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import checksum, tcp
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.tcp.segment import ACK, SYN, Segment
from tests.net.packets.strategies import CLIENT, CLIENT6, SERVER, SERVER6, bytes8, bytes16, bytes32, payloads

edges = st.tuples(bytes32, bytes32)
# As much as fits: a SYN has the first three, the others have the blocks.
syns = st.builds(
    Segment,
    bytes32,
    bytes32,
    bytes8,
    bytes16,
    mss=st.none() | bytes16,
    window_scale=st.none() | st.integers(0, 14),
    sack_permitted=st.booleans(),
    timestamps=st.none() | edges,
    sack=st.just(()),
)
others = st.builds(
    Segment,
    bytes32,
    bytes32,
    bytes8,
    bytes16,
    mss=st.none(),
    window_scale=st.none(),
    sack_permitted=st.just(False),
    timestamps=st.none() | edges,
    sack=st.lists(edges, max_size=3).map(tuple),
)
segments = syns | others


def with_options(options: bytes) -> bytes:
    """A header with these options, whose length is a multiple of 4."""
    header = tcp.pack_header(1, 2, Segment(3, 4, ACK, 5))
    return header[:12] + bytes((0x50 + len(options) * 4,)) + header[13:] + options


@given(segments, bytes16, bytes16, payloads)
def test_parse_what_pack_made_is_the_same(segment: Segment, source: int, destination: int, payload: bytes) -> None:
    data = tcp.pack(CLIENT, SERVER, (source, destination), segment, payload)
    header = tcp.parse(data)
    assert header[:3] == (source, destination, segment)
    assert data[header.start :] == payload
    assert header.start == tcp.header_length(segment)
    assert checksum.is_right(CLIENT, SERVER, tcp.PROTOCOL, data)


@given(st.binary(max_size=11).map(lambda data: data * 4))
def test_parse_any_options_is_malformed_or_a_segment_that_packs(options: bytes) -> None:
    try:
        header = tcp.parse(with_options(options[:40]))
    except Malformed:
        return
    assert header.start == 20 + len(options[:40])


@given(st.binary(max_size=80))
def test_parse_any_bytes_is_malformed_or_within_them(data: bytes) -> None:
    try:
        header = tcp.parse(data)
    except Malformed:
        return
    assert 20 <= header.start <= len(data)


@given(segments, payloads)
def test_pack_any_segment_is_read_by_scapy(scapy: Any, segment: Segment, payload: bytes) -> None:
    theirs = scapy.TCP(tcp.pack(CLIENT, SERVER, (1, 2), segment, payload))
    options = {name: value for name, value in theirs.options if name not in ("NOP", "EOL")}
    assert (theirs.seq, theirs.ack, int(theirs.flags), theirs.window) == segment[:4]
    assert options.get("MSS") == segment.mss
    assert options.get("WScale") == segment.window_scale
    assert ("SAckOK" in options) is segment.sack_permitted
    assert options.get("Timestamp") == segment.timestamps
    assert options.get("SAck", ()) == tuple(edge for block in segment.sack for edge in block)


def test_pack_over_ipv6_has_the_checksum_of_scapy(scapy: Any) -> None:
    theirs = scapy.IPv6(src="fec0::15", dst="fec0::2") / scapy.TCP(sport=1, dport=2, seq=3, ack=4, flags="A", window=5)
    assert tcp.pack(CLIENT6, SERVER6, (1, 2), Segment(3, 4, ACK, 5), b"odd") == bytes(theirs / b"odd")[40:]


def test_parse_a_syn_of_linux_has_all_its_options() -> None:
    options = bytes.fromhex("020405b4 0402 080a 0000000100000002 01 030307")
    segment = tcp.parse(with_options(options)).segment
    assert segment == Segment(3, 4, ACK, 5, 1460, 7, True, (1, 2))


def test_parse_window_scale_beyond_14_is_14() -> None:
    assert tcp.parse(with_options(b"\3\3\xff\0")).segment.window_scale == 14


def test_parse_behind_the_end_of_options_is_not_looked_at() -> None:
    assert tcp.parse(with_options(b"\0\2\4\5")).segment.mss is None


def test_parse_options_of_unknown_kind_or_wrong_length_are_skipped() -> None:
    segment = tcp.parse(with_options(bytes.fromhex("fe04abcd 0203ff 0402 010101"))).segment
    assert (segment.mss, segment.sack_permitted) == (None, True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(19), "header is cut"),
        (bytes(20), "data offset"),
        (with_options(b"\1\1\1\1")[:-1], "options are cut"),
        (with_options(b"\1\1\1\2"), "without a length"),
        (with_options(b"\2\0\1\1"), "without a length"),
        (with_options(b"\1\1\2\4"), "past the end"),
    ],
)
def test_parse_broken_segment_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        tcp.parse(data)


def test_pack_header_more_options_than_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes of TCP options"):
        tcp.pack_header(1, 2, Segment(3, 4, SYN, 5, timestamps=(1, 2), sack=((1, 2),) * 4))


def test_pack_header_checksum_given_is_in_its_place() -> None:
    assert tcp.pack_header(1, 2, Segment(3, 4, ACK, 5), 0xABCD)[16:18] == b"\xab\xcd"
