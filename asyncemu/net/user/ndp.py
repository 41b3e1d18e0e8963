# SPDX-License-Identifier: GPL-2.0-or-later
"""NeighborDiscovery: the router's side of IPv6 on the guest's link. RFC 4861: 6.2 (router), 7.2 (neighbours).

It tells the guest the prefix to make itself an address of, answers who asks for ours, and remembers which MAC address
the guest's addresses are at. There is one router and one host, so nobody waits at random before he answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from asyncemu.net.packets import ipv6, ndp
from asyncemu.net.packets.ndp import (
    NeighborAdvertisement,
    NeighborSolicitation,
    Options,
    RouterAdvertisement,
    RouterSolicitation,
)

_SECOND: Final = 1_000_000_000

#: RFC 4861, 6.2.1: between two advertisements that nobody asked for, in ns.
MIN_INTERVAL: Final = 200 * _SECOND
MAX_INTERVAL: Final = 600 * _SECOND
#: RFC 4861, 10: the first ones come faster; and advertisements to all never come faster than this.
INITIAL_INTERVAL: Final = 16 * _SECOND
INITIAL_COUNT: Final = 3
MIN_DELAY: Final = 3 * _SECOND

#: RFC 8106, 5.1: three times the interval, in seconds.
DNS_LIFETIME: Final = 1800

#: Addresses of the guest that are remembered at most; the one not seen for longest makes room.
MAX_NEIGHBORS: Final = 256


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """What the router tells. Addresses of 16 bytes; None or empty: it does not tell that."""

    mac: bytes
    #: That it answers for, beside its link-local one: the gateway, the DNS proxy.
    addresses: frozenset[bytes]
    prefix: bytes
    prefix_length: int = 64
    dns_servers: tuple[bytes, ...] = ()
    domain_search: tuple[str, ...] = ()
    mtu: int | None = None
    #: In seconds; 0: it is no way out (QEMU: restrict).
    lifetime: int = 1800


class Reply(NamedTuple):
    """An ICMPv6 message in a packet with hop limit 255 between two addresses, in a frame to ``mac``."""

    source: bytes
    destination: bytes
    mac: bytes
    message: bytes


class NeighborDiscovery:
    """State: the guest's addresses, and when the next advertisement is due."""

    def __init__(self, settings: RouterSettings, now: int, random: Random) -> None:
        self.settings = settings
        self.link_local: Final = ipv6.link_local(settings.mac)
        self._ours: Final = settings.addresses | {self.link_local}
        self._random = random
        self._neighbors: dict[bytes, bytes] = {}
        self._sent = 0
        self._due = now
        self._last = now - MIN_DELAY
        self._options = Options(
            source_mac=settings.mac,
            mtu=settings.mtu,
            prefixes=(ndp.Prefix(settings.prefix, settings.prefix_length),),
            dns_servers=ndp.DnsServers(settings.dns_servers, DNS_LIFETIME) if settings.dns_servers else None,
            search_list=ndp.SearchList(settings.domain_search, DNS_LIFETIME) if settings.domain_search else None,
        )

    def receive(self, header: ipv6.Header, message: ndp.Discovery, mac: bytes, now: int) -> Reply | None:
        """A message of the guest, in a frame from ``mac``: the answer, or None."""
        if isinstance(message, NeighborSolicitation):
            self._learn(header.source, message.options.source_mac)
            return self._answer(header, message, mac)
        if isinstance(message, RouterSolicitation):
            self._learn(header.source, message.options.source_mac)
            return self._solicited(header.source, mac, now)
        if isinstance(message, NeighborAdvertisement):
            self._advertised(message)
        # A guest that says it is a router is none of ours.
        return None

    def lookup(self, address: bytes) -> bytes | None:
        """The MAC address of one of the guest's addresses; None: ask with ``solicit``."""
        return self._neighbors.get(address)

    def seen(self, address: bytes, mac: bytes) -> None:
        """A packet came from ``address`` in a frame from ``mac``. There is one guest: that is as good as being told."""
        if self._neighbors.get(address) != mac:
            self._learn(address, mac)

    def solicit(self, address: bytes) -> Reply:
        """Ask the guest for ``address``: RFC 4861, 7.2.2."""
        group = ipv6.solicited_node(address)
        message = NeighborSolicitation(address, Options(source_mac=self.settings.mac)).pack(self.link_local, group)
        return Reply(self.link_local, group, ipv6.multicast_mac(group), message)

    def next_deadline(self) -> int:
        """When ``expire`` has an advertisement to send, in ns."""
        return self._due

    def expire(self, now: int) -> Reply | None:
        """The advertisement to all that is due, if it is: RFC 4861, 6.2.4."""
        if now < self._due:
            return None
        self._sent += 1
        self._last = now
        interval = self._random.randint(MIN_INTERVAL, MAX_INTERVAL)
        self._due = now + (min(interval, INITIAL_INTERVAL) if self._sent < INITIAL_COUNT else interval)
        return self._advertisement(ipv6.ALL_NODES, ipv6.multicast_mac(ipv6.ALL_NODES))

    # ----

    def _answer(self, header: ipv6.Header, asked: NeighborSolicitation, mac: bytes) -> Reply | None:
        """RFC 4861, 7.2.4."""
        target = asked.target
        if target not in self._ours:
            return None
        flags = ndp.FROM_ROUTER | ndp.OVERRIDE
        destination = header.source
        if destination == ipv6.ANY:
            # Somebody is about to give himself our address: all are to know that it is ours.
            destination, mac = ipv6.ALL_NODES, ipv6.multicast_mac(ipv6.ALL_NODES)
        else:
            flags |= ndp.SOLICITED
        message = NeighborAdvertisement(target, Options(target_mac=self.settings.mac), flags)
        return Reply(target, destination, mac, message.pack(target, destination))

    def _solicited(self, source: bytes, mac: bytes, now: int) -> Reply | None:
        """RFC 4861, 6.2.6: to who asks when he has an address, else to all, but not too often."""
        if source != ipv6.ANY:
            return self._advertisement(source, mac)
        if now - self._last < MIN_DELAY:
            self._due = min(self._due, self._last + MIN_DELAY)
            return None
        self._last = now
        return self._advertisement(ipv6.ALL_NODES, ipv6.multicast_mac(ipv6.ALL_NODES))

    def _advertisement(self, destination: bytes, mac: bytes) -> Reply:
        # O: the DHCPv6 server knows more (RFC 4861, 4.2), as where to boot from.
        message = RouterAdvertisement(self.settings.lifetime, self._options, flags=ndp.OTHER)
        return Reply(self.link_local, destination, mac, message.pack(self.link_local, destination))

    def _advertised(self, message: NeighborAdvertisement) -> None:
        """RFC 4861, 7.2.5: with OVERRIDE a new MAC address counts, else only for an address that is unknown."""
        known = self._neighbors.get(message.target)
        mac = message.options.target_mac
        if known is None or message.flags & ndp.OVERRIDE:
            self._learn(message.target, mac)

    def _learn(self, address: bytes, mac: bytes | None) -> None:
        if mac is None or mac[0] & 1 or address == ipv6.ANY or ipv6.is_multicast(address) or address in self._ours:
            return
        self._neighbors.pop(address, None)
        self._neighbors[address] = mac
        if len(self._neighbors) > MAX_NEIGHBORS:
            del self._neighbors[next(iter(self._neighbors))]
