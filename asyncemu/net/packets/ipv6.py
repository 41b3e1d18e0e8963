# SPDX-License-Identifier: GPL-2.0-or-later
"""IPv6 headers and extension headers: RFC 8200, 3 and 4."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from asyncemu.net.packets.errors import Malformed

_HEADER: Final = struct.Struct("!IHBB16s16s")
_FRAGMENT: Final = struct.Struct("!BBHI")

#: Bytes.
HEADER_LENGTH: Final = 40
FRAGMENT_HEADER_LENGTH: Final = 8
MAX_PAYLOAD: Final = 65535

#: What every link can carry: RFC 8200, 5.
MIN_MTU: Final = 1280

#: Values of the next header field; those of TCP and UDP are in ipv4.
HOP_BY_HOP: Final = 0
ROUTING: Final = 43
FRAGMENT: Final = 44
ICMP: Final = 58
NO_NEXT_HEADER: Final = 59
DESTINATION_OPTIONS: Final = 60

_EXTENSIONS: Final = frozenset((HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS))

#: Extension headers that are walked at most: RFC 8200, 4.1 has an order of six, RFC 8504, 5.3 lets us draw a line.
_MAX_EXTENSIONS: Final = 8
#: RFC 8504, 5.3: a host may limit the options of a header so, too.
_MAX_OPTIONS: Final = 8

_PAD1: Final = 0
_PADN: Final = 1

ANY: Final = bytes(16)
#: RFC 4291, 2.7.1.
ALL_NODES: Final = b"\xff\x02" + bytes(13) + b"\1"
ALL_ROUTERS: Final = b"\xff\x02" + bytes(13) + b"\2"


class Fragment(NamedTuple):
    """What a fragment header says: RFC 8200, 4.5. ``offset`` is in bytes of the fragmentable part."""

    identification: int
    offset: int
    more: bool


class Header(NamedTuple):
    """``protocol``, ``start`` and ``end``: of the payload, behind the extension headers, in what was parsed.

    A part of a packet has ``fragment``; its payload is what follows the fragment header.
    """

    source: bytes
    destination: bytes
    protocol: int
    hop_limit: int = 64
    fragment: Fragment | None = None
    traffic_class: int = 0
    flow_label: int = 0
    start: int = 0
    end: int = 0

    @property
    def is_fragment(self) -> bool:
        """Is it only a part of a packet?"""
        return self.fragment is not None

    def pack(self, payload_length: int) -> bytes:
        """As bytes, for a payload of that many bytes; of extension headers only that of ``fragment``.

        struct.error when the payload is more than fits.
        """
        source, destination, protocol, hop_limit, fragment, traffic_class, flow_label, _, _ = self
        first = 0x60000000 | traffic_class << 20 | flow_label
        if fragment is None:
            return _HEADER.pack(first, payload_length, protocol, hop_limit, source, destination)
        return _HEADER.pack(
            first, payload_length + FRAGMENT_HEADER_LENGTH, FRAGMENT, hop_limit, source, destination
        ) + _FRAGMENT.pack(protocol, 0, fragment.offset | fragment.more, fragment.identification)


_new = tuple.__new__


def parse(data: bytes, start: int = 0, end: int | None = None) -> Header:
    """The headers at ``start`` of a packet that reaches to ``end`` at most (of which ``data`` may hold the head only).

    Bytes behind the packet are padding of the frame. Raises Malformed.
    """
    if end is None:
        end = len(data)
    if len(data) - start < HEADER_LENGTH:
        raise Malformed("IPv6 header is cut")
    first, length, protocol, hop_limit, source, destination = _HEADER.unpack_from(data, start)
    if first >> 28 != 6:
        raise Malformed("IP version is not 6")
    start += HEADER_LENGTH
    last = start + length
    if last > end:
        raise Malformed("IPv6 packet is cut")
    traffic_class = first >> 20 & 0xFF
    fragment = None
    if protocol in _EXTENSIONS:
        protocol, start, fragment = _walk(data, protocol, start, min(last, len(data)), length)
    return _new(
        Header,
        (source, destination, protocol, hop_limit, fragment, traffic_class, first & 0xFFFFF, start, last),
    )


def _walk(data: bytes, protocol: int, start: int, end: int, length: int) -> tuple[int, int, Fragment | None]:
    """The protocol behind the extension headers from ``start`` on, and where it begins; or a fragment's.

    ``length``: what the IPv6 header says of the payload, in bytes.
    """
    begin = start
    for count in range(_MAX_EXTENSIONS):
        if protocol not in _EXTENSIONS:
            return protocol, start, None
        if end - start < 8:
            raise Malformed("IPv6 extension header is cut")
        kind = protocol
        protocol = data[start]
        if kind == FRAGMENT:
            _, _, bits, identification = _FRAGMENT.unpack_from(data, start)
            start += FRAGMENT_HEADER_LENGTH
            # RFC 6946, 4: a packet of one fragment has nothing to do with others.
            if bits & 0xFFF9:
                more = bits & 1 != 0
                # RFC 8200, 4.5: so that the next one can begin behind it.
                if more and (length - (start - begin)) & 7:
                    raise Malformed("IPv6 fragment is not of whole units of 8 bytes")
                return protocol, start, Fragment(identification, bits & 0xFFF8, more)
            continue
        following = start + 8 + (data[start + 1] << 3)
        if following > end:
            raise Malformed("IPv6 extension header is cut")
        if kind == ROUTING:
            # RFC 8200, 4.4 and RFC 5095, 3: we are on nobody's route.
            if data[start + 3]:
                raise Malformed("IPv6 routing header has segments left")
        else:
            # RFC 8200, 4.3: only right behind the IPv6 header.
            if kind == HOP_BY_HOP and count:
                raise Malformed("IPv6 hop-by-hop options are not the first header")
            _check_options(data, start + 2, following)
        start = following
    if protocol in _EXTENSIONS:
        raise Malformed("IPv6 packet has too many extension headers")
    return protocol, start, None


def _check_options(data: bytes, start: int, end: int) -> None:
    """Skip options, where that is what RFC 8200, 4.2 says about them. Raises Malformed."""
    count = 0
    while start < end:
        kind = data[start]
        if kind == _PAD1:
            start += 1
            continue
        if start + 2 > end or start + 2 + data[start + 1] > end:
            raise Malformed("IPv6 option reaches past the end of its header")
        start += 2 + data[start + 1]
        if kind == _PADN:
            continue
        count += 1
        # The two highest bits: what to do with an option that one does not know; 00 is to skip it.
        if kind & 0xC0 or count > _MAX_OPTIONS:
            raise Malformed("IPv6 option that must not be skipped")


def parse_quoted(data: bytes, start: int = 0) -> Header:
    """The headers of a packet that an ICMPv6 error quotes, whose end is not there. Raises Malformed."""
    if len(data) - start < HEADER_LENGTH:
        raise Malformed("quoted IPv6 header is cut")
    header = parse(data, start, start + HEADER_LENGTH + MAX_PAYLOAD)
    return header._replace(end=min(header.end, len(data)))


def is_multicast(address: bytes) -> bool:
    """Does it name a group? RFC 4291, 2.7."""
    return address[0] == 0xFF


def is_link_local(address: bytes) -> bool:
    """Does it hold on its link only? RFC 4291, 2.5.6."""
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def link_local(mac: bytes) -> bytes:
    """The link-local address of an interface with that MAC: RFC 4291, appendix A (modified EUI-64)."""
    return b"\xfe\x80" + bytes(6) + interface_id(mac)


def interface_id(mac: bytes) -> bytes:
    """The low 8 bytes of the addresses that such an interface gives itself: RFC 4291, appendix A."""
    return bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]


def solicited_node(address: bytes) -> bytes:
    """The group that is asked for whoever has ``address``: RFC 4291, 2.7.1."""
    return b"\xff\x02" + bytes(9) + b"\1\xff" + address[13:]


def multicast_mac(address: bytes) -> bytes:
    """The Ethernet address of a group: RFC 2464, 7."""
    return b"\x33\x33" + address[12:]
