# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames for tests of back ends and filters."""

from __future__ import annotations

from asyncemu.net.frame import GSO_TCPV4, NEEDS_CHECKSUM, Frame, VnetHeader
from asyncemu.net.packets import checksum, ethernet, ipv4, tcp
from asyncemu.net.tcp.segment import ACK, Segment

GUEST_MAC = bytes.fromhex("525400123456")
HOST_MAC = bytes.fromhex("525400123402")
GUEST = bytes((10, 0, 2, 15))
HOST = bytes((10, 0, 2, 2))

#: Of IPv4 and Ethernet.
HEADERS = ethernet.HEADER_LENGTH + ipv4.HEADER_LENGTH


def numbered(number: int, length: int = 60) -> bytes:
    """A frame that is not like others."""
    return (bytes(12) + b"\x88\xb5" + number.to_bytes(4, "big")).ljust(length, b"\0")


def tcp_frame(
    segment: Segment,
    payload: bytes = b"",
    ports: tuple[int, int] = (1000, 80),
    source: bytes = HOST,
    destination: bytes = GUEST,
) -> bytes:
    """A whole TCP segment in a frame."""
    whole = tcp.pack(source, destination, ports, segment, payload)
    header = ipv4.Header(source, destination, tcp.PROTOCOL, identification=1).pack(len(whole))
    return ethernet.Header(GUEST_MAC, HOST_MAC, ethernet.IPV4).pack() + header + whole


def unfinished(payload: bytes, size: int = 1000, gso: bool = True) -> Frame:
    """A segment of a guest that is to be cut into pieces of ``size`` bytes, or lacks its checksum only."""
    length = tcp.HEADER_LENGTH + len(payload)
    pseudo = checksum.add(b"", checksum.pseudo_header(GUEST, HOST, tcp.PROTOCOL, length))
    header = tcp.pack_header(1000, 80, Segment(1, 1, ACK, 1000), pseudo)
    packet = ipv4.Header(GUEST, HOST, tcp.PROTOCOL, identification=7).pack(length)
    link = ethernet.Header(HOST_MAC, GUEST_MAC, ethernet.IPV4).pack()
    vnet = VnetHeader(NEEDS_CHECKSUM, GSO_TCPV4 if gso else 0, 54, size if gso else 0, HEADERS, 16)
    return Frame.of(link + packet + header, payload, vnet=vnet)


def is_whole(frame: bytes) -> bool:
    """Has it the checksum of TCP that it should have?"""
    packet = ipv4.parse(frame, ethernet.HEADER_LENGTH)
    return checksum.is_right(packet.source, packet.destination, tcp.PROTOCOL, frame[packet.start : packet.end])


def payload_of(frame: bytes) -> bytes:
    """The data of the TCP segment in it."""
    packet = ipv4.parse(frame, ethernet.HEADER_LENGTH)
    return frame[tcp.parse(frame, packet.start, packet.end).start : packet.end]
