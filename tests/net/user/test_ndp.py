# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

from asyncemu.net.packets import icmpv6, ipv6, ndp
from asyncemu.net.packets.ndp import NeighborAdvertisement, NeighborSolicitation, Options, RouterAdvertisement
from asyncemu.net.user.ndp import (
    INITIAL_INTERVAL,
    MAX_INTERVAL,
    MAX_NEIGHBORS,
    MIN_DELAY,
    MIN_INTERVAL,
    NeighborDiscovery,
    Reply,
    RouterSettings,
)

SECOND = 1_000_000_000
MAC = bytes.fromhex("525400123456")
ROUTER_MAC = bytes.fromhex("52550a000202")
PREFIX = bytes.fromhex("fec0") + bytes(14)
ROUTER = bytes.fromhex("fec00000000000000000000000000002")
DNS = bytes.fromhex("fec00000000000000000000000000003")
GUEST = bytes.fromhex("fec00000000000005054 00fffe123456")
LOCAL = ipv6.link_local(MAC)
SETTINGS = RouterSettings(
    ROUTER_MAC, frozenset((ROUTER, DNS)), PREFIX, dns_servers=(DNS,), domain_search=("lan",), mtu=1500
)


def discovery(settings: RouterSettings = SETTINGS) -> NeighborDiscovery:
    return NeighborDiscovery(settings, 0, Random(1))


def read(reply: Reply | None) -> ndp.Discovery:
    """What the guest makes of it."""
    assert reply is not None
    header = ipv6.Header(reply.source, reply.destination, icmpv6.PROTOCOL, ndp.HOP_LIMIT)
    data = header.pack(len(reply.message)) + reply.message
    parsed = ipv6.parse(data)
    return ndp.parse(icmpv6.parse(data, parsed), parsed, data)


def header(source: bytes, destination: bytes = ipv6.ALL_ROUTERS) -> ipv6.Header:
    return ipv6.Header(source, destination, icmpv6.PROTOCOL, ndp.HOP_LIMIT)


def test_receive_router_solicitation_tells_who_asked_about_the_network() -> None:
    router = discovery()
    reply = router.receive(header(LOCAL), ndp.RouterSolicitation(Options(source_mac=MAC)), MAC, 0)
    message = read(reply)
    assert reply is not None
    assert reply[:3] == (ipv6.link_local(ROUTER_MAC), LOCAL, MAC)
    assert isinstance(message, RouterAdvertisement)
    assert (message.lifetime, message.flags) == (1800, ndp.OTHER)
    assert message.options == Options(
        ROUTER_MAC, None, 1500, (ndp.Prefix(PREFIX),), ndp.DnsServers((DNS,), 1800), ndp.SearchList(("lan",), 1800)
    )
    assert router.lookup(LOCAL) == MAC


def test_receive_router_solicitation_restricted_is_no_way_out() -> None:
    router = discovery(replace(SETTINGS, lifetime=0))
    message = read(router.receive(header(LOCAL), ndp.RouterSolicitation(Options()), MAC, 0))
    assert isinstance(message, RouterAdvertisement)
    assert message.lifetime == 0


def test_receive_router_solicitations_of_nobody_are_answered_to_all_but_not_at_once_again() -> None:
    router = discovery()
    router.expire(0)
    asked = ndp.RouterSolicitation(Options())
    assert router.receive(header(ipv6.ANY), asked, MAC, SECOND) is None
    assert router.next_deadline() == MIN_DELAY
    reply = router.expire(MIN_DELAY)
    assert reply is not None
    assert reply[1:3] == (ipv6.ALL_NODES, bytes.fromhex("333300000001"))
    assert router.receive(header(ipv6.ANY), asked, MAC, 2 * MIN_DELAY) is not None


def test_receive_solicitation_for_our_address_says_where_it_is() -> None:
    reply = discovery().receive(header(GUEST), NeighborSolicitation(DNS, Options(source_mac=MAC)), MAC, 0)
    message = read(reply)
    assert message == NeighborAdvertisement(
        DNS, Options(target_mac=ROUTER_MAC), ndp.FROM_ROUTER | ndp.SOLICITED | ndp.OVERRIDE
    )
    assert reply is not None
    assert reply[:3] == (DNS, GUEST, MAC)


def test_receive_duplicate_detection_of_our_address_is_answered_to_all() -> None:
    asked = NeighborSolicitation(ROUTER, Options())
    reply = discovery().receive(header(ipv6.ANY, ipv6.solicited_node(ROUTER)), asked, MAC, 0)
    message = read(reply)
    assert isinstance(message, NeighborAdvertisement)
    assert (message.target, message.flags) == (ROUTER, ndp.FROM_ROUTER | ndp.OVERRIDE)
    assert reply is not None
    assert reply.destination == ipv6.ALL_NODES


def test_receive_duplicate_detection_of_the_guests_own_address_is_not_answered() -> None:
    router = discovery()
    assert router.receive(header(ipv6.ANY), NeighborSolicitation(GUEST, Options()), MAC, 0) is None
    assert router.lookup(GUEST) is None


def test_receive_advertisement_of_the_guest_is_remembered() -> None:
    router = discovery()
    asked = read(router.solicit(GUEST))
    assert asked == NeighborSolicitation(GUEST, Options(source_mac=ROUTER_MAC))
    router.receive(header(GUEST), NeighborAdvertisement(GUEST, Options(target_mac=MAC), ndp.SOLICITED), MAC, 0)
    assert router.lookup(GUEST) == MAC


def test_receive_advertisement_without_override_changes_nothing() -> None:
    router = discovery()
    router.seen(GUEST, MAC)
    other = bytes.fromhex("525400000001")
    router.receive(header(GUEST), NeighborAdvertisement(GUEST, Options(target_mac=other)), MAC, 0)
    assert router.lookup(GUEST) == MAC
    router.receive(header(GUEST), NeighborAdvertisement(GUEST, Options(target_mac=other), ndp.OVERRIDE), MAC, 0)
    assert router.lookup(GUEST) == other


def test_seen_addresses_that_are_no_guests_are_not_remembered() -> None:
    router = discovery()
    for address, mac in ((ROUTER, MAC), (ipv6.ANY, MAC), (ipv6.ALL_NODES, MAC), (GUEST, b"\xff" * 6)):
        router.seen(address, mac)
        assert router.lookup(address) is None


def test_seen_many_addresses_are_bounded_and_the_oldest_makes_room() -> None:
    router = discovery()
    addresses = [PREFIX[:14] + number.to_bytes(2, "big") for number in range(100, 101 + MAX_NEIGHBORS)]
    for address in addresses:
        router.seen(address, MAC)
    assert [router.lookup(address) for address in addresses] == [None] + [MAC] * MAX_NEIGHBORS


def test_expire_first_advertisements_come_faster_than_the_others() -> None:
    router = discovery()
    times = []
    for _ in range(6):
        times.append(router.next_deadline())
        assert router.expire(times[-1] - 1) is None
        assert isinstance(read(router.expire(times[-1])), RouterAdvertisement)
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[:2] == [INITIAL_INTERVAL] * 2
    assert all(MIN_INTERVAL <= gap <= MAX_INTERVAL for gap in gaps[2:])


def test_receive_router_advertisement_of_the_guest_is_ignored() -> None:
    message = RouterAdvertisement(1800, Options(source_mac=MAC))
    assert discovery().receive(header(LOCAL), message, MAC, 0) is None
