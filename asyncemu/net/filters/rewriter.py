# SPDX-License-Identifier: GPL-2.0-or-later
"""filter-rewriter: makes a guest continue TCP connections that another guest's numbers were used for.

For COLO's secondary: it runs the same programs as the primary, and gets what clients send to that; but it has chosen
sequence numbers of its own. The filter stands in front of it and shifts them:

    client → guest    acknowledgment + offset            offset = the guest's first number - the primary's
    guest → client    sequence number - offset

The guest's first number is that of its SYN+ACK; the primary's is one less than what the client then acknowledges.
QEMU: net/filter-rewriter.c. SACK blocks are left as they are: out of its window they mean nothing to the guest.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Final, TypeAlias

from pydantic import Field

from asyncemu.loop import AioContext, Clock
from asyncemu.memory.buffers import Buffers
from asyncemu.net.filter import FilterOptions, NetFilter, Way
from asyncemu.net.frame import NEEDS_CHECKSUM, Frame, Frames
from asyncemu.net.packets import checksum, ethernet, ipv4, ipv6, tcp
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.tcp.segment import ACK, RST, SYN

#: Connections at most; the one that has been silent for longest is forgotten.
MAX_CONNECTIONS: Final = 16384

#: Bytes of a frame that are looked at: Ethernet with two tags, IPv6 with extensions, TCP without options.
_HEAD: Final = 256

_NUMBERS: Final = struct.Struct("!HHIIBB")
_NUMBER: Final = struct.Struct("!I")
_SUM: Final = struct.Struct("!H")

#: Where the fields are in the TCP header, in bytes.
_SEQUENCE: Final = 4
_ACKNOWLEDGMENT: Final = 8
_CHECKSUM: Final = 16

_MASK: Final = 0xFFFFFFFF

#: Addresses and ports: the client's, then the guest's.
_Key: TypeAlias = tuple[bytes, bytes, int, int]


class RewriterOptions(FilterOptions):
    """Options of filter-rewriter."""

    vnet_hdr_support: bool = Field(
        default=False, alias="vnet_hdr_support", description="Of no effect: frames with the header of virtio-net pass."
    )


class _Connection:
    __slots__ = ("first_of_guest", "offset")

    def __init__(self) -> None:
        self.first_of_guest: int | None = None
        self.offset: int | None = None


class Rewriter(NetFilter[RewriterOptions], name="filter-rewriter"):
    """Clients are on the netdev's side; connections to the guest that begin while the filter is there are followed."""

    description = "Shifts the TCP sequence numbers of a guest to those of its twin (COLO)."

    def __init__(self, options: RewriterOptions, id: str, context: AioContext, clock: Clock) -> None:
        super().__init__(options, id, context, clock)
        self._connections: OrderedDict[_Key, _Connection] = OrderedDict()

    @property
    def connections(self) -> int:
        """Connections that are known."""
        return len(self._connections)

    def pass_on(self, frames: Frames, way: Way) -> int:
        return way.forward([self._shifted(frame, way.to_netdev) for frame in frames])

    def _shifted(self, frame: Frame, from_guest: bool) -> Frame:
        head = frame.head(_HEAD)
        try:
            link = ethernet.skip_tags(head, ethernet.parse(head))
            packet: ipv4.Header | ipv6.Header
            if link.ether_type == ethernet.IPV4:
                packet = ipv4.parse(head, link.start, frame.nbytes)
            elif link.ether_type == ethernet.IPV6:
                packet = ipv6.parse(head, link.start, frame.nbytes)
            else:
                return frame
        except Malformed:
            return frame
        start = packet.start
        if packet.protocol != tcp.PROTOCOL or packet.is_fragment or len(head) - start < tcp.HEADER_LENGTH:
            return frame
        source_port, destination_port, sequence, acknowledgment, _, flags = _NUMBERS.unpack_from(head, start)
        if from_guest:
            key = (packet.destination, packet.source, destination_port, source_port)
            shift = self._from_guest(key, sequence, flags)
            place, old = start + _SEQUENCE, sequence
        else:
            key = (packet.source, packet.destination, source_port, destination_port)
            shift = self._from_client(key, acknowledgment, flags)
            place, old = start + _ACKNOWLEDGMENT, acknowledgment
        if flags & RST:
            self._connections.pop(key, None)
        return _replaced(frame, start, place, old, (old + shift) & _MASK) if shift else frame

    def _from_client(self, key: _Key, acknowledgment: int, flags: int) -> int:
        """What is to be added to the acknowledgment."""
        if flags & SYN:
            if not flags & ACK:
                self._connections[key] = _Connection()
                self._connections.move_to_end(key)
                if len(self._connections) > MAX_CONNECTIONS:
                    self._connections.popitem(last=False)
            return 0
        connection = self._known(key)
        if connection is None or not flags & ACK:
            return 0
        if connection.offset is None and connection.first_of_guest is not None:
            connection.offset = (connection.first_of_guest - (acknowledgment - 1)) & _MASK
        return connection.offset or 0

    def _from_guest(self, key: _Key, sequence: int, flags: int) -> int:
        """What is to be added to the sequence number."""
        connection = self._known(key)
        if connection is None:
            return 0
        if flags & SYN:
            if flags & ACK and connection.offset is None:
                connection.first_of_guest = sequence
            return 0
        return -(connection.offset or 0)

    def _known(self, key: _Key) -> _Connection | None:
        connection = self._connections.get(key)
        if connection is not None:
            self._connections.move_to_end(key)
        return connection


def _replaced(frame: Frame, start: int, place: int, old: int, new: int) -> Frame:
    """``frame`` with another number at ``place``, and the checksum for it: RFC 1624."""
    head, rest = frame.buffers.split(start + tcp.HEADER_LENGTH)
    copied = bytearray(head.tobytes())
    _NUMBER.pack_into(copied, place, new)
    # One that is to be filled in yet covers only the pseudo header now, which is the same.
    if not frame.vnet.flags & NEEDS_CHECKSUM:
        (value,) = _SUM.unpack_from(copied, start + _CHECKSUM)
        value = checksum.update(value, old >> 16, new >> 16)
        value = checksum.update(value, old & 0xFFFF, new & 0xFFFF)
        _SUM.pack_into(copied, start + _CHECKSUM, value)
    return Frame(Buffers((memoryview(copied), *rest)), frame.vnet)
