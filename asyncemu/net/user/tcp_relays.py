# SPDX-License-Identifier: GPL-2.0-or-later
"""TcpRelays: the table of connections; which segment belongs to which, and what becomes of a SYN."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final, TypeAlias

from asyncemu.net.packets import icmp, icmpv6, ipv4, ipv6, tcp
from asyncemu.net.tcp import Segment, TcpConnection, TcpSettings, reset_for
from asyncemu.net.tcp.segment import ACK, RST, SYN
from asyncemu.net.user.keep_alive import KeepAlive
from asyncemu.net.user.packet import Packet
from asyncemu.net.user.paths import path_between
from asyncemu.net.user.reach import Reach
from asyncemu.net.user.stack import Stack
from asyncemu.net.user.tcp_relay import Key, TcpRelay

#: Buffers of a connection, each way, in bytes: with few connections, and with many; so what a guest makes us hold is
#: less than 400 MiB in 2,048 connections of which each end has stalled.
LARGE: Final = 256 << 10
SMALL: Final = 64 << 10
FEW: Final = 256

#: A connection that has been silent for so long, in ns, makes room for a new one. RFC 5382, REQ-5 wants more of a
#: router; here it goes only when the table is full.
IDLE: Final = 300_000_000_000
#: How many are looked at for that, of those that are open for longest.
_LOOKED_AT: Final = 16

_FIRST_PORT: Final = 49152

#: Brings up what is behind a guestfwd: calls the relay's ``attach`` or ``opening_failed``, now or later.
Opener: TypeAlias = Callable[[TcpRelay], None]


class TcpRelays:
    """Home: the stack's."""

    def __init__(self, stack: Stack, reach: Reach, max_connections: int) -> None:
        self.stack = stack
        self._reach = reach
        self._max = max_connections
        self._relays: dict[Key, TcpRelay] = {}
        #: Without a socket any more, the oldest first.
        self._lingering: dict[Key, None] = {}
        self._dirty: list[TcpRelay] = []
        #: What is behind an address and port of the guest's network.
        self.openers: dict[tuple[bytes, int], Opener] = {}
        self._next_port = _FIRST_PORT
        self._keep_alive = KeepAlive(self)
        stack.on_settle.append(self._settle)

    def __len__(self) -> int:
        return len(self._relays)

    @property
    def connections(self) -> list[TcpRelay]:
        """All of them, in the order in which they were opened."""
        return list(self._relays.values())

    # ---- from the guest

    def receive(self, packet: Packet) -> None:
        """See Upper."""
        header, data, _, _, _, trusted = packet
        start, end = header.start, header.end
        source_port, destination_port, segment, data_start = tcp.parse(data, start, end)
        if not trusted:
            self.stack.verify(packet)
        key = (header.source, source_port, header.destination, destination_port)
        relay = self._relays.get(key)
        if relay is not None:
            if not (segment.flags & SYN and relay.core.may_be_replaced(segment)):
                relay.arrives(segment, packet.payload(data_start, end))
                return
            relay.discard()
        if segment.flags & (SYN | ACK | RST) == SYN:
            self._open(key, segment, packet)
        else:
            self._refuse(key, segment, end - data_start)

    def _open(self, key: Key, syn: Segment, packet: Packet) -> None:
        guest, guest_port, destination, port = key
        if not guest_port or not port or not self._is_one_host(destination):
            # RFC 9293, 3.9.2.3.
            self.stack.drop("TCP to nobody")
            return
        opener = self.openers.get((destination, port))
        place = None
        if opener is None:
            place = self._reach.find(destination, port)
            if place is not None and self._reach.is_own(place):
                self.stack.drop("TCP to the emulator's own sockets")
                place = None
            elif place is None and not self._reach.restrict and destination not in self.stack.neighbours.ours:
                # A neighbour that is not there, or what no guest may name.
                self.stack.drop("TCP to where nobody is")
                self.stack.unreachable(packet, icmp.HOST_UNREACHABLE, icmpv6.ADDRESS_UNREACHABLE)
                return
        if (opener is None and place is None) or not self._has_room():
            self.stack.drop("TCP connections that were refused")
            self._refuse(key, syn, 0)
            return
        core = TcpConnection.accept(syn, self.stack.now, self.stack.random.getrandbits(32), self._settings(guest))
        relay = self._add(key, core)
        if place is not None:
            relay.connect(place, packet)
        elif opener is not None:
            relay.hold(packet)
            opener(relay)

    def _is_one_host(self, address: bytes) -> bool:
        if len(address) == 16:
            return not ipv6.is_multicast(address)
        return not ipv4.is_multicast(address) and address not in (ipv4.BROADCAST, self.stack.addresses.broadcast)

    def _refuse(self, key: Key, segment: Segment, length: int) -> None:
        answer = reset_for(segment, length)
        guest, guest_port, destination, port = key
        if answer is not None and self._is_one_host(destination):
            self.stack.drop("TCP segments of no connection", 0 if segment.flags & SYN else 1)
            data = tcp.pack(destination, guest, (port, guest_port), answer)
            self.stack.send_packet(destination, guest, tcp.PROTOCOL, data)

    def error(self, key: Key, sequence: int, hard: bool, mtu: int) -> None:
        """An ICMP error of the guest's side about a segment of ours; ``mtu`` other than 0: it was too big."""
        relay = self._relays.get(key)
        if relay is None:
            return
        if mtu:
            relay.core.packet_too_big(sequence, mtu - relay.path.length + 14 - tcp.HEADER_LENGTH)
        else:
            relay.core.unreachable(sequence, hard)
        self.mark(relay)

    # ---- from the host

    def dial(self, sock: socket.socket, caller: tuple[bytes, int], guest: tuple[bytes, int]) -> None:
        """A connection that a hostfwd has accepted: continue it to the guest, as if from ``caller``."""
        address, port = caller
        key = (*guest, address, port)
        if not self._has_room():
            self.stack.drop("TCP connections that were refused")
            sock.close()
            return
        while key in self._relays or not port:
            self._next_port = self._next_port + 1 if self._next_port < 65535 else _FIRST_PORT
            port = self._next_port
            key = (*guest, address, port)
        core = TcpConnection.connect(self.stack.random.getrandbits(32), self._settings(guest[0]))
        relay = self._add(key, core)
        relay.sock = sock
        relay.came_by_a_door = True
        self.mark(relay)

    # ---- the table

    def _settings(self, guest: bytes) -> TcpSettings:
        size = LARGE if len(self._relays) < FEW else SMALL
        mss, default = (1460, 536) if len(guest) == 4 else (1440, 1220)
        return TcpSettings(mss=mss, default_mss=default, receive_buffer=size, send_buffer=size)

    def _add(self, key: Key, core: TcpConnection) -> TcpRelay:
        guest, _, address, _ = key
        path = path_between(self.stack.addresses.mac, address, guest, tcp.PROTOCOL)
        is_first = not self._relays
        relay = self._relays[key] = TcpRelay(self, key, core, path)
        if is_first:
            self._keep_alive.begin()
        return relay

    def _has_room(self) -> bool:
        """For one more: who is through goes, or who has been silent for long."""
        if len(self._relays) < self._max:
            return True
        for key in self._lingering:
            self._relays[key].discard()
            return True
        for _, (key, relay) in zip(range(_LOOKED_AT), list(self._relays.items()), strict=False):
            if self.stack.now - relay.last_heard >= IDLE:
                relay.abort()
                relay.transmit()
                if key in self._relays:
                    relay.discard()
                return True
        return False

    def linger(self, key: Key) -> None:
        """It has no socket any more."""
        self._lingering[key] = None

    def remove(self, key: Key, relay: TcpRelay) -> None:
        """It is over."""
        if self._relays.get(key) is relay:
            del self._relays[key]
            self._lingering.pop(key, None)

    # ---- what is to be sent

    def mark(self, relay: TcpRelay) -> None:
        """It may have something for the guest: to be looked at when the batch is through."""
        if not relay.is_dirty:
            relay.is_dirty = True
            self._dirty.append(relay)

    def _settle(self) -> None:
        while self._dirty:
            dirty, self._dirty = self._dirty, []
            for relay in dirty:
                relay.transmit()

    def set_offloads(self) -> None:
        """What the guest takes unfinished has changed."""
        for relay in self._relays.values():
            relay.set_offloads()

    def close(self) -> None:
        """Reset all, toward the host; nobody listens on the other side."""
        for relay in list(self._relays.values()):
            relay.discard()
        self._dirty.clear()
