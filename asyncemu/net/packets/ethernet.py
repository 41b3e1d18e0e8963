# SPDX-License-Identifier: GPL-2.0-or-later
"""Ethernet II frames: IEEE 802.3, 3.1; VLAN tags: IEEE 802.1Q, 9.3."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from asyncemu.net.packets.errors import Malformed

_HEADER: Final = struct.Struct("!6s6sH")
_TAG: Final = struct.Struct("!HH")

#: Bytes.
HEADER_LENGTH: Final = 14
TAG_LENGTH: Final = 4

BROADCAST: Final = b"\xff\xff\xff\xff\xff\xff"

#: Values of the type field.
IPV4: Final = 0x0800
ARP: Final = 0x0806
VLAN: Final = 0x8100
IPV6: Final = 0x86DD
SERVICE_VLAN: Final = 0x88A8

#: Tags that are skipped at most: a customer's within a provider's (802.1ad).
_MAX_TAGS: Final = 2


class Header(NamedTuple):
    """From destination to type. ``start``: where the payload begins in what was parsed."""

    destination: bytes
    source: bytes
    #: Less than 0x600: the length of an IEEE 802.3 frame, which we know nothing about.
    ether_type: int
    start: int = HEADER_LENGTH

    def pack(self) -> bytes:
        """As bytes."""
        return _HEADER.pack(self.destination, self.source, self.ether_type)


_new = tuple.__new__


def parse(data: bytes, start: int = 0) -> Header:
    """The header at ``start``; a VLAN tag is the caller's business (``skip_tags``). Raises Malformed."""
    if len(data) - start < HEADER_LENGTH:
        raise Malformed("frame shorter than an Ethernet header")
    destination, source, ether_type = _HEADER.unpack_from(data, start)
    return _new(Header, (destination, source, ether_type, start + HEADER_LENGTH))


def skip_tags(data: bytes, header: Header) -> Header:
    """``header`` with the type and the payload behind the VLAN tags, if there are any. Raises Malformed."""
    _, _, ether_type, start = header
    for _ in range(_MAX_TAGS):
        if ether_type not in (VLAN, SERVICE_VLAN):
            break
        if len(data) - start < TAG_LENGTH:
            raise Malformed("VLAN tag is cut")
        _, ether_type = _TAG.unpack_from(data, start)
        start += TAG_LENGTH
    return header._replace(ether_type=ether_type, start=start)
