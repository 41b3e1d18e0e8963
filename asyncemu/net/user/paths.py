# SPDX-License-Identifier: GPL-2.0-or-later
"""Path: the headers of all packets from one address of ours to one of the guest's, with what never changes made once.

A path makes Ethernet and IP headers; the two kinds look alike to TCP and UDP, which know nothing of IP otherwise.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from asyncemu.net.frame import GSO_TCPV4, GSO_TCPV6, NEEDS_CHECKSUM, VnetHeader
from asyncemu.net.packets import checksum, ethernet, ipv4, ipv6

_IPV4: Final = struct.Struct("!6s6sHBBHHHBBH4s4s")
_IPV6: Final = struct.Struct("!6s6sHIHBB16s16s")

#: Bytes of a packet on the link.
MTU: Final = 1500

_TTL: Final = 64

#: Where the checksum is, in bytes from the start of the header.
_TCP_CHECKSUM: Final = 16
_UDP_CHECKSUM: Final = 6


class Ipv4Path:
    """RFC 791, 3.1."""

    __slots__ = ("_sum", "destination", "mac", "mss", "protocol", "pseudo", "source")

    #: Bytes of both headers.
    length: Final = ethernet.HEADER_LENGTH + ipv4.HEADER_LENGTH
    default_mss: Final = 536
    gso_type: Final = GSO_TCPV4
    tcp_unsummed: Final = VnetHeader(NEEDS_CHECKSUM, checksum_start=length, checksum_offset=_TCP_CHECKSUM)
    udp_unsummed: Final = VnetHeader(NEEDS_CHECKSUM, checksum_start=length, checksum_offset=_UDP_CHECKSUM)

    def __init__(self, mac: bytes, source: bytes, destination: bytes, protocol: int) -> None:
        self.mac = mac
        self.source = source
        self.destination = destination
        self.protocol = protocol
        self.mss = MTU - ipv4.HEADER_LENGTH - 20
        #: The sum of the pseudo header but for the length.
        self.pseudo = checksum.pseudo_header(source, destination, protocol, 0)
        self._sum = 0x4500 + ipv4.DONT_FRAGMENT + (_TTL << 8) + self.pseudo

    def head(self, guest_mac: bytes, length: int) -> bytes:
        """For a payload of ``length`` bytes. The packet is not to be cut, so it needs no number: RFC 6864, 4.1."""
        length += 20
        return _IPV4.pack(
            guest_mac,
            self.mac,
            0x0800,
            0x45,
            0,
            length,
            0,
            0x4000,
            _TTL,
            self.protocol,
            65535 - ((self._sum + length) % 65535 or 65535),
            self.source,
            self.destination,
        )


class Ipv6Path:
    """RFC 8200, 3."""

    __slots__ = ("destination", "mac", "mss", "protocol", "pseudo", "source")

    length: Final = ethernet.HEADER_LENGTH + ipv6.HEADER_LENGTH
    #: RFC 9293, 3.7.1.
    default_mss: Final = 1220
    gso_type: Final = GSO_TCPV6
    tcp_unsummed: Final = VnetHeader(NEEDS_CHECKSUM, checksum_start=length, checksum_offset=_TCP_CHECKSUM)
    udp_unsummed: Final = VnetHeader(NEEDS_CHECKSUM, checksum_start=length, checksum_offset=_UDP_CHECKSUM)

    def __init__(self, mac: bytes, source: bytes, destination: bytes, protocol: int) -> None:
        self.mac = mac
        self.source = source
        self.destination = destination
        self.protocol = protocol
        self.mss = MTU - ipv6.HEADER_LENGTH - 20
        self.pseudo = checksum.pseudo_header(source, destination, protocol, 0)

    def head(self, guest_mac: bytes, length: int) -> bytes:
        """For a payload of ``length`` bytes."""
        return _IPV6.pack(
            guest_mac, self.mac, 0x86DD, 0x60000000, length, self.protocol, _TTL, self.source, self.destination
        )


Path: TypeAlias = Ipv4Path | Ipv6Path


def path_between(mac: bytes, source: bytes, destination: bytes, protocol: int) -> Path:
    """From ``source``, which is at ``mac``, to ``destination``."""
    kind = Ipv4Path if len(source) == 4 else Ipv6Path
    return kind(mac, source, destination, protocol)
