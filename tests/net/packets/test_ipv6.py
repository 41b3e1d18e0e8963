# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import ipv6
from asyncemu.net.packets.errors import Malformed
from tests.net.packets.strategies import CLIENT6, MAC, SERVER6, bytes8, bytes32, ipv6s, payloads

EXTENSIONS = frozenset((ipv6.HOP_BY_HOP, ipv6.ROUTING, ipv6.FRAGMENT, ipv6.DESTINATION_OPTIONS))

fragments = st.builds(
    ipv6.Fragment, bytes32, st.integers(0, 0x1FFF).map(lambda units: units << 3), st.booleans()
).filter(lambda fragment: fragment.offset or fragment.more)
headers = st.builds(
    ipv6.Header,
    ipv6s,
    ipv6s,
    bytes8.filter(lambda protocol: protocol not in EXTENSIONS),
    hop_limit=bytes8,
    fragment=st.none() | fragments,
    traffic_class=bytes8,
    flow_label=st.integers(0, 0xFFFFF),
)


def packet(*parts: bytes, first: int) -> bytes:
    """An IPv6 packet of these extension headers, of which ``first`` is the kind of the first."""
    payload = b"".join(parts)
    return ipv6.Header(CLIENT6, SERVER6, first).pack(len(payload)) + payload


@given(headers, payloads, payloads)
def test_parse_what_pack_made_is_the_same(header: ipv6.Header, payload: bytes, padding: bytes) -> None:
    payload = payload[: len(payload) & ~7]
    whole = header.pack(len(payload)) + payload
    start = 40 if header.fragment is None else 48
    assert ipv6.parse(whole + padding) == header._replace(start=start, end=len(whole))


@given(st.sampled_from((0, 43, 44, 60, 6)), st.binary(max_size=120))
def test_parse_any_extension_headers_is_malformed_or_within_them(first: int, rest: bytes) -> None:
    data = packet(rest, first=first)
    try:
        header = ipv6.parse(data)
    except Malformed:
        return
    assert 40 <= header.start <= header.end == len(data)


@given(st.binary(max_size=120))
def test_parse_any_bytes_is_malformed_or_within_them(data: bytes) -> None:
    data = b"\x60\0\0\0\0" + data
    try:
        header = ipv6.parse(data)
    except Malformed:
        return
    assert 40 <= header.start <= header.end <= len(data)


@given(headers, payloads)
def test_pack_any_header_is_what_scapy_makes(scapy: Any, header: ipv6.Header, payload: bytes) -> None:
    theirs = scapy.IPv6(
        src=scapy.inet_ntop(scapy.socket.AF_INET6, header.source),
        dst=scapy.inet_ntop(scapy.socket.AF_INET6, header.destination),
        nh=header.protocol if header.fragment is None else ipv6.FRAGMENT,
        hlim=header.hop_limit,
        tc=header.traffic_class,
        fl=header.flow_label,
    )
    if header.fragment is not None:
        identification, offset, more = header.fragment
        theirs /= scapy.IPv6ExtHdrFragment(nh=header.protocol, offset=offset >> 3, m=int(more), id=identification)
    assert header.pack(len(payload)) + payload == bytes(theirs / scapy.Raw(payload))


def test_parse_all_extension_headers_in_order_gives_what_is_behind(scapy: Any) -> None:
    data = bytes(
        scapy.IPv6(src="fec0::15", dst="fec0::2")
        / scapy.IPv6ExtHdrHopByHop(options=[scapy.RouterAlert()])
        / scapy.IPv6ExtHdrDestOpt()
        / scapy.IPv6ExtHdrRouting(segleft=0, addresses=["fec0::3"])
        / scapy.UDP(sport=1, dport=2)
        / b"hello"
    )
    header = ipv6.parse(data)
    assert (header.protocol, data[header.start + 8 : header.end]) == (17, b"hello")


def test_parse_fragment_that_is_the_whole_packet_is_none() -> None:
    header = ipv6.parse(packet(bytes.fromhex("11000000 00000007"), b"whole", first=ipv6.FRAGMENT))
    assert (header.fragment, header.protocol, header.start) == (None, 17, 48)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(39), "header is cut"),
        (b"\x40" + bytes(39), "version"),
        (ipv6.Header(CLIENT6, SERVER6, 17).pack(1), "packet is cut"),
        (packet(bytes(7), first=0), "extension header is cut"),
        (packet(b"\x11\1" + bytes(6), first=60), "extension header is cut"),
        (packet(b"\x11\0\0\1" + bytes(4), first=43), "segments left"),
        (packet(b"\0\0\1\4" + bytes(4), b"\x11\0\1\4" + bytes(4), first=60), "not the first"),
        (packet(b"\x11\0\1\5" + bytes(4), first=60), "past the end"),
        (packet(b"\x11\0\x80\4" + bytes(4), first=60), "must not be skipped"),
        (packet(b"\x11\2" + b"\5\0" * 9 + b"\1\2\0\0", first=60), "must not be skipped"),
        (packet(*[b"\x3c\0\1\4" + bytes(4)] * 9, first=60), "too many"),
        (packet(b"\x11\0\0\1" + bytes(4), b"nine byte", first=44), "whole units"),
    ],
)
def test_parse_broken_header_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        ipv6.parse(data)


def test_parse_quoted_the_end_is_missing_gives_what_is_there() -> None:
    data = ipv6.Header(CLIENT6, SERVER6, 17).pack(1000) + b"12345678"
    assert ipv6.parse_quoted(data).end == 48


def test_link_local_of_a_mac_is_the_modified_eui_64(scapy: Any) -> None:
    text = scapy.inet_ntop(scapy.socket.AF_INET6, ipv6.link_local(MAC))
    assert text == "fe80::5054:ff:fe12:3456"


def test_solicited_node_is_the_group_of_the_last_three_bytes() -> None:
    group = ipv6.solicited_node(CLIENT6)
    assert group == bytes.fromhex("ff0200000000000000000001ff000015")
    assert ipv6.multicast_mac(group) == bytes.fromhex("3333ff000015")


def test_is_link_local_and_is_multicast_know_their_prefixes() -> None:
    assert ipv6.is_link_local(ipv6.link_local(MAC))
    assert not ipv6.is_link_local(CLIENT6)
    assert ipv6.is_multicast(ipv6.ALL_NODES)
    assert not ipv6.is_multicast(CLIENT6)
