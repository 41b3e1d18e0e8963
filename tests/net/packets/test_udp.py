# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import checksum, udp
from asyncemu.net.packets.errors import Malformed
from tests.net.packets.strategies import CLIENT, CLIENT6, SERVER, SERVER6, bytes16, payloads


@given(bytes16, bytes16, payloads, payloads)
def test_parse_what_pack_made_is_the_same(source: int, destination: int, payload: bytes, padding: bytes) -> None:
    datagram = udp.pack(CLIENT, SERVER, source, destination, payload)
    header = udp.parse(datagram + padding)
    assert header[:2] == (source, destination)
    assert datagram[header.start : header.end] == payload


@given(st.binary(max_size=40))
def test_parse_any_bytes_is_malformed_or_within_them(data: bytes) -> None:
    data = data[:4] + b"\0" + data[4:]
    try:
        header = udp.parse(data)
    except Malformed:
        return
    assert 8 == header.start <= header.end <= len(data)


@given(bytes16, bytes16, payloads)
def test_pack_over_ipv4_is_what_scapy_makes(scapy: Any, source: int, destination: int, payload: bytes) -> None:
    theirs = scapy.IP(src="10.0.2.15", dst="10.0.2.2") / scapy.UDP(sport=source, dport=destination) / payload
    assert udp.pack(CLIENT, SERVER, source, destination, payload) == bytes(theirs)[20:]


@given(bytes16, bytes16, payloads)
def test_pack_over_ipv6_is_what_scapy_makes(scapy: Any, source: int, destination: int, payload: bytes) -> None:
    theirs = scapy.IPv6(src="fec0::15", dst="fec0::2") / scapy.UDP(sport=source, dport=destination) / payload
    assert udp.pack(CLIENT6, SERVER6, source, destination, payload) == bytes(theirs)[40:]


def test_pack_checksum_comes_out_as_zero_is_all_ones() -> None:
    missing = checksum.transport(CLIENT, SERVER, 17, bytes.fromhex("00010002000a0000") + b"\0\0")
    datagram = udp.pack(CLIENT, SERVER, 1, 2, missing.to_bytes(2, "big"))
    assert udp.parse(datagram).checksum == 0xFFFF


def test_parse_only_the_header_is_there_gives_the_end_of_the_datagram() -> None:
    assert udp.parse(udp.pack_header(1, 2, 60000, 0), 0, 65000).end == 60008


@pytest.mark.parametrize(
    ("data", "reason"),
    [(bytes(7), "header is cut"), (bytes.fromhex("0001000200070000"), "less"), (udp.pack_header(1, 2, 1, 0), "is cut")],
)
def test_parse_broken_datagram_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        udp.parse(data)
