# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import icmpv6, ipv6, ndp
from asyncemu.net.packets.errors import Malformed
from tests.net.packets.strategies import CLIENT6, MAC, ROUTER_MAC, SERVER6, bytes8, bytes16, bytes32, ipv6s, macs

ROUTER = ipv6.link_local(ROUTER_MAC)
GUEST = ipv6.link_local(MAC)

labels = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
options = st.builds(
    ndp.Options,
    st.none() | macs,
    st.none() | macs,
    st.none() | bytes32,
    st.lists(st.builds(ndp.Prefix, ipv6s, bytes8, bytes8, bytes32, bytes32), max_size=2).map(tuple),
    st.none() | st.builds(ndp.DnsServers, st.lists(ipv6s, min_size=1, max_size=3).map(tuple), bytes32),
    st.none() | st.builds(ndp.SearchList, st.lists(domains, min_size=1, max_size=3).map(tuple), bytes32),
)


def parse(message: bytes, source: bytes = ROUTER, destination: bytes = GUEST, hop_limit: int = 255) -> ndp.Discovery:
    data = ipv6.Header(source, destination, icmpv6.PROTOCOL, hop_limit).pack(len(message)) + message
    header = ipv6.parse(data)
    return ndp.parse(icmpv6.parse(data, header), header, data)


@given(bytes16, options, bytes8, bytes8, bytes32, bytes32)
def test_parse_router_advertisement_that_pack_made_is_the_same(
    lifetime: int, options: ndp.Options, hop_limit: int, flags: int, reachable: int, retransmission: int
) -> None:
    message = ndp.RouterAdvertisement(lifetime, options, hop_limit, flags, reachable, retransmission)
    assert parse(message.pack(ROUTER, GUEST)) == message


@given(ipv6s.filter(lambda address: address[0] != 0xFF), options)
def test_parse_neighbor_solicitation_that_pack_made_is_the_same(target: bytes, options: ndp.Options) -> None:
    message = ndp.NeighborSolicitation(target, options)
    assert parse(message.pack(ROUTER, GUEST)) == message


@given(ipv6s.filter(lambda address: address[0] != 0xFF), options, bytes8)
def test_parse_neighbor_advertisement_that_pack_made_is_the_same(
    target: bytes, options: ndp.Options, flags: int
) -> None:
    message = ndp.NeighborAdvertisement(target, options, flags)
    assert parse(message.pack(ROUTER, GUEST)) == message


@given(options)
def test_parse_router_solicitation_that_pack_made_is_the_same(options: ndp.Options) -> None:
    assert parse(ndp.pack_solicitation(ROUTER, GUEST, options)) == ndp.RouterSolicitation(options)


@given(st.sampled_from((133, 134, 135, 136, 137)), st.binary(max_size=100))
def test_parse_any_bytes_is_malformed_or_a_message(type: int, payload: bytes) -> None:
    try:
        message = parse(icmpv6.pack(ROUTER, GUEST, type, 0, 0, payload))
    except Malformed:
        return
    assert 133 <= type <= 136
    assert len(message.options.pack()) <= len(payload)


def test_pack_router_advertisement_is_read_by_scapy(scapy: Any) -> None:
    options = ndp.Options(
        source_mac=ROUTER_MAC,
        mtu=1500,
        prefixes=(ndp.Prefix(SERVER6[:8] + bytes(8)),),
        dns_servers=ndp.DnsServers((SERVER6,), 1800),
        search_list=ndp.SearchList(("example.org", "lan"), 1800),
    )
    message = ndp.RouterAdvertisement(1800, options).pack(ROUTER, ipv6.ALL_NODES)
    theirs = scapy.IPv6(ipv6.Header(ROUTER, ipv6.ALL_NODES, icmpv6.PROTOCOL, 255).pack(len(message)) + message)
    assert theirs[scapy.ICMPv6ND_RA].routerlifetime == 1800
    assert theirs[scapy.ICMPv6NDOptSrcLLAddr].lladdr == "52:55:0a:00:02:02"
    assert theirs[scapy.ICMPv6NDOptMTU].mtu == 1500
    assert (theirs[scapy.ICMPv6NDOptPrefixInfo].prefix, theirs[scapy.ICMPv6NDOptPrefixInfo].prefixlen) == ("fec0::", 64)
    assert theirs[scapy.ICMPv6NDOptRDNSS].dns == ["fec0::2"]
    assert theirs[scapy.ICMPv6NDOptDNSSL].searchlist == ["example.org.", "lan."]


@pytest.mark.parametrize(
    ("message", "source", "reason"),
    [
        (ndp.RouterAdvertisement(1, ndp.Options()).pack(SERVER6, GUEST), SERVER6, "not of this link"),
        (icmpv6.pack(ROUTER, GUEST, 134, 0, 0, bytes(7)), ROUTER, "or cut"),
        (icmpv6.pack(ROUTER, GUEST, 133, 1, 0, b""), ROUTER, "beyond the link"),
        (icmpv6.pack(ROUTER, GUEST, 133, 0, 0, b"\1\0" + bytes(6)), ROUTER, "no length"),
        (icmpv6.pack(ROUTER, GUEST, 133, 0, 0, b"\1\2" + bytes(6)), ROUTER, "past the end"),
        (icmpv6.pack(ROUTER, GUEST, 133, 0, 0, b"\1\1" + bytes(5)), ROUTER, "option of neighbour discovery is cut"),
        (icmpv6.pack(ROUTER, GUEST, 135, 0, 0, bytes(15)), ROUTER, "without its target"),
        (icmpv6.pack(ROUTER, GUEST, 135, 0, 0, ipv6.ALL_NODES), ROUTER, "about a group"),
        (icmpv6.pack(ROUTER, GUEST, 137, 0, 0, bytes(32)), ROUTER, "not of neighbour discovery"),
        (ndp.NeighborSolicitation(CLIENT6, ndp.Options()).pack(ipv6.ANY, GUEST), ipv6.ANY, "duplicates"),
        (ndp.pack_solicitation(ipv6.ANY, GUEST, ndp.Options(source_mac=MAC)), ipv6.ANY, "of nobody"),
    ],
)
def test_parse_broken_message_says_what_is_wrong(message: bytes, source: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        parse(message, source)


def test_parse_solicited_advertisement_to_a_group_is_malformed() -> None:
    message = ndp.NeighborAdvertisement(CLIENT6, ndp.Options(), ndp.SOLICITED).pack(ROUTER, ipv6.ALL_NODES)
    with pytest.raises(Malformed, match="to a group"):
        parse(message, ROUTER, ipv6.ALL_NODES)


def test_parse_came_through_a_router_is_malformed() -> None:
    with pytest.raises(Malformed, match="beyond the link"):
        parse(ndp.pack_solicitation(ROUTER, GUEST, ndp.Options()), hop_limit=254)


def test_parse_unknown_options_are_skipped() -> None:
    message = icmpv6.pack(ROUTER, GUEST, 133, 0, 0, b"\xfe\1" + bytes(6) + b"\1\1" + MAC)
    assert parse(message) == ndp.RouterSolicitation(ndp.Options(source_mac=MAC))
