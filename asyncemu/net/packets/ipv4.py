# SPDX-License-Identifier: GPL-2.0-or-later
"""IPv4 headers: RFC 791, 3.1."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from asyncemu.net.packets.errors import Malformed

_HEADER: Final = struct.Struct("!BBHHHBBH4s4s")

#: Bytes without options, and with as many as there can be.
HEADER_LENGTH: Final = 20
MAX_HEADER_LENGTH: Final = 60
MAX_LENGTH: Final = 65535

#: What every host can take whole: RFC 791, 3.1 (total length).
MIN_MTU: Final = 576

#: Values of the protocol field, also in IPv6's next header.
ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17

ANY: Final = b"\0\0\0\0"
BROADCAST: Final = b"\xff\xff\xff\xff"

#: Parts of ``fragment``; the offset counts 8 bytes.
DONT_FRAGMENT: Final = 0x4000
MORE_FRAGMENTS: Final = 0x2000
OFFSET_MASK: Final = 0x1FFF


class Header(NamedTuple):
    """Without options, which are skipped: source routes are not followed (RFC 7126), nobody else needs one.

    ``start`` and ``end``: where the payload is in what was parsed.
    """

    source: bytes
    destination: bytes
    protocol: int
    ttl: int = 64
    #: The flags and the offset, as in the header: see DONT_FRAGMENT, MORE_FRAGMENTS, OFFSET_MASK.
    fragment: int = 0
    identification: int = 0
    #: DSCP and ECN: RFC 2474, 3; RFC 3168, 5.
    tos: int = 0
    start: int = 0
    end: int = 0

    @property
    def is_fragment(self) -> bool:
        """Is it only a part of a packet?"""
        return self.fragment & (MORE_FRAGMENTS | OFFSET_MASK) != 0

    @property
    def offset(self) -> int:
        """Where its payload belongs in the packet's, in bytes."""
        return (self.fragment & OFFSET_MASK) << 3

    @property
    def more(self) -> bool:
        """Is it a fragment that others follow?"""
        return self.fragment & MORE_FRAGMENTS != 0

    def pack(self, payload_length: int) -> bytes:
        """As bytes, for a payload of that many bytes. struct.error when that is more than fits."""
        source, destination, protocol, ttl, fragment, identification, tos, _, _ = self
        length = HEADER_LENGTH + payload_length
        # All words but the checksum, which is 0 while it is summed up.
        total = 0x4500 + tos + length + identification + fragment + (ttl << 8) + protocol
        total += int.from_bytes(source + destination, "big")
        value = 65535 - (total % 65535 or 65535)
        return _HEADER.pack(0x45, tos, length, identification, fragment, ttl, protocol, value, source, destination)


_new = tuple.__new__


def parse(data: bytes, start: int = 0, end: int | None = None) -> Header:
    """The header at ``start`` of a packet that reaches to ``end`` at most (of which ``data`` may hold the head only).

    Bytes behind the packet are padding of the frame. Raises Malformed.
    """
    if end is None:
        end = len(data)
    if len(data) - start < HEADER_LENGTH:
        raise Malformed("IPv4 header is cut")
    first, tos, length, identification, fragment, ttl, protocol, _, source, destination = _HEADER.unpack_from(
        data, start
    )
    if first == 0x45:
        payload = start + HEADER_LENGTH
    elif first >> 4 != 4:
        raise Malformed("IP version is not 4")
    else:
        payload = start + ((first & 15) << 2)
        if payload - start < HEADER_LENGTH:
            raise Malformed("IPv4 header length is less than a header's")
        if payload > len(data):
            raise Malformed("IPv4 options are cut")
    last = start + length
    if last > end:
        raise Malformed("IPv4 packet is cut")
    if last < payload:
        raise Malformed("IPv4 total length is less than the header's")
    # RFC 1122, 3.2.1.2. The version is not 0, so the sum is not that of zeros only.
    if int.from_bytes(data[start:payload], "big") % 65535:
        raise Malformed("IPv4 header checksum is wrong")
    return _new(Header, (source, destination, protocol, ttl, fragment, identification, tos, payload, last))


def parse_quoted(data: bytes, start: int = 0) -> Header:
    """The header of a packet that an ICMP error quotes: its end is not there, nor is its checksum to be relied on.

    Raises Malformed.
    """
    if len(data) - start < HEADER_LENGTH:
        raise Malformed("quoted IPv4 header is cut")
    first, tos, _, identification, fragment, ttl, protocol, _, source, destination = _HEADER.unpack_from(data, start)
    payload = start + ((first & 15) << 2)
    if first >> 4 != 4 or payload - start < HEADER_LENGTH or payload > len(data):
        raise Malformed("quoted IPv4 header is none")
    return Header(source, destination, protocol, ttl, fragment, identification, tos, payload, len(data))


def is_multicast(address: bytes) -> bool:
    """Does it name a group? RFC 5771, 3."""
    return address[0] & 0xF0 == 0xE0
