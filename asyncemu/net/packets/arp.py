# SPDX-License-Identifier: GPL-2.0-or-later
"""ARP for IPv4 over Ethernet: RFC 826."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from asyncemu.net.packets.errors import Malformed

_PACKET: Final = struct.Struct("!HHBBH6s4s6s4s")

#: Bytes.
LENGTH: Final = 28

REQUEST: Final = 1
REPLY: Final = 2

#: RFC 826, Definitions: ar$hrd, ar$pro, ar$hln, ar$pln for Ethernet and IPv4.
_KIND: Final = (1, 0x0800, 6, 4)


class Packet(NamedTuple):
    """Who asks whom, or who answers."""

    operation: int
    sender_mac: bytes
    sender_address: bytes
    target_mac: bytes
    target_address: bytes

    def pack(self) -> bytes:
        """As bytes: the payload of a frame."""
        return _PACKET.pack(*_KIND, *self)

    @property
    def is_announcement(self) -> bool:
        """Does the sender tell everybody its own address? RFC 5227, 3; of RFC 826's "gratuitous" ARP both forms."""
        return self.sender_address == self.target_address


def parse(data: bytes, start: int = 0) -> Packet:
    """The packet at ``start``. Raises Malformed, also for what is not Ethernet and IPv4."""
    if len(data) - start < LENGTH:
        raise Malformed("ARP packet is cut")
    hardware, protocol, hardware_length, protocol_length, *fields = _PACKET.unpack_from(data, start)
    if (hardware, protocol, hardware_length, protocol_length) != _KIND:
        raise Malformed("ARP is not for Ethernet and IPv4")
    return Packet._make(fields)


def reply(request: Packet, mac: bytes) -> Packet:
    """The answer to ``request``: its target's address is at ``mac``. RFC 826, Packet Reception."""
    return Packet(REPLY, mac, request.target_address, request.sender_mac, request.sender_address)
