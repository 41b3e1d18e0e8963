# SPDX-License-Identifier: GPL-2.0-or-later
"""Stack: the guest's frames to whom they are for. The one place where packets that make no sense are dropped.

    frame -> Ethernet -> ARP                                          neighbours
                      -> IPv4, IPv6 -> (fragments) -> ICMP, ICMPv6    icmp_relay, ndp
                                                   -> UDP             services by port, else udp_relay
                                                   -> TCP             tcp_relays

Frames are always taken, at once and whole: TCP's window and the sockets' buffers bound what that can mean, and UDP may
be lost. What goes to the guest is in output.
"""

from __future__ import annotations

from collections.abc import Callable
from random import SystemRandom
from typing import Final, Protocol

from asyncemu.loop import AioContext, Clock, home
from asyncemu.net.frame import DATA_VALID, GSO_ECN, GSO_UDP_L4, NEEDS_CHECKSUM, PLAIN, Frame, Frames
from asyncemu.net.packets import arp, checksum, ethernet, icmp, icmpv6, ipv4, ipv6, ndp, udp
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.packets.fragments import Reassembly, cut_ipv4, cut_ipv6
from asyncemu.net.packets.offload import finish
from asyncemu.net.user.addresses import Addresses
from asyncemu.net.user.deadlines import Deadlines
from asyncemu.net.user.ndp import NeighborDiscovery, Reply, RouterSettings
from asyncemu.net.user.neighbours import Neighbours
from asyncemu.net.user.output import Link, Output
from asyncemu.net.user.packet import HEAD, Packet
from asyncemu.net.user.paths import MTU, path_between

#: Kinds of drops that are told apart: what a guest sends is not to fill a table of ours.
MAX_KINDS: Final = 256

#: As globals: to look them up in their module takes time.
_IPV4: Final = ethernet.IPV4
_IPV6: Final = ethernet.IPV6
_TCP: Final = ipv4.TCP
_UDP: Final = ipv4.UDP
_IS_FRAGMENT: Final = ipv4.MORE_FRAGMENTS | ipv4.OFFSET_MASK

_new = tuple.__new__


class Upper(Protocol):
    """UDP, TCP or ICMP above it. ``receive`` raises Malformed."""

    def receive(self, packet: Packet) -> None:
        """A packet of the guest; its memory is lent for the call."""


