# SPDX-License-Identifier: GPL-2.0-or-later
"""A frame of a guest, with what it says is left to be done with it, read by all that reads packets.

    1 byte    flags, and the type of segmentation
    2 bytes   size of a segment
    2 bytes   where the sum begins, and where it belongs
    then      the frame

May be raised inside: Malformed. What is finished must be as long as it says, and have the sums right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncemu.memory.buffers import Buffers
from asyncemu.net.frame import GSO_ECN, Frame, VnetHeader
from asyncemu.net.packets import arp, checksum, ethernet, icmp, icmpv6, ipv4, ipv6, ndp, offload, tcp, udp
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.packets.fragments import Reassembly
from asyncemu.net.tcp.segment import ACK, Segment
from fuzz.choices import Choices
from fuzz.driving import Defect

_TYPES: Final = (0, 1, 3, 4, 5, 2, 1 | GSO_ECN, 7)
_SOURCE: Final = bytes((10, 0, 2, 15))
_DESTINATION: Final = bytes((10, 0, 2, 2))
_SOURCE6: Final = b"\xfe\x80" + bytes(13) + b"\1"
_DESTINATION6: Final = b"\xfe\x80" + bytes(13) + b"\2"
_MAC: Final = b"\x52\x54\0\x12\x34\x56"


def fuzz_one(data: bytes) -> None:
    """Read the frame, then finish it and read what comes out."""
    choices = Choices(data)
    kind = choices.number(1)
    vnet = VnetHeader(kind & 1, _TYPES[kind >> 1 & 7], 0, choices.number(2), choices.number(1), choices.number(1))
    frame = choices.rest()
    _read(frame)
    # In two views: the place of the cut is as good as any.
    cut = kind >> 4
    try:
        finished = offload.finish(Frame(Buffers.of(frame[:cut], frame[cut:]), vnet))
    except Malformed:
        return
    if len(finished) > offload.MAX_SEGMENTS:
        raise Defect(f"{len(finished)} segments of one frame")
    for each in finished:
        whole = each.tobytes()
        _read(whole)
        if vnet.gso_type:
            _check(whole)


def _check(data: bytes) -> None:
    """A segment that was cut: its lengths and its sum."""
    link = ethernet.skip_tags(data, ethernet.parse(data))
    if link.ether_type == ethernet.IPV4:
        header: ipv4.Header | ipv6.Header = ipv4.parse(data, link.start)
    else:
        header = ipv6.parse(data, link.start)
    if header.end != len(data):
        raise Defect("a segment is not as long as it says")
    if header.is_fragment or (header.protocol == udp.PROTOCOL and data[header.start + 6 : header.start + 8] == b"\0\0"):
        return
    # The old type carries one whole datagram, whose sum the guest may have made.
    if header.protocol == tcp.PROTOCOL and not checksum.is_right(
        header.source, header.destination, header.protocol, data[header.start :]
    ):
        raise Defect("a segment has a wrong sum")


def _read(data: bytes) -> None:
    try:
        link = ethernet.skip_tags(data, ethernet.parse(data))
        if link.ether_type == ethernet.ARP:
            arp.reply(arp.parse(data, link.start), _MAC).pack()
        elif link.ether_type == ethernet.IPV4:
            _read_ipv4(data, link.start)
        elif link.ether_type == ethernet.IPV6:
            _read_ipv6(data, link.start)
    except Malformed:
        return


def _read_ipv4(data: bytes, start: int) -> None:
    header = ipv4.parse(data, start)
    icmp.may_report(header, data)
    icmp.parse(icmp.error(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, data[start : header.end]))
    if header.is_fragment:
        Reassembly().add_ipv4(header, data, 0)
    elif header.protocol == icmp.PROTOCOL:
        message = icmp.parse(data, header.start, header.end)
        if message.is_error:
            icmp.quoted(message, data)
    else:
        _read_transport(data, header)


def _read_ipv6(data: bytes, start: int) -> None:
    header = ipv6.parse(data, start)
    icmpv6.may_report(header, data)
    if header.is_fragment:
        Reassembly().add_ipv6(header, data, 0)
    elif header.protocol == icmpv6.PROTOCOL:
        message = icmpv6.parse(data, header)
        if message.is_error:
            icmpv6.quoted(message, data)
        else:
            ndp.parse(message, header, data)
    else:
        _read_transport(data, header)


def _read_transport(data: bytes, header: ipv4.Header | ipv6.Header) -> None:
    if header.protocol == tcp.PROTOCOL:
        parsed = tcp.parse(data, header.start, header.end)
        if parsed.start > header.end:
            raise Defect("a TCP header reaches past its packet")
    elif header.protocol == udp.PROTOCOL and udp.parse(data, header.start, header.end).end > header.end:
        raise Defect("a UDP datagram reaches past its packet")


def seeds() -> Sequence[bytes]:
    """A frame of each kind, plain, and with segments to be cut."""
    segment = tcp.pack(_SOURCE, _DESTINATION, (1, 2), Segment(3, 4, ACK, 5, 1460, 7, True, (6, 7)), bytes(100))
    segment6 = tcp.pack(_SOURCE6, _DESTINATION6, (1, 2), Segment(3, 4, ACK, 5, sack=((1, 2),)), bytes(100))
    datagram = udp.pack(_SOURCE, _DESTINATION, 1, 2, bytes(100))
    quoting = icmp.error(3, 3, ipv4.Header(_SOURCE, _DESTINATION, 17).pack(len(datagram)) + datagram)
    options = ndp.Options(_MAC, None, 1500, (ndp.Prefix(_SOURCE6),), ndp.DnsServers((_SOURCE6,), 1))
    discoveries = [
        ndp.RouterAdvertisement(1800, options).pack(_SOURCE6, _DESTINATION6),
        ndp.NeighborSolicitation(_DESTINATION6, ndp.Options(_MAC)).pack(_SOURCE6, _DESTINATION6),
    ]
    frames = [
        _frame(ethernet.ARP, arp.Packet(arp.REQUEST, _MAC, _SOURCE, bytes(6), _DESTINATION).pack()),
        *(_frame4(protocol, payload) for protocol, payload in ((6, segment), (17, datagram), (1, quoting))),
        *(
            _frame6(protocol, payload)
            for protocol, payload in ((6, segment6), (0, b"\x3a\0\5\2\0\0\1\0" + discoveries[0]))
        ),
        *(_frame6(icmpv6.PROTOCOL, discovery) for discovery in discoveries),
        _frame6(ipv6.FRAGMENT, b"\x11\0\0\1\0\0\0\1" + bytes(64)),
    ]
    ways = [bytes((kind | 0x40, 0, 40, start, 16)) for kind, start in ((0, 0), (1, 34), (2, 0), (6, 0), (8, 0), (4, 0))]
    return [way + frame for way in ways for frame in frames]


def _frame(ether_type: int, payload: bytes) -> bytes:
    return ethernet.Header(_MAC, _MAC, ether_type).pack() + payload


def _frame4(protocol: int, payload: bytes) -> bytes:
    return _frame(ethernet.IPV4, ipv4.Header(_SOURCE, _DESTINATION, protocol).pack(len(payload)) + payload)


def _frame6(protocol: int, payload: bytes) -> bytes:
    header = ipv6.Header(_SOURCE6, _DESTINATION6, protocol, ndp.HOP_LIMIT)
    return _frame(ethernet.IPV6, header.pack(len(payload)) + payload)
