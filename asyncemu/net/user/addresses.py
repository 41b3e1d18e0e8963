# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses of the guest's network, and which of the outside's a guest may name. As bytes: 4, 6 or 16 long."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncemu.net.packets import ipv6

if TYPE_CHECKING:
    from asyncemu.net.user.options import UserOptions

#: QEMU's, as are .2 (the host), .3 (DNS), .15 (the first guest).
DEFAULT_NETWORK: Final = "10.0.2.0/24"
DEFAULT_IPV6_PREFIX: Final = "fec0::"

#: Addresses that DHCP gives away. QEMU's number.
POOL: Final = 16

LOOPBACK4: Final = bytes((127, 0, 0, 1))
LOOPBACK6: Final = bytes(15) + b"\1"

# An address of IPv4 within IPv6 (RFC 4291, 2.5.5; RFC 6052, 2.1 is a translator's business) would be a way around.
_MAPPED: Final = bytes(10) + b"\xff\xff"
_COMPATIBLE: Final = bytes(12)


def is_for_a_host(address: ipaddress.IPv4Address, network: ipaddress.IPv4Network) -> bool:
    """Is it in the network, and neither its first nor its last?"""
    return address in network and address not in (network.network_address, network.broadcast_address)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Who is who on the guest's link. ``mac`` is of all that is ours."""

    mac: bytes
    network: bytes
    netmask: bytes
    broadcast: bytes
    #: Our own: that stands for the host, and the DNS server's.
    host: bytes
    dns: bytes
    #: DHCP's pool.
    first: bytes
    last: bytes
    prefix6: bytes
    prefix6_length: int
    host6: bytes
    dns6: bytes
    link_local: bytes
    ipv4: bool = True
    ipv6: bool = True

    @classmethod
    def of(cls, options: UserOptions) -> Addresses:
        """ValueError: two things have one address, or one is not where it should be."""
        network = options.network
        host = _given(options.host, network, 2)
        dns = _given(options.dns, network, 3)
        first = _given(options.dhcpstart, network, 15 if network.prefixlen <= 27 else 4)
        last = min(int(first) + POOL, int(network.broadcast_address)) - 1
        if host == dns:
            raise ValueError(f"host and dns are both {host}; set the other one, too")
        if options.dhcpstart and first in (host, dns):
            raise ValueError(f"dhcpstart is {first}, which is an address of ours; choose another one")
        text, _, bits = options.ipv6_prefix.partition("/")
        if bits and not (bits.isascii() and bits.isdecimal() and int(bits[:4]) <= 126):
            raise ValueError(f"ipv6-prefix {options.ipv6_prefix!r} has no length that a network can have")
        length = int(bits) if bits else options.ipv6_prefixlen
        prefix = ipaddress.IPv6Network((text, length), strict=False)
        host6 = ipaddress.IPv6Address(options.ipv6_host or int(prefix.network_address) + 2)
        dns6 = ipaddress.IPv6Address(options.ipv6_dns or int(prefix.network_address) + 3)
        if host6 == dns6:
            raise ValueError(f"ipv6-host and ipv6-dns are both {host6}; set the other one, too")
        for name, address in (("ipv6-host", host6), ("ipv6-dns", dns6)):
            if address not in prefix:
                raise ValueError(f"{name} {address} is not in {prefix}")
        # As QEMU's: so that what a guest remembers of its last start is right.
        mac = b"\x52\x55" + host.packed
        return cls(
            mac,
            network.network_address.packed,
            network.netmask.packed,
            network.broadcast_address.packed,
            host.packed,
            dns.packed,
            first.packed,
            last.to_bytes(4, "big"),
            prefix.network_address.packed,
            length,
            host6.packed,
            dns6.packed,
            ipv6.link_local(mac),
            options.ipv4,
            options.ipv6,
        )

    def is_inside(self, address: bytes) -> bool:
        """Is it one of the guest's link?"""
        if len(address) == 4:
            mask = int.from_bytes(self.netmask, "big")
            return int.from_bytes(address, "big") & mask == int.from_bytes(self.network, "big")
        if address[:2] == b"\xfe\x80":
            return True
        shift = 128 - self.prefix6_length
        return int.from_bytes(address, "big") >> shift == int.from_bytes(self.prefix6, "big") >> shift

    def is_usable_source(self, address: bytes) -> bool:
        """Can a single guest have it, and is it none of ours?"""
        if address in (self.host, self.dns, self.host6, self.dns6, self.link_local):
            return False
        if len(address) == 4:
            # RFC 1122, 3.2.1.3.
            return 0 < address[0] < 224 and address[0] != 127 and address != self.broadcast
        return address[0] != 0xFF and address not in (ipv6.ANY, LOOPBACK6)


def is_outside(address: bytes) -> bool:
    """May the guest name this host of the outside? None that means ourselves, many, or nobody.

    The host's loopback is reached by the address that stands for the host only.
    """
    if len(address) == 4:
        # RFC 1122, 3.2.1.3; RFC 5771; link-local ones (RFC 3927) are not to be forwarded.
        return 0 < address[0] < 224 and address[0] != 127 and address[:2] != b"\xa9\xfe"
    # RFC 4291, 2.4: unspecified, loopback, multicast, link-local; IPv4 in disguise.
    return (
        address[0] != 0xFF
        and not ipv6.is_link_local(address)
        and not address.startswith(_MAPPED)
        and not address.startswith(_COMPATIBLE)
    )


def text_of(address: bytes) -> str:
    """As sockets want it."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def packed(text: str) -> bytes:
    """What a socket says, as 4 or 16 bytes; a zone is left out, IPv4 in IPv6 is IPv4."""
    if ":" not in text:
        return socket.inet_pton(socket.AF_INET, text)
    address = socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
    return address[12:] if address.startswith(_MAPPED) else address


def _given(text: str, network: ipaddress.IPv4Network, index: int) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(text) if text else network.network_address + index