class Stack:
    """Home: ``context``. ``router`` is what the guest is told about IPv6."""

    def __init__(
        self,
        context: AioContext,
        clock: Clock,
        addresses: Addresses,
        router: RouterSettings,
        link: Link,
    ) -> None:
        self.context = context
        self.clock = clock
        self.addresses = addresses
        #: Of the batch that is being looked at, in ns.
        self.now = clock.now()
        self.random: Final = SystemRandom()
        self.output = Output(context, link)
        self.deadlines = Deadlines(context, clock, self.settle)
        self.discovery = NeighborDiscovery(router, self.now, self.random)
        self.neighbours = Neighbours(addresses, self.discovery, self.output.answer, self.send_discovery)
        self._mac = addresses.mac
        self._macs = self.neighbours.macs
        #: Packets that went nowhere: why, and how many. Shown by `statistics`.
        self.drops: dict[str, int] = {}
        #: Set by the back end, before the first frame.
        self.tcp: Upper
        self.udp: Upper
        self.icmp: Upper
        #: Called at the end of each batch: those who have collected something to send.
        self.on_settle: list[Callable[[], None]] = []
        self.reassembly = Reassembly()
        self._fragments = _FragmentTimer(self)
        self._identification = self.random.getrandbits(16)

    # ---- from the guest

    @home
    def receive(self, frames: Frames) -> int:
        """See NetPort."""
        if self.output.refuses():
            return 0
        self.now = self.clock.now()
        receive = self._frame
        for frame in frames:
            try:
                receive(frame)
            except Malformed as problem:
                self.drop(str(problem))
        self.settle()
        return len(frames)

    @home
    def settle(self) -> None:
        """Send what was collected since the last time."""
        for callback in self.on_settle:
            callback()

    @home
    def drop(self, reason: str, count: int = 1) -> None:
        """Count packets that went nowhere."""
        if reason not in self.drops and len(self.drops) >= MAX_KINDS:
            reason = "other"
        self.drops[reason] = self.drops.get(reason, 0) + count

    def _frame(self, frame: Frame) -> None:
        # One function for the usual packet, as calls are most of what it costs.
        data = frame.head(HEAD)
        destination, mac, ether_type, start = ethernet.parse(data)
        if destination != self._mac and not destination[0] & 1:
            # From one guest to another one, by a hub.
            return
        if mac[0] & 1 or mac == self._mac:
            raise Malformed("source address is not a guest's")
        trusted = False
        vnet = frame.vnet
        if vnet is not PLAIN:
            if vnet.gso_type & ~GSO_ECN == GSO_UDP_L4:
                for each in finish(frame, ipv4.MAX_LENGTH):
                    self._frame(each)
                return
            trusted = vnet.flags & (NEEDS_CHECKSUM | DATA_VALID) != 0
        buffers = frame.buffers
        length = len(buffers[0]) if len(buffers) == 1 else buffers.nbytes
        packet: Packet | None
        if ether_type == _IPV4 and self.addresses.ipv4:
            header = ipv4.parse(data, start, length)
            if self._macs.get(header.source) != mac or self.neighbours.held:
                self._new_source(header, mac)
            packet = _new(Packet, (header, data, frame, mac, start, trusted))
            if header.fragment & _IS_FRAGMENT:
                packet = self._joined_ipv4(header, packet)
        elif ether_type == _IPV6 and self.addresses.ipv6:
            header6 = ipv6.parse(data, start, length)
            self._new_source(header6, mac)
            packet = Packet(header6, data, frame, mac, start, trusted)
            if header6.fragment is not None:
                packet = self._joined_ipv6(header6, packet)
        elif ether_type == ethernet.ARP and self.addresses.ipv4:
            self.neighbours.receive(arp.parse(data, start), mac)
            return
        else:
            raise Malformed("neither IP nor ARP")
        if packet is None:
            return
        protocol = packet.header.protocol
        if protocol == _TCP:
            self.tcp.receive(packet)
        elif protocol == _UDP:
            self.udp.receive(packet)
        elif protocol in (icmp.PROTOCOL, icmpv6.PROTOCOL):
            self.icmp.receive(packet)
        else:
            self.drop(f"IP protocol {protocol}")
            self.unreachable(packet, icmp.PROTOCOL_UNREACHABLE, icmpv6.ADDRESS_UNREACHABLE)

    def _new_source(self, header: ipv4.Header | ipv6.Header, mac: bytes) -> None:
        """Is it one that a guest can have? Then it is at ``mac``. Raises Malformed."""
        source, protocol = header.source, header.protocol
        if self.addresses.is_usable_source(source):
            # Neighbour discovery has rules of its own for what is learnt from its messages.
            if protocol != icmpv6.PROTOCOL:
                self.neighbours.seen(source, mac)
        elif not (source == ipv4.ANY and protocol == _UDP) and not (source == ipv6.ANY and protocol == icmpv6.PROTOCOL):
            # 0.0.0.0 is who asks for an address (RFC 1122, 3.2.1.3), and :: who looks whether one is free (RFC 4862,
            # 5.4.2).
            raise Malformed("source address is not a guest's")

    def _joined_ipv4(self, header: ipv4.Header, packet: Packet) -> Packet | None:
        """The whole packet, if this was the last fragment of it. Raises Malformed."""
        whole = self.reassembly.add_ipv4(header, packet.copied(), self.now)
        self.deadlines.touch(self._fragments)
        if whole is None:
            return None
        joined = header._replace(fragment=0).pack(len(whole.payload)) + whole.payload
        return Packet(ipv4.parse(joined), joined, Frame.of(joined), packet.mac, 0, False)

    def _joined_ipv6(self, header: ipv6.Header, packet: Packet) -> Packet | None:
        """As ``_joined_ipv4``."""
        whole = self.reassembly.add_ipv6(header, packet.copied(), self.now)
        self.deadlines.touch(self._fragments)
        if whole is None:
            return None
        joined = header._replace(fragment=None, protocol=whole.protocol).pack(len(whole.payload)) + whole.payload
        return Packet(ipv6.parse(joined), joined, Frame.of(joined), packet.mac, 0, False)

    @home
    def verify(self, packet: Packet) -> None:
        """Of UDP and TCP: is the checksum right? Raises Malformed."""
        header = packet.header
        data = packet.copied()
        if not checksum.is_right(header.source, header.destination, header.protocol, data[header.start : header.end]):
            raise Malformed("checksum is wrong")

    # ---- to the guest

    @home
    def send_packet(
        self, source: bytes, destination: bytes, protocol: int, payload: bytes, mac: bytes | None = None
    ) -> None:
        """Send an answer: a packet whose payload is complete; it is cut into fragments when it is too long.

        ``mac``: where to, when ``destination`` does not say.
        """
        frames: list[bytes]
        target = mac or self.neighbours.lookup(destination) or ethernet.BROADCAST
        path = path_between(self.addresses.mac, source, destination, protocol)
        if path.length + len(payload) <= MTU + ethernet.HEADER_LENGTH:
            frames = [path.head(target, len(payload)) + payload]
        else:
            self._identification = (self._identification + 1) & 0xFFFF
            if len(source) == 4:
                header = ipv4.Header(source, destination, protocol, identification=self._identification)
                packets = cut_ipv4(header, payload, MTU)
            else:
                packets = cut_ipv6(ipv6.Header(source, destination, protocol), payload, MTU, self._identification)
            ether_type = _IPV4 if len(source) == 4 else _IPV6
            link = ethernet.Header(target, self.addresses.mac, ether_type).pack()
            frames = [link + each for each in packets]
        unknown = target == ethernet.BROADCAST and mac is None and destination != ipv4.BROADCAST
        for data in frames:
            if unknown:
                self.neighbours.hold(destination, Frame.of(data), self.now)
            else:
                self.output.answer(Frame.of(data))

    @home
    def send_udp(
        self,
        source: tuple[bytes, int],
        destination: tuple[bytes, int],
        payload: bytes,
        mac: bytes | None = None,
    ) -> None:
        """Send a datagram of a service."""
        datagram = udp.pack(source[0], destination[0], source[1], destination[1], payload)
        self.send_packet(source[0], destination[0], udp.PROTOCOL, datagram, mac)

    @home
    def send_discovery(self, reply: Reply) -> None:
        """Send a message of neighbour discovery, whose hop limit says that no router has passed it on."""
        header = ipv6.Header(reply.source, reply.destination, icmpv6.PROTOCOL, ndp.HOP_LIMIT)
        link = ethernet.Header(reply.mac, self.addresses.mac, _IPV6).pack()
        self.output.answer(Frame.of(link + header.pack(len(reply.message)) + reply.message))

    @home
    def unreachable(self, packet: Packet, code: int, code6: int) -> None:
        """Tell the guest that its packet went nowhere: codes of ICMP's and ICMPv6's UNREACHABLE."""
        self.report(packet, (icmp.UNREACHABLE, code), (icmpv6.UNREACHABLE, code6))

    @home
    def report(self, packet: Packet, kind: tuple[int, int], kind6: tuple[int, int]) -> None:
        """Send an ICMP error, of a type and a code, about a packet, if one may be sent."""
        header, data = packet.header, packet.data
        destination = header.source
        quoted = data[packet.start : header.end]
        if isinstance(header, ipv4.Header):
            if icmp.may_report(header, data) and header.destination != self.addresses.broadcast:
                message = icmp.error(*kind, quoted)
                self.send_packet(self.addresses.host, destination, icmp.PROTOCOL, message, packet.mac)
        elif icmpv6.may_report(header, data):
            source = self.addresses.host6
            message = icmpv6.error(source, destination, *kind6, quoted)
            self.send_packet(source, destination, icmpv6.PROTOCOL, message, packet.mac)

    @home
    def close(self) -> None:
        """Nothing comes or goes any more."""
        self.deadlines.close()
        self.output.clear()
        self.reassembly.clear()


class _FragmentTimer:
    """Drops packets that are not complete in time: RFC 791, 3.2."""

    def __init__(self, stack: Stack) -> None:
        self.armed: int | None = None
        self._stack = stack

    def next_deadline(self) -> int | None:
        return self._stack.reassembly.next_deadline()

    def on_deadline(self, now: int) -> None:
        self._stack.now = now
        for header, first in self._stack.reassembly.expire(now):
            self._stack.drop("fragments that were not all there in time")
            if isinstance(header, ipv4.Header):
                quoted = header._replace(fragment=ipv4.MORE_FRAGMENTS).pack(len(first)) + first
                packet = Packet(header._replace(start=20, end=len(quoted)), quoted, Frame.of(quoted), b"", 0, False)
            else:
                quoted = header._replace(fragment=None).pack(len(first)) + first
                packet = Packet(header._replace(start=40, end=len(quoted)), quoted, Frame.of(quoted), b"", 0, False)
            time_exceeded = (icmp.TIME_EXCEEDED, icmp.REASSEMBLY_TIME_EXCEEDED)
            self._stack.report(packet, time_exceeded, (icmpv6.TIME_EXCEEDED, icmpv6.REASSEMBLY_TIME_EXCEEDED))
