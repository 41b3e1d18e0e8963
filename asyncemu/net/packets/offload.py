# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames finished for whoever takes plain ones: the checksum filled in, segments cut for an MTU.

What a network card does in hardware with the header of virtio-net: virtio 1.2, 5.1.6.2. Payload is not copied: the
frames that come out lend views of the one that went in.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from asyncemu.memory.buffers import Buffers
from asyncemu.net.frame import (
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP,
    GSO_UDP_L4,
    NEEDS_CHECKSUM,
    PLAIN,
    Frame,
)
from asyncemu.net.packets import checksum, ethernet, fragments, ipv4, ipv6, tcp, udp
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.tcp.segment import FIN, PSH

#: Segments that one frame is cut into at most: with TCP's least MSS (RFC 9293, 3.7.1 has 536, Linux takes 48) there
#: are 1,366. A guest can't make us send 65,535 frames for one.
MAX_SEGMENTS: Final = 2048

#: More than the headers of any frame that we cut: Ethernet with two tags, IPv6 with extensions, TCP.
_MAX_HEADERS: Final = 1024

_WORD: Final = struct.Struct("!H")
_LONG: Final = struct.Struct("!I")
#: The length and the identification; the length and the checksum.
_IPV4_NUMBERS: Final = struct.Struct("!HH")
_UDP_NUMBERS: Final = struct.Struct("!HH")

#: Where the fields are in their headers, in bytes.
_IPV4_LENGTH: Final = 2
_IPV4_IDENTIFICATION: Final = 4
_IPV4_CHECKSUM: Final = 10
_IPV6_LENGTH: Final = 4
_TCP_SEQUENCE: Final = 4
_TCP_FLAGS: Final = 13
_TCP_CHECKSUM: Final = 16
_UDP_LENGTH: Final = 4


def finish(frame: Frame, mtu: int = 1500) -> list[Frame]:
    """What ``frame`` stands for on a wire: one frame without flags, or the segments of it.

    ``mtu``: bytes of an IP packet, for segments only. Memory of the frame is not written to. Raises Malformed when the
    header and the packet don't fit together.
    """
    vnet = frame.vnet
    if vnet.gso_type == GSO_NONE:
        if not vnet.flags & NEEDS_CHECKSUM:
            # What the header says beside that, as DATA_VALID, is nothing that a wire carries.
            return [frame if vnet == PLAIN else Frame(frame.buffers)]
        return [fill_in_checksum(frame)]
    kind = vnet.gso_type & ~GSO_ECN
    if kind == GSO_UDP:
        return _cut_datagram(fill_in_checksum(frame) if vnet.flags & NEEDS_CHECKSUM else frame, mtu)
    if kind in (GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4):
        return _cut(frame, kind, mtu)
    raise Malformed("segmentation of an unknown type")


def fill_in_checksum(frame: Frame) -> Frame:
    """``frame`` with the sum from ``checksum_start`` on where it belongs: virtio 1.2, 5.1.6.2.1. Raises Malformed."""
    start, offset = frame.vnet.checksum_start, frame.vnet.checksum_offset
    end = start + offset + 2
    if end > frame.nbytes:
        raise Malformed("checksum lies behind the end of the frame")
    head, rest = frame.buffers.split(end)
    copied = bytearray(head.tobytes())
    # The place of the sum holds that of the pseudo header.
    value = checksum.complement(checksum.add_views([copied[start:], *rest])) or 0xFFFF
    copied[end - 2 :] = _WORD.pack(value)
    return Frame(Buffers((memoryview(copied), *rest)))


class _Layout(NamedTuple):
    """Where the parts of a frame are, in bytes."""

    ip: int
    transport: int
    payload: int
    end: int
    source: bytes
    destination: bytes


def _layout(frame: Frame, head: bytes, protocol: int) -> _Layout:
    """Raises Malformed: not a frame of ``protocol`` over IP, or a part of a packet."""
    link = ethernet.skip_tags(head, ethernet.parse(head))
    start, end = link.start, frame.nbytes
    header: ipv4.Header | ipv6.Header
    if link.ether_type == ethernet.IPV4:
        header = ipv4.parse(head, start, end)
    elif link.ether_type == ethernet.IPV6:
        header = ipv6.parse(head, start, end)
    else:
        raise Malformed("segmentation of what is not IP")
    if header.protocol != protocol or header.is_fragment:
        raise Malformed("segmentation of another protocol than it says")
    if protocol == tcp.PROTOCOL:
        payload = tcp.parse(head, header.start, header.end).start
    else:
        payload = udp.parse(head, header.start, header.end).start
    return _Layout(start, header.start, payload, header.end, header.source, header.destination)


def _cut(frame: Frame, kind: int, mtu: int) -> list[Frame]:
    """TCP segments, or datagrams of the same size, each with headers of its own."""
    is_udp = kind == GSO_UDP_L4
    head = frame.head(_MAX_HEADERS)
    layout = _layout(frame, head, udp.PROTOCOL if is_udp else tcp.PROTOCOL)
    if kind != GSO_UDP_L4 and (len(layout.source) == 4) != (kind == GSO_TCPV4):
        raise Malformed("segmentation of another version of IP than it says")
    total = layout.end - layout.payload
    size = min(frame.vnet.gso_size, mtu - (layout.payload - layout.ip))
    if is_udp and size < frame.vnet.gso_size < total:
        # Datagrams are what their sender made them.
        raise Malformed("datagrams of the segment are longer than the MTU")
    if size <= 0 or total > size * MAX_SEGMENTS:
        raise Malformed("segments are too small")
    template = _Template(head, layout, is_udp)
    payload = frame.buffers.slice(layout.payload, total)
    # One view is what nearly all senders have.
    whole = payload[0] if len(payload) == 1 else None
    finished = []
    for index, start in enumerate(range(0, total, size) if total else (0,)):
        length = min(size, total - start)
        if whole is not None:
            part = [whole[start : start + length]]
        else:
            part, payload = payload.split(length)
        header = template.header(index, start, length, start + length == total, checksum.add_views(part))
        finished.append(Frame(Buffers((memoryview(header), *part))))
    return finished


