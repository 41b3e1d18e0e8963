# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of neighbour discovery: RFC 4861, 4; their options for DNS: RFC 8106, 5. The checksum is icmpv6's."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from asyncemu.net.packets import dns_names, icmpv6, ipv6
from asyncemu.net.packets.errors import Malformed

#: RFC 4861, 6.1 and 7.1: what came through a router has less.
HOP_LIMIT: Final = 255

_ROUTER: Final = struct.Struct("!II")
_PREFIX: Final = struct.Struct("!BBBBIII16s")
_LIFETIME: Final = struct.Struct("!BBHI")

#: Kinds of options.
_SOURCE: Final = 1
_TARGET: Final = 2
_PREFIX_INFORMATION: Final = 3
_MTU: Final = 5
_DNS_SERVERS: Final = 25
_SEARCH_LIST: Final = 31

#: RFC 4861, 4.2: the flags M and O of an advertisement.
MANAGED: Final = 0x80
OTHER: Final = 0x40
#: RFC 4861, 4.6.2: of a prefix: its addresses are on this link; hosts may give themselves one.
ON_LINK: Final = 0x80
AUTONOMOUS: Final = 0x40
#: RFC 4861, 4.4: of a neighbour's advertisement.
FROM_ROUTER: Final = 0x80
SOLICITED: Final = 0x40
OVERRIDE: Final = 0x20


class Prefix(NamedTuple):
    """RFC 4861, 4.6.2. Lifetimes in seconds."""

    prefix: bytes
    length: int = 64
    flags: int = ON_LINK | AUTONOMOUS
    valid: int = 86400
    preferred: int = 14400


class DnsServers(NamedTuple):
    """RFC 8106, 5.1. The lifetime in seconds."""

    addresses: tuple[bytes, ...]
    lifetime: int


class SearchList(NamedTuple):
    """RFC 8106, 5.2. The lifetime in seconds."""

    domains: tuple[str, ...]
    lifetime: int


class Options(NamedTuple):
    """What we know of the options of a message; None or empty: it is not there. RFC 4861, 4.6."""

    source_mac: bytes | None = None
    target_mac: bytes | None = None
    mtu: int | None = None
    prefixes: tuple[Prefix, ...] = ()
    dns_servers: DnsServers | None = None
    search_list: SearchList | None = None

    def pack(self) -> bytes:
        """As bytes."""
        parts = []
        if self.source_mac is not None:
            parts.append(bytes((_SOURCE, 1)) + self.source_mac)
        if self.target_mac is not None:
            parts.append(bytes((_TARGET, 1)) + self.target_mac)
        if self.mtu is not None:
            parts.append(_LIFETIME.pack(_MTU, 1, 0, self.mtu))
        for prefix, length, flags, valid, preferred in self.prefixes:
            parts.append(_PREFIX.pack(_PREFIX_INFORMATION, 4, length, flags, valid, preferred, 0, prefix))
        if self.dns_servers is not None:
            parts.append(_pack_lifetime(_DNS_SERVERS, self.dns_servers.lifetime, b"".join(self.dns_servers.addresses)))
        if self.search_list is not None:
            domains = b"".join(map(dns_names.pack, self.search_list.domains))
            parts.append(_pack_lifetime(_SEARCH_LIST, self.search_list.lifetime, domains + bytes(-len(domains) % 8)))
        return b"".join(parts)


class RouterSolicitation(NamedTuple):
    """Who is a router here? RFC 4861, 4.1."""

    options: Options


class RouterAdvertisement(NamedTuple):
    """I am: RFC 4861, 4.2. The lifetime in seconds, 0: not a default router; the others in ms, 0: nothing is said."""

    lifetime: int
    options: Options
    hop_limit: int = 64
    flags: int = 0
    reachable: int = 0
    retransmission: int = 0

    def pack(self, source: bytes, destination: bytes) -> bytes:
        """As an ICMPv6 message between two addresses."""
        rest = self.hop_limit << 24 | self.flags << 16 | self.lifetime
        payload = _ROUTER.pack(self.reachable, self.retransmission) + self.options.pack()
        return icmpv6.pack(source, destination, icmpv6.ROUTER_ADVERTISEMENT, 0, rest, payload)


class NeighborSolicitation(NamedTuple):
    """Who has ``target``? RFC 4861, 4.3."""

    target: bytes
    options: Options

    def pack(self, source: bytes, destination: bytes) -> bytes:
        """As an ICMPv6 message between two addresses."""
        payload = self.target + self.options.pack()
        return icmpv6.pack(source, destination, icmpv6.NEIGHBOR_SOLICITATION, 0, 0, payload)


class NeighborAdvertisement(NamedTuple):
    """I have: RFC 4861, 4.4."""

    target: bytes
    options: Options
    flags: int = 0

    def pack(self, source: bytes, destination: bytes) -> bytes:
        """As an ICMPv6 message between two addresses."""
        payload = self.target + self.options.pack()
        return icmpv6.pack(source, destination, icmpv6.NEIGHBOR_ADVERTISEMENT, 0, self.flags << 24, payload)


