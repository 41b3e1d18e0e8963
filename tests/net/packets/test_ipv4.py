# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import checksum, ipv4
from asyncemu.net.packets.errors import Malformed
from tests.net.packets.strategies import CLIENT, SERVER, bytes8, bytes16, ipv4s, payloads

headers = st.builds(ipv4.Header, ipv4s, ipv4s, bytes8, ttl=bytes8, fragment=bytes16, identification=bytes16, tos=bytes8)


def broken(place: int, value: int) -> bytes:
    """A header with a byte changed, and the checksum right for it."""
    data = bytearray(ipv4.Header(CLIENT, SERVER, 17).pack(0))
    data[place] = value
    data[10:12] = b"\0\0"
    data[10:12] = checksum.of(data).to_bytes(2, "big")
    return bytes(data)


@given(headers, payloads, payloads)
def test_parse_what_pack_made_is_the_same(header: ipv4.Header, payload: bytes, padding: bytes) -> None:
    packet = header.pack(len(payload)) + payload
    parsed = ipv4.parse(packet + padding)
    assert parsed == header._replace(start=20, end=len(packet))


@given(st.binary(max_size=100))
def test_parse_any_bytes_is_malformed_or_within_them(data: bytes) -> None:
    data = b"\x46" + data
    try:
        header = ipv4.parse(data)
    except Malformed:
        return
    assert 20 <= header.start <= header.end <= len(data)


@given(headers, payloads)
def test_pack_any_header_is_what_scapy_makes(scapy: Any, header: ipv4.Header, payload: bytes) -> None:
    theirs = scapy.IP(
        src=scapy.inet_ntoa(header.source),
        dst=scapy.inet_ntoa(header.destination),
        proto=header.protocol,
        ttl=header.ttl,
        flags=header.fragment >> 13,
        frag=header.fragment & 0x1FFF,
        id=header.identification,
        tos=header.tos,
    ) / scapy.Raw(payload)
    assert header.pack(len(payload)) + payload == bytes(theirs)


def test_parse_options_are_skipped(scapy: Any) -> None:
    packet = bytes(scapy.IP(src="10.0.2.15", dst="10.0.2.2", proto=17, options=scapy.IPOption_Router_Alert()) / b"data")
    header = ipv4.parse(packet)
    assert packet[header.start : header.end] == b"data"
    assert header.start == 24


def test_parse_only_the_head_is_there_gives_the_end_of_the_packet() -> None:
    head = ipv4.Header(CLIENT, SERVER, 6).pack(60000)
    assert ipv4.parse(head, 0, 65000).end == 60020


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(19), "header is cut"),
        (broken(0, 0x65), "version"),
        (broken(0, 0x44), "length is less"),
        (broken(0, 0x4F), "options are cut"),
        (broken(3, 21), "packet is cut"),
        (broken(3, 19), "total length"),
        (ipv4.Header(CLIENT, SERVER, 6).pack(0)[:-1] + b"\x03", "checksum"),
    ],
)
def test_parse_broken_header_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        ipv4.parse(data)


def test_fragment_properties_say_where_it_belongs() -> None:
    header = ipv4.Header(CLIENT, SERVER, 17, fragment=ipv4.MORE_FRAGMENTS | 3)
    assert (header.is_fragment, header.offset, header.more) == (True, 24, True)


def test_is_fragment_dont_fragment_alone_is_none() -> None:
    assert not ipv4.Header(CLIENT, SERVER, 17, fragment=ipv4.DONT_FRAGMENT).is_fragment


@given(st.binary(max_size=80))
def test_parse_quoted_any_bytes_is_malformed_or_within_them(data: bytes) -> None:
    data = b"\x46" + data
    try:
        header = ipv4.parse_quoted(data)
    except Malformed:
        return
    assert 20 <= header.start <= header.end == len(data)


def test_is_multicast_knows_groups() -> None:
    assert ipv4.is_multicast(b"\xe0\0\0\1")
    assert not ipv4.is_multicast(SERVER)
