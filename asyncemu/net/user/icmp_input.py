# SPDX-License-Identifier: GPL-2.0-or-later
"""IcmpInput: ICMP and ICMPv6 of the guest: echo, errors about what we have sent, neighbour discovery."""

from __future__ import annotations

from asyncemu.net.packets import icmp, icmpv6, ipv4, ipv6, ndp, tcp
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.user.icmp_relay import IcmpRelay
from asyncemu.net.user.packet import Packet
from asyncemu.net.user.stack import Stack
from asyncemu.net.user.tcp_relays import TcpRelays

#: Of the errors, those after which there is no hope: RFC 1122, 4.2.3.9.
_HARD: frozenset[int] = frozenset((icmp.PROTOCOL_UNREACHABLE, icmp.PORT_UNREACHABLE))


class IcmpInput:
    """Home: the stack's. Advertises the router, too."""

    def __init__(self, stack: Stack, tcp_relays: TcpRelays, relay: IcmpRelay) -> None:
        self.armed: int | None = None
        self._stack = stack
        self._tcp = tcp_relays
        self._relay = relay

    def receive(self, packet: Packet) -> None:
        """See Upper."""
        header = packet.header
        data = packet.copied()
        if isinstance(header, ipv4.Header):
            if header.protocol != icmp.PROTOCOL:
                raise Malformed("ICMPv6 over IPv4")
            self._icmp(packet, header, data)
        else:
            if header.protocol != icmpv6.PROTOCOL:
                raise Malformed("ICMP over IPv6")
            self._icmpv6(packet, header, data)

    def _icmp(self, packet: Packet, header: ipv4.Header, data: bytes) -> None:
        message = icmp.parse(data, header.start, header.end)
        stack = self._stack
        if message.is_error:
            quoted = icmp.quoted(message, data)
            if quoted.header.protocol == tcp.PROTOCOL:
                # RFC 1191, 3: the size that fits is told with FRAGMENTATION_NEEDED.
                too_big = message.type == icmp.UNREACHABLE and message.code == icmp.FRAGMENTATION_NEEDED
                hard = message.type == icmp.UNREACHABLE and message.code in _HARD
                self._about_tcp(quoted, data, hard, message.mtu if too_big else 0)
        elif message.type == icmp.ECHO_REQUEST and header.source != ipv4.ANY:
            payload = data[message.start : message.end]
            if header.destination in stack.neighbours.ours:
                answer = icmp.pack(icmp.ECHO_REPLY, 0, message.rest, payload)
                stack.send_packet(header.destination, header.source, icmp.PROTOCOL, answer, packet.mac)
            else:
                self._relay.request(packet, message.identifier, message.sequence, payload)
        else:
            stack.drop("ICMP of other types")

    def _icmpv6(self, packet: Packet, header: ipv6.Header, data: bytes) -> None:
        message = icmpv6.parse(data, header)
        stack = self._stack
        if message.is_error:
            quoted = icmpv6.quoted(message, data)
            if quoted.header.protocol == tcp.PROTOCOL:
                too_big = message.type == icmpv6.PACKET_TOO_BIG
                hard = message.type == icmpv6.UNREACHABLE and message.code == icmpv6.PORT_UNREACHABLE
                self._about_tcp(quoted, data, hard, message.mtu if too_big else 0)
        elif message.type == icmpv6.ECHO_REQUEST and header.source != ipv6.ANY:
            stack.neighbours.seen(header.source, packet.mac)
            destination = header.destination
            if destination in stack.neighbours.ours or destination == stack.addresses.link_local:
                answer = icmpv6.echo_reply(destination, header.source, message, data)
                stack.send_packet(destination, header.source, icmpv6.PROTOCOL, answer, packet.mac)
            else:
                payload = data[message.start : message.end]
                self._relay.request(packet, message.identifier, message.sequence, payload)
        elif icmpv6.ROUTER_SOLICITATION <= message.type <= icmpv6.NEIGHBOR_ADVERTISEMENT:
            discovery = ndp.parse(message, header, data)
            reply = stack.discovery.receive(header, discovery, packet.mac, stack.now)
            if reply is not None:
                stack.send_discovery(reply)
            if isinstance(discovery, ndp.NeighborAdvertisement):
                stack.neighbours.release(discovery.target)
            stack.deadlines.touch(self)
        else:
            # Who listens to which groups (RFC 3810) is of no interest here.
            stack.drop("ICMPv6 of other types")

    def _about_tcp(self, quoted: icmp.Quoted | icmpv6.Quoted, data: bytes, hard: bool, mtu: int) -> None:
        header = quoted.header
        if header.end - header.start < 8:
            raise Malformed("ICMP error that quotes too little")
        sequence = int.from_bytes(data[header.start + 4 : header.start + 8], "big")
        key = (header.destination, quoted.destination_port, header.source, quoted.source_port)
        self._tcp.error(key, sequence, hard, mtu)

    # ---- the router

    def next_deadline(self) -> int | None:
        """See Owner."""
        return self._stack.discovery.next_deadline() if self._stack.addresses.ipv6 else None

    def on_deadline(self, now: int) -> None:
        """See Owner."""
        reply = self._stack.discovery.expire(now)
        if reply is not None:
            self._stack.send_discovery(reply)