def pack_solicitation(source: bytes, destination: bytes, options: Options) -> bytes:
    """A router solicitation as an ICMPv6 message between two addresses."""
    return icmpv6.pack(source, destination, icmpv6.ROUTER_SOLICITATION, 0, 0, options.pack())


Discovery = RouterSolicitation | RouterAdvertisement | NeighborSolicitation | NeighborAdvertisement


def parse(message: icmpv6.Message, header: ipv6.Header, data: bytes) -> Discovery:
    """What ``message`` in ``data`` says, after the checks of RFC 4861, 6.1 and 7.1. Raises Malformed."""
    type, code, rest, start, end = message
    if header.hop_limit != HOP_LIMIT or code:
        raise Malformed("neighbour discovery from beyond the link")
    if type == icmpv6.ROUTER_SOLICITATION:
        options = _parse_options(data[start:end])
        if header.source == ipv6.ANY and options.source_mac is not None:
            raise Malformed("router solicitation of nobody with a link-layer address")
        return RouterSolicitation(options)
    if type == icmpv6.ROUTER_ADVERTISEMENT:
        if not ipv6.is_link_local(header.source) or end - start < _ROUTER.size:
            raise Malformed("router advertisement is not of this link, or cut")
        reachable, retransmission = _ROUTER.unpack_from(data, start)
        options = _parse_options(data[start + _ROUTER.size : end])
        return RouterAdvertisement(rest & 0xFFFF, options, rest >> 24, rest >> 16 & 0xFF, reachable, retransmission)
    if type not in (icmpv6.NEIGHBOR_SOLICITATION, icmpv6.NEIGHBOR_ADVERTISEMENT):
        raise Malformed("ICMPv6 message is not of neighbour discovery")
    if end - start < 16:
        raise Malformed("neighbour discovery without its target")
    target = data[start : start + 16]
    if ipv6.is_multicast(target):
        raise Malformed("neighbour discovery about a group")
    options = _parse_options(data[start + 16 : end])
    if type == icmpv6.NEIGHBOR_SOLICITATION:
        if header.source == ipv6.ANY and (
            options.source_mac is not None or header.destination != ipv6.solicited_node(target)
        ):
            raise Malformed("neighbour solicitation of nobody that is not for detecting duplicates")
        return NeighborSolicitation(target, options)
    flags = rest >> 24
    if flags & SOLICITED and ipv6.is_multicast(header.destination):
        raise Malformed("solicited neighbour advertisement to a group")
    return NeighborAdvertisement(target, options, flags)


def _parse_options(data: bytes) -> Options:
    """RFC 4861, 4.6: those that we don't know, or of a length that they can't have, are skipped."""
    source_mac = target_mac = mtu = dns_servers = search_list = None
    prefixes: list[Prefix] = []
    start = 0
    while start < len(data):
        if len(data) - start < 8:
            raise Malformed("option of neighbour discovery is cut")
        kind, length = data[start], data[start + 1] << 3
        if not length or start + length > len(data):
            raise Malformed("option of neighbour discovery has no length, or one past the end")
        value = data[start : start + length]
        start += length
        if kind == _SOURCE and length == 8:
            source_mac = value[2:]
        elif kind == _TARGET and length == 8:
            target_mac = value[2:]
        elif kind == _MTU and length == 8:
            mtu = int.from_bytes(value[4:], "big")
        elif kind == _PREFIX_INFORMATION and length == _PREFIX.size:
            _, _, bits, flags, valid, preferred, _, prefix = _PREFIX.unpack(value)
            prefixes.append(Prefix(prefix, bits, flags, valid, preferred))
        elif kind == _DNS_SERVERS and length >= 24 and length % 16 == 8:
            addresses = tuple(value[at : at + 16] for at in range(8, length, 16))
            dns_servers = DnsServers(addresses, int.from_bytes(value[4:8], "big"))
        elif kind == _SEARCH_LIST and length >= 16:
            search_list = SearchList(_parse_domains(value[8:]), int.from_bytes(value[4:8], "big"))
    return Options(source_mac, target_mac, mtu, tuple(prefixes), dns_servers, search_list)


def _parse_domains(data: bytes) -> tuple[str, ...]:
    """RFC 8106, 5.2: names without compression, then padding of zeros."""
    domains = []
    start = 0
    while start < len(data) and data[start]:
        name, start = dns_names.parse(data, start, compressed=False)
        domains.append(name)
    return tuple(domains)


def _pack_lifetime(kind: int, lifetime: int, value: bytes) -> bytes:
    """``value`` is of whole units of 8 bytes."""
    return _LIFETIME.pack(kind, 1 + len(value) // 8, 0, lifetime) + value
