# SPDX-License-Identifier: GPL-2.0-or-later
"""UdpRelay: the guest's datagrams to our services, to whoever called through a hostfwd, or to the outside.

For the outside each port of the guest has a socket of the host, whatever it sends to. Replies come in from hosts that
it has sent to, from any port of theirs (RFC 4787, 5: endpoint-independent mapping, address-dependent filtering).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from asyncemu.net.packets import icmp, icmpv6, ipv4, ipv6, udp
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.user.addresses import text_of
from asyncemu.net.user.packet import Packet
from asyncemu.net.user.reach import Place, Reach
from asyncemu.net.user.stack import Stack
from asyncemu.net.user.udp_socket import UdpSocket

_SECOND: Final = 1_000_000_000

#: How long a socket without traffic stays, in ns: libslirp's 240 s (RFC 4787, REQ-5 wants 120 s at least), and 10 s
#: for those that only ask name servers, each with a port of its own.
TIMEOUT: Final = 240 * _SECOND
DNS_TIMEOUT: Final = 10 * _SECOND

_DNS_PORT: Final = 53

#: Destinations that a socket remembers; more make it forget them all, and look them up again.
MAX_PLACES: Final = 256
#: Sockets at most: each is a descriptor of the host.
MAX_FLOWS: Final = 512
#: Callers through hostfwd that are remembered; the oldest makes room.
MAX_CALLERS: Final = 1024

Service: TypeAlias = Callable[[Packet, udp.Header], None]


class Caller(NamedTuple):
    """Who has sent the guest something through a hostfwd."""

    through: UdpSocket
    address: tuple[str, int]


class UdpFlow(UdpSocket):
    """A port of the guest to the outside."""

    def __init__(self, relay: UdpRelay, sock: socket.socket, guest: bytes, port: int) -> None:
        super().__init__(relay.stack, sock, guest, port)
        self.armed: int | None = None
        self.last_used = relay.stack.now
        self._timeout = DNS_TIMEOUT
        self._relay = relay
        #: Of the destinations that it has sent to.
        self.places: dict[tuple[bytes, int], Place] = {}
        #: The hosts that it has sent to, and their names within.
        self._names: dict[str, bytes] = {}

    def place(self, destination: bytes, port: int) -> Place | None:
        """Where a datagram goes; None: nowhere."""
        place = self.places.get((destination, port))
        if place is None:
            place = self._relay.reach.find(destination, port)
            if place is None:
                return None
            if len(self.places) >= MAX_PLACES:
                self.places.clear()
                self._names.clear()
            self.places[destination, port] = place
            self._names[text_of(place.host)] = destination
            if port != _DNS_PORT:
                self._timeout = TIMEOUT
        return place

    def called(self, address: tuple[str, int]) -> tuple[bytes, int] | None:
        name = self._names.get(address[0])
        if name is None:
            return None
        self.last_used = self.stack.now
        return name, address[1]

    def next_deadline(self) -> int | None:
        """See Owner."""
        return None if self.is_closed else self.last_used + self._timeout

    def on_deadline(self, now: int) -> None:
        """See Owner."""
        self._relay.remove(self)


class UdpRelay:
    """Home: the stack's."""

    def __init__(self, stack: Stack, reach: Reach, max_flows: int = MAX_FLOWS) -> None:
        self.stack = stack
        self.reach = reach
        #: What is at a port of ours, or of everybody (broadcast, a group).
        self.services: dict[tuple[bytes, int], Service] = {}
        #: Guest's address and port, caller's within: who gets what the guest answers.
        self.callers: dict[tuple[bytes, int, bytes, int], Caller] = {}
        self._flows: dict[tuple[bytes, int], UdpFlow] = {}
        self._max = max_flows

    def __len__(self) -> int:
        return len(self._flows)

    @property
    def flows(self) -> list[UdpFlow]:
        """All sockets to the outside."""
        return list(self._flows.values())

    def receive(self, packet: Packet) -> None:
        """See Upper."""
        header, data, _, _, _, trusted = packet
        destination = header.destination
        datagram = udp.parse(data, header.start, header.end)
        source_port, port, value, start, end = datagram
        if value:
            if not trusted:
                self.stack.verify(packet)
        elif len(destination) == 16 and not trusted:
            # RFC 8200, 8.1.
            raise Malformed("UDP over IPv6 without a checksum")
        service = self.services.get((destination, port))
        if service is not None:
            service(packet, datagram)
            return
        source = header.source
        if self.callers:
            caller = self.callers.get((source, source_port, destination, port))
            if caller is not None:
                caller.through.send(packet.payload(start, end), caller.address)
                return
        flow = self._flows.get((source, source_port))
        place = flow.places.get((destination, port)) if flow is not None else None
        if flow is None or place is None:
            if not self._may_go_out(packet, port, source_port):
                return
            flow = flow or self._open(source, source_port)
            place = flow.place(destination, port) if flow is not None else None
            if place is None or flow is None:
                return
        flow.last_used = self.stack.now
        problem = flow.send(packet.payload(start, end), place.address)
        if problem:
            self.stack.drop("UDP that the host did not send")
            self.stack.unreachable(packet, icmp.HOST_UNREACHABLE, icmpv6.ADDRESS_UNREACHABLE)

    def _may_go_out(self, packet: Packet, port: int, source_port: int) -> bool:
        header = packet.header
        destination = header.destination
        if isinstance(header, ipv4.Header):
            is_group = ipv4.is_multicast(destination) or destination in (
                ipv4.BROADCAST,
                self.stack.addresses.broadcast,
            )
            hops = header.ttl
        else:
            is_group = ipv6.is_multicast(destination)
            hops = header.hop_limit
        if is_group or not port or not source_port or header.source == ipv4.ANY:
            # Announcements of printers and the like, for a link that nobody else is on.
            self.stack.drop("UDP to all")
        elif destination in self.stack.neighbours.ours and self.reach.find(destination, port) is None:
            self.stack.drop("UDP to a port of ours where nothing is")
            self.stack.unreachable(packet, icmp.PORT_UNREACHABLE, icmpv6.PORT_UNREACHABLE)
        elif self.reach.find(destination, port) is None:
            self.stack.drop("UDP to where nobody may go" if self.reach.restrict else "UDP to where nobody is")
            code = icmp.PROHIBITED if self.reach.restrict else icmp.HOST_UNREACHABLE
            self.stack.unreachable(
                packet, code, icmpv6.PROHIBITED if self.reach.restrict else icmpv6.ADDRESS_UNREACHABLE
            )
        elif hops <= 1 and destination not in self.stack.neighbours.ours:
            # We are a router on its way: RFC 1812, 5.3.1.
            self.stack.report(
                packet,
                (icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED),
                (icmpv6.TIME_EXCEEDED, icmpv6.HOP_LIMIT_EXCEEDED),
            )
        else:
            return True
        return False

    def _open(self, source: bytes, source_port: int) -> UdpFlow | None:
        if len(self._flows) >= self._max:
            # The one that was used least recently.
            self.remove(min(self._flows.values(), key=lambda flow: flow.last_used))
        family = socket.AF_INET if len(source) == 4 else socket.AF_INET6
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:
            self.stack.drop("UDP that the host has no socket for")
            return None
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("0.0.0.0" if family == socket.AF_INET else "::", 0))
        flow = self._flows[source, source_port] = UdpFlow(self, sock, source, source_port)
        self.stack.deadlines.touch(flow)
        return flow

    def remove(self, flow: UdpFlow) -> None:
        """It was idle for long, or makes room."""
        self.stack.deadlines.forget(flow)
        self._flows.pop((flow.guest, flow.port), None)
        flow.close()

    def remember(self, key: tuple[bytes, int, bytes, int], caller: Caller) -> None:
        """Somebody has sent through a hostfwd: the guest's answers go there."""
        self.callers.pop(key, None)
        if len(self.callers) >= MAX_CALLERS:
            del self.callers[next(iter(self.callers))]
        self.callers[key] = caller

    def forget_callers(self, door: object) -> None:
        """A hostfwd is closed: the guest's answers to those who came through it go nowhere."""
        self.callers = {key: caller for key, caller in self.callers.items() if caller.through is not door}

    def close(self) -> None:
        """Close all sockets."""
        for flow in list(self._flows.values()):
            self.remove(flow)
        self.callers.clear()
