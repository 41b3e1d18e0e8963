# SPDX-License-Identifier: GPL-2.0-or-later
"""ICMPv6: RFC 4443. What neighbour discovery says in its messages is in ndp."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from asyncemu.net.packets import checksum, ipv4, ipv6
from asyncemu.net.packets.errors import Malformed

_HEADER: Final = struct.Struct("!BBHI")
_PORTS: Final = struct.Struct("!HH")

#: Bytes.
HEADER_LENGTH: Final = 8

PROTOCOL: Final = ipv6.ICMP

#: Types: RFC 4443, 2.1; RFC 4861, 4.
UNREACHABLE: Final = 1
PACKET_TOO_BIG: Final = 2
TIME_EXCEEDED: Final = 3
PARAMETER_PROBLEM: Final = 4
ECHO_REQUEST: Final = 128
ECHO_REPLY: Final = 129
ROUTER_SOLICITATION: Final = 133
ROUTER_ADVERTISEMENT: Final = 134
NEIGHBOR_SOLICITATION: Final = 135
NEIGHBOR_ADVERTISEMENT: Final = 136
REDIRECT: Final = 137

#: RFC 4443, 2.1: errors are those without the highest bit.
_INFORMATIONAL: Final = 0x80

#: Codes of UNREACHABLE: RFC 4443, 3.1.
NO_ROUTE: Final = 0
PROHIBITED: Final = 1
ADDRESS_UNREACHABLE: Final = 3
PORT_UNREACHABLE: Final = 4

#: Codes of TIME_EXCEEDED: RFC 4443, 3.3.
HOP_LIMIT_EXCEEDED: Final = 0
REASSEMBLY_TIME_EXCEEDED: Final = 1

#: RFC 4443, 2.4 (c): an error quotes as much as fits in a packet of the least MTU.
_MAX_QUOTED: Final = ipv6.MIN_MTU - ipv6.HEADER_LENGTH - HEADER_LENGTH


class Message(NamedTuple):
    """``rest``: the four bytes behind the checksum; ``start`` and ``end``: what follows them in what was parsed."""

    type: int
    code: int
    rest: int
    start: int
    end: int

    @property
    def identifier(self) -> int:
        """Of an echo."""
        return self.rest >> 16

    @property
    def sequence(self) -> int:
        """Of an echo."""
        return self.rest & 0xFFFF

    @property
    def mtu(self) -> int:
        """Of PACKET_TOO_BIG, in bytes."""
        return self.rest

    @property
    def is_error(self) -> bool:
        """Does it quote a packet?"""
        return self.type < _INFORMATIONAL


class Quoted(NamedTuple):
    """The packet that an error is about. Ports are 0 where its protocol has none, or they are not quoted."""

    header: ipv6.Header
    source_port: int
    destination_port: int


def parse(data: bytes, header: ipv6.Header) -> Message:
    """The message that is the payload of ``header`` in ``data``; its checksum is verified. Raises Malformed."""
    source, destination, _, _, _, _, _, start, end = header
    if end > len(data) or end - start < HEADER_LENGTH:
        raise Malformed("ICMPv6 message is cut")
    type, code, _, rest = _HEADER.unpack_from(data, start)
    if not checksum.is_right(source, destination, PROTOCOL, data[start:end]):
        raise Malformed("ICMPv6 checksum is wrong")
    return Message(type, code, rest, start + HEADER_LENGTH, end)


def pack(source: bytes, destination: bytes, type: int, code: int, rest: int, payload: bytes) -> bytes:
    """A message between two addresses, with its checksum."""
    value = checksum.transport(source, destination, PROTOCOL, _HEADER.pack(type, code, 0, rest) + payload)
    return _HEADER.pack(type, code, value, rest) + payload


def echo_reply(source: bytes, destination: bytes, request: Message, data: bytes) -> bytes:
    """The answer to ``request``, which is in ``data``: RFC 4443, 4.2."""
    return pack(source, destination, ECHO_REPLY, 0, request.rest, data[request.start : request.end])


def error(source: bytes, destination: bytes, type: int, code: int, packet: bytes, rest: int = 0) -> bytes:
    """An error about ``packet``, which begins with its IPv6 header; ``rest``: the MTU of PACKET_TOO_BIG."""
    return pack(source, destination, type, code, rest, packet[:_MAX_QUOTED])


def quoted(message: Message, data: bytes) -> Quoted:
    """The packet that an error in ``data`` is about. Raises Malformed."""
    header = ipv6.parse_quoted(data[: message.end], message.start)
    first = header.fragment is None or not header.fragment.offset
    ports = (0, 0)
    if header.protocol in (ipv4.TCP, ipv4.UDP) and first and header.end - header.start >= _PORTS.size:
        ports = _PORTS.unpack_from(data, header.start)
    return Quoted(header, *ports)


def may_report(header: ipv6.Header, data: bytes) -> bool:
    """May an error be sent about this packet? RFC 4443, 2.4 (e); PACKET_TOO_BIG also about one to a group."""
    source, destination, protocol, _, fragment, _, _, start, _ = header
    if ipv6.is_multicast(destination) or ipv6.is_multicast(source) or source == ipv6.ANY:
        return False
    if fragment is not None and fragment.offset:
        return False
    # No error about an error or a redirect. What is cut counts as one.
    return protocol != PROTOCOL or (start < len(data) and data[start] >= _INFORMATIONAL and data[start] != REDIRECT)
