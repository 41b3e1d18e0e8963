# SPDX-License-Identifier: GPL-2.0-or-later
"""UDP datagrams: RFC 768; over IPv6: RFC 8200, 8.1."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from asyncemu.net.packets import ipv4
from asyncemu.net.packets.errors import Malformed

_HEADER: Final = struct.Struct("!HHHH")

#: Bytes.
HEADER_LENGTH: Final = 8

PROTOCOL: Final = ipv4.UDP


class Header(NamedTuple):
    """``start`` and ``end``: where the payload is in what was parsed."""

    source_port: int
    destination_port: int
    #: 0: the sender made none, which IPv6 does not allow.
    checksum: int
    start: int
    end: int


_new = tuple.__new__


def parse(data: bytes, start: int = 0, end: int | None = None) -> Header:
    """The datagram at ``start`` in a payload that reaches to ``end``; the checksum is not looked at. Raises Malformed.

    ``data`` may hold no more than the header.
    """
    if end is None:
        end = len(data)
    if end - start < HEADER_LENGTH or len(data) - start < HEADER_LENGTH:
        raise Malformed("UDP header is cut")
    source_port, destination_port, length, checksum = _HEADER.unpack_from(data, start)
    if length < HEADER_LENGTH:
        raise Malformed("UDP length is less than a header's")
    last = start + length
    if last > end:
        raise Malformed("UDP datagram is cut")
    return _new(Header, (source_port, destination_port, checksum, start + HEADER_LENGTH, last))


def pack(source: bytes, destination: bytes, source_port: int, destination_port: int, payload: bytes) -> bytes:
    """A datagram between two addresses of 4 or 16 bytes, with its checksum. struct.error when it is too long."""
    length = HEADER_LENGTH + len(payload)
    number = int.from_bytes(payload, "big")
    if length & 1:
        number <<= 8
    # The pseudo header, then the header; the length is in both.
    number += int.from_bytes(source + destination, "big") + PROTOCOL + 2 * length + source_port + destination_port
    # RFC 768: a sum that comes out as 0 is sent as all ones.
    checksum = 65535 - number % 65535
    return _HEADER.pack(source_port, destination_port, length, checksum) + payload


def pack_header(source_port: int, destination_port: int, payload_length: int, checksum: int) -> bytes:
    """A header alone: for who has the checksum made by the receiver (NEEDS_CHECKSUM), or makes it from views."""
    return _HEADER.pack(source_port, destination_port, HEADER_LENGTH + payload_length, checksum)
