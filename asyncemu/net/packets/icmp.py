# SPDX-License-Identifier: GPL-2.0-or-later
"""ICMP for IPv4: RFC 792. Of the messages those that hosts of today send: echo, and errors that quote a packet."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from asyncemu.net.packets import checksum, ipv4
from asyncemu.net.packets.errors import Malformed

_HEADER: Final = struct.Struct("!BBHI")
_PORTS: Final = struct.Struct("!HH")

#: Bytes.
HEADER_LENGTH: Final = 8

PROTOCOL: Final = ipv4.ICMP

#: Types.
ECHO_REPLY: Final = 0
UNREACHABLE: Final = 3
REDIRECT: Final = 5
ECHO_REQUEST: Final = 8
TIME_EXCEEDED: Final = 11
PARAMETER_PROBLEM: Final = 12

_ERRORS: Final = frozenset((UNREACHABLE, 4, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM))

#: Codes of UNREACHABLE: RFC 792; RFC 1812, 5.2.7.1.
NET_UNREACHABLE: Final = 0
HOST_UNREACHABLE: Final = 1
PROTOCOL_UNREACHABLE: Final = 2
PORT_UNREACHABLE: Final = 3
FRAGMENTATION_NEEDED: Final = 4
PROHIBITED: Final = 13

#: Codes of TIME_EXCEEDED.
TTL_EXCEEDED: Final = 0
REASSEMBLY_TIME_EXCEEDED: Final = 1

#: RFC 1812, 4.3.2.3: an error quotes as much as fits in a packet of 576 bytes.
_MAX_QUOTED: Final = ipv4.MIN_MTU - ipv4.HEADER_LENGTH - HEADER_LENGTH


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
        """With FRAGMENTATION_NEEDED: what the next link carries, in bytes; 0 from old routers. RFC 1191, 4."""
        return self.rest & 0xFFFF

    @property
    def is_error(self) -> bool:
        """Does it quote a packet?"""
        return self.type in _ERRORS


class Quoted(NamedTuple):
    """The packet that an error is about. Ports are 0 where its protocol has none, or they are not quoted."""

    header: ipv4.Header
    source_port: int
    destination_port: int


def parse(data: bytes, start: int = 0, end: int | None = None) -> Message:
    """The message from ``start`` to ``end``; its checksum is verified. Raises Malformed."""
    if end is None:
        end = len(data)
    if end > len(data) or end - start < HEADER_LENGTH:
        raise Malformed("ICMP message is cut")
    type, code, _, rest = _HEADER.unpack_from(data, start)
    # All zeros are no message that has the right checksum, which would be all ones.
    if checksum.add(data[start:end]) != 0xFFFF:
        raise Malformed("ICMP checksum is wrong")
    return Message(type, code, rest, start + HEADER_LENGTH, end)


def pack(type: int, code: int, rest: int, payload: bytes) -> bytes:
    """A message with its checksum."""
    number = int.from_bytes(payload, "big")
    if len(payload) & 1:
        number <<= 8
    number += (type << 8 | code) + rest
    return _HEADER.pack(type, code, 65535 - (number % 65535 or (65535 if number else 0)), rest) + payload


def echo(type: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    """A request, or the reply to one: RFC 792, Echo."""
    return pack(type, 0, identifier << 16 | sequence, payload)


def error(type: int, code: int, packet: bytes, rest: int = 0) -> bytes:
    """An error about ``packet``, which begins with its IPv4 header; ``rest``: the MTU for FRAGMENTATION_NEEDED."""
    return pack(type, code, rest, packet[:_MAX_QUOTED])


def quoted(message: Message, data: bytes) -> Quoted:
    """The packet that an error in ``data`` is about. Raises Malformed."""
    header = ipv4.parse_quoted(data[: message.end], message.start)
    ports = (0, 0)
    if header.protocol in (ipv4.TCP, ipv4.UDP) and not header.offset and header.end - header.start >= _PORTS.size:
        ports = _PORTS.unpack_from(data, header.start)
    return Quoted(header, *ports)


def may_report(header: ipv4.Header, data: bytes) -> bool:
    """May an error be sent about this packet, to a single host? RFC 1122, 3.2.2.

    The network's own broadcast address is for the caller to rule out.
    """
    _, destination, protocol, _, _, _, _, start, _ = header
    source = header.source
    if header.offset or destination == ipv4.BROADCAST or ipv4.is_multicast(destination):
        return False
    if source[0] in (0, 127) or source[0] >= 0xE0:
        return False
    # No error about an error. What is cut or unknown counts as one.
    return protocol != PROTOCOL or (start < len(data) and data[start] in (ECHO_REQUEST, ECHO_REPLY))
