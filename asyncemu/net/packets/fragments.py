# SPDX-License-Identifier: GPL-2.0-or-later
"""Fragments put together again, and packets cut: RFC 791, 3.2; RFC 8200, 4.5.

What waits is bounded in packets, bytes and time, and the oldest makes room. A packet of which two fragments overlap is
dropped, with those that still come: RFC 5722, 4 demands it of IPv6, and nobody but an attacker does it in IPv4.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, NamedTuple, TypeAlias

from asyncemu.net.packets import ipv4, ipv6
from asyncemu.net.packets.errors import Malformed

#: Packets that wait at most, and bytes of all of them. A guest whose link loses nothing needs one or two.
MAX_PACKETS: Final = 64
MAX_BYTES: Final = 1 << 20

#: What a fragment costs beside its data, in bytes: so that many small ones are bounded, too.
_OVERHEAD: Final = 128

#: How long the rest may take from the first that arrived on: RFC 8200, 4.5; Linux's ipfrag_time. Nanoseconds.
IPV6_TIMEOUT: Final = 60_000_000_000
IPV4_TIMEOUT: Final = 30_000_000_000

_Key: TypeAlias = tuple[object, ...]


class Whole(NamedTuple):
    """A packet put together."""

    protocol: int
    payload: bytes


class Expired(NamedTuple):
    """A packet that was never complete. ``first``: its first fragment's payload, which an ICMP error is to quote.

    RFC 792, Time Exceeded; RFC 8200, 4.5: no error without it.
    """

    header: ipv4.Header | ipv6.Header
    first: bytes


class _Waiting:
    """The fragments of one packet, sorted by their offsets."""

    __slots__ = ("deadline", "first", "have", "length", "overlapped", "parts", "size", "starts")

    def __init__(self, deadline: int) -> None:
        self.deadline = deadline
        self.starts: list[int] = []
        self.parts: list[bytes] = []
        #: Of the fragment at 0.
        self.first: ipv4.Header | ipv6.Header | None = None
        #: Of the payload; unknown until the last fragment is there.
        self.length: int | None = None
        #: Bytes of the payload that are there, and bytes that they cost.
        self.have = 0
        self.size = 0
        self.overlapped = False

    def drop(self) -> None:
        """Keep no more than the memory that there was an overlap."""
        self.overlapped = True
        self.starts.clear()
        self.parts.clear()
        self.size = 0

    def add(self, header: ipv4.Header | ipv6.Header, offset: int, more: bool, data: bytes) -> None:
        """Raises Malformed: overlaps, or contradicts what is there."""
        end = offset + len(data)
        place = bisect_left(self.starts, offset)
        if place < len(self.starts) and self.starts[place] == offset and self.parts[place] == data:
            # The same again: RFC 8200, 4.5 allows to ignore it.
            return
        if place and self.starts[place - 1] + len(self.parts[place - 1]) > offset:
            raise Malformed("fragments overlap")
        if place < len(self.starts) and self.starts[place] < end:
            raise Malformed("fragments overlap")
        if (self.length is not None and end > self.length) or (not more and place < len(self.starts)):
            raise Malformed("fragment lies behind the last one")
        if not more:
            self.length = end
        if not offset:
            self.first = header
        self.starts.insert(place, offset)
        self.parts.insert(place, data)
        self.have += len(data)
        self.size += len(data) + _OVERHEAD


class Reassembly:
    """Of one guest, for both versions of IP."""

    def __init__(self, max_packets: int = MAX_PACKETS, max_bytes: int = MAX_BYTES) -> None:
        self._max_packets = max_packets
        self._max_bytes = max_bytes
        #: The oldest first; those of IPv4 and of IPv6 have different timeouts, so two of them.
        self._ipv4: dict[_Key, _Waiting] = {}
        self._ipv6: dict[_Key, _Waiting] = {}
        self._size = 0
        #: Packets that made room for others, or whose fragments overlapped, or never came.
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._ipv4) + len(self._ipv6)

    @property
    def nbytes(self) -> int:
        """What the fragments cost, in bytes."""
        return self._size

    def add_ipv4(self, header: ipv4.Header, data: bytes, now: int) -> Whole | None:
        """The fragment that is the payload of ``header`` in ``data``: the packet, if it is complete. Raises Malformed.

        RFC 791, 3.2: source, destination, protocol and identification tell what belongs together.
        """
        key = (header.source, header.destination, header.protocol, header.identification)
        part = data[header.start : header.end]
        return self._add(self._ipv4, key, header, (header.offset, header.more), part, now + IPV4_TIMEOUT)

    def add_ipv6(self, header: ipv6.Header, data: bytes, now: int) -> Whole | None:
        """As ``add_ipv4``. The protocol is that of the first fragment: RFC 8200, 4.5."""
        if header.fragment is None:
            raise ValueError("not a fragment")
        identification, offset, more = header.fragment
        key = (header.source, header.destination, identification)
        part = data[header.start : header.end]
        return self._add(self._ipv6, key, header, (offset, more), part, now + IPV6_TIMEOUT)

    def next_deadline(self) -> int | None:
        """When ``expire`` has something to do, in ns."""
        deadlines = [next(iter(table.values())).deadline for table in (self._ipv4, self._ipv6) if table]
        return min(deadlines, default=None)

    def expire(self, now: int) -> list[Expired]:
        """Drop what has waited for too long: those of which the first fragment is there."""
        expired = []
        for table in (self._ipv4, self._ipv6):
            while table:
                key, waiting = next(iter(table.items()))
                if waiting.deadline > now:
                    break
                if waiting.first is not None and waiting.parts:
                    expired.append(Expired(waiting.first, waiting.parts[0]))
                if not waiting.overlapped:
                    self.dropped += 1
                self._remove(table, key)
        return expired

    def clear(self) -> None:
        """Forget all of them."""
        self._ipv4.clear()
        self._ipv6.clear()
        self._size = 0

    def _add(
        self,
        table: dict[_Key, _Waiting],
        key: _Key,
        header: ipv4.Header | ipv6.Header,
        where: tuple[int, bool],
        part: bytes,
        deadline: int,
    ) -> Whole | None:
        offset, more = where
        if not part or (more and len(part) & 7):
            raise Malformed("fragment is not of whole units of 8 bytes")
        if offset + len(part) > ipv4.MAX_LENGTH:
            raise Malformed("fragments make a packet that is too long")
        waiting = table.get(key)
        if waiting is None:
            waiting = table[key] = _Waiting(deadline)
        elif waiting.overlapped:
            return None
        before = waiting.size
        try:
            waiting.add(header, offset, more, part)
        except Malformed:
            self._size -= before
            waiting.drop()
            self.dropped += 1
            raise
        self._size += waiting.size - before
        if waiting.have == waiting.length and waiting.first is not None:
            whole = Whole(waiting.first.protocol, b"".join(waiting.parts))
            self._remove(table, key)
            return whole
        self._make_room()
        return None

    def _make_room(self) -> None:
        while len(self) > self._max_packets or self._size > self._max_bytes:
            oldest = min(
                (table for table in (self._ipv4, self._ipv6) if table),
                key=lambda table: next(iter(table.values())).deadline,
            )
            self._remove(oldest, next(iter(oldest)))
            self.dropped += 1

    def _remove(self, table: dict[_Key, _Waiting], key: _Key) -> None:
        self._size -= table.pop(key).size


def cut_ipv4(header: ipv4.Header, payload: bytes | memoryview, mtu: int) -> list[bytes]:
    """Packets of at most ``mtu`` bytes that carry ``payload``; one when it fits. RFC 791, 3.2.

    ``header.identification`` tells them from others. ValueError: DONT_FRAGMENT is set, or the MTU is none.
    """
    if ipv4.HEADER_LENGTH + len(payload) <= mtu:
        return [header.pack(len(payload)) + payload]
    if header.fragment & ipv4.DONT_FRAGMENT:
        raise ValueError("packet must not be fragmented")
    size = _units(mtu - ipv4.HEADER_LENGTH)
    packets = []
    for start in range(0, len(payload), size):
        part = payload[start : start + size]
        more = header.more or start + size < len(payload)
        fragment = (header.offset + start) >> 3 | (ipv4.MORE_FRAGMENTS if more else 0)
        packets.append(header._replace(fragment=fragment).pack(len(part)) + part)
    return packets


def cut_ipv6(header: ipv6.Header, payload: bytes | memoryview, mtu: int, identification: int) -> list[bytes]:
    """Packets of at most ``mtu`` bytes that carry ``payload``; one when it fits. RFC 8200, 4.5."""
    if ipv6.HEADER_LENGTH + len(payload) <= mtu:
        return [header.pack(len(payload)) + payload]
    size = _units(mtu - ipv6.HEADER_LENGTH - ipv6.FRAGMENT_HEADER_LENGTH)
    packets = []
    for start in range(0, len(payload), size):
        part = payload[start : start + size]
        fragment = ipv6.Fragment(identification, start, start + size < len(payload))
        packets.append(header._replace(fragment=fragment).pack(len(part)) + part)
    return packets


def _units(room: int) -> int:
    """The whole units of 8 bytes that fit."""
    if room < 8:
        raise ValueError("no fragment fits into the MTU")
    return room & ~7