class _Template:
    """The headers of all segments, with zeros where they differ, and the sums of what they have in common."""

    __slots__ = (
        "_flags",
        "_identification",
        "_ip_sum",
        "_is_ipv4",
        "_is_udp",
        "_layout",
        "_sequence",
        "_sum",
        "_zeros",
    )

    def __init__(self, head: bytes, layout: _Layout, is_udp: bool) -> None:
        ip, transport, payload, _, source, destination = layout
        self._layout = layout
        self._is_udp = is_udp
        self._is_ipv4 = len(source) == 4
        zeros = bytearray(head[:payload])
        self._identification = self._sequence = self._flags = 0
        if self._is_ipv4:
            self._identification = int.from_bytes(
                head[ip + _IPV4_IDENTIFICATION : ip + _IPV4_IDENTIFICATION + 2], "big"
            )
            _IPV4_NUMBERS.pack_into(zeros, ip + _IPV4_LENGTH, 0, 0)
            _WORD.pack_into(zeros, ip + _IPV4_CHECKSUM, 0)
        if is_udp:
            _UDP_NUMBERS.pack_into(zeros, transport + _UDP_LENGTH, 0, 0)
        else:
            self._sequence = int.from_bytes(head[transport + _TCP_SEQUENCE : transport + _TCP_SEQUENCE + 4], "big")
            self._flags = head[transport + _TCP_FLAGS]
            _LONG.pack_into(zeros, transport + _TCP_SEQUENCE, 0)
            zeros[transport + _TCP_FLAGS] = 0
            _WORD.pack_into(zeros, transport + _TCP_CHECKSUM, 0)
        self._zeros = zeros
        # All headers are of whole words, so their sums may be added up.
        self._ip_sum = checksum.add(zeros[ip:transport])
        protocol = udp.PROTOCOL if is_udp else tcp.PROTOCOL
        self._sum = checksum.add(zeros[transport:], checksum.pseudo_header(source, destination, protocol, 0))

    def header(self, index: int, start: int, length: int, last: bool, payload_sum: int) -> bytearray:
        """The headers of the segment of that number, whose ``length`` bytes begin ``start`` bytes into the data."""
        ip, transport, payload, _, _, _ = self._layout
        header = self._zeros.copy()
        if self._is_ipv4:
            # An identification of its own for each: RFC 6864, 4.
            identification = (self._identification + index) & 0xFFFF
            nbytes = payload - ip + length
            _IPV4_NUMBERS.pack_into(header, ip + _IPV4_LENGTH, nbytes, identification)
            _WORD.pack_into(header, ip + _IPV4_CHECKSUM, _field(self._ip_sum + nbytes + identification))
        else:
            _WORD.pack_into(header, ip + _IPV6_LENGTH, payload - ip - ipv6.HEADER_LENGTH + length)
        nbytes = payload - transport + length
        total = self._sum + payload_sum + nbytes
        if self._is_udp:
            # The length is in the header and in the pseudo header.
            _UDP_NUMBERS.pack_into(header, transport + _UDP_LENGTH, nbytes, _field(total + nbytes) or 0xFFFF)
            return header
        sequence = (self._sequence + start) & 0xFFFFFFFF
        flags = self._flags
        # PSH and FIN belong behind all data; CWR is said once: RFC 3168, 6.1.2.
        if not last:
            flags &= ~(FIN | PSH)
        if start:
            flags &= ~tcp.CWR
        _LONG.pack_into(header, transport + _TCP_SEQUENCE, sequence)
        header[transport + _TCP_FLAGS] = flags
        _WORD.pack_into(header, transport + _TCP_CHECKSUM, _field(total + sequence + flags))
        return header


def _field(total: int) -> int:
    """The checksum field for a sum that is not folded, and not of zeros only."""
    return 65535 - (total % 65535 or 65535)


def _cut_datagram(frame: Frame, mtu: int) -> list[Frame]:
    """One datagram as fragments of its packet: virtio 1.2, 5.1.6.2 (VIRTIO_NET_HDR_GSO_UDP)."""
    data = frame.tobytes()
    link = ethernet.skip_tags(data, ethernet.parse(data))
    before = data[: link.start]
    if link.ether_type == ethernet.IPV4:
        header = ipv4.parse(data, link.start)
        if header.protocol != udp.PROTOCOL or header.is_fragment:
            raise Malformed("segmentation of another protocol than it says")
        whole = header._replace(fragment=0)
        packets = fragments.cut_ipv4(whole, data[header.start : header.end], mtu)
    elif link.ether_type == ethernet.IPV6:
        header6 = ipv6.parse(data, link.start)
        if header6.protocol != udp.PROTOCOL or header6.is_fragment:
            raise Malformed("segmentation of another protocol than it says")
        # The checksum is a number as good as any to tell this datagram's fragments from the last one's.
        identification = int.from_bytes(data[header6.start : header6.start + 8], "big") & 0xFFFFFFFF
        packets = fragments.cut_ipv6(header6, data[header6.start : header6.end], mtu, identification)
    else:
        raise Malformed("segmentation of what is not IP")
    return [Frame.of(before + packet) for packet in packets]
