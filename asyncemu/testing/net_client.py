# SPDX-License-Identifier: GPL-2.0-or-later
"""NetClient: a guest's network stack on the other end of a back end's link, for tests and benchmarks without a guest.

    client = NetClient(context, clocks.virtual)
    connect(client, netdev)
    await client.dhcp()
    stream = await client.connect("10.0.2.2", 80)
    await stream.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print(await stream.read())

Its TCP is ``asyncemu.net.tcp``, as the back end's is. ``offload``: it gives and takes segments of up to 64 KiB with the
checksum left out, as a virtio-net driver does. ``pause`` is a guest that fetches nothing from its receive queue.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Final, NamedTuple, TypeAlias

from asyncemu.loop import AioContext, Clock, home
from asyncemu.memory.buffers import Buffers
from asyncemu.net.frame import MAX_FRAME, NEEDS_CHECKSUM, Fill, Frame, Frames
from asyncemu.net.packets import arp, checksum, dhcp, ethernet, icmp, icmpv6, ipv4, ipv6, ndp, tcp, udp
from asyncemu.net.port import NetPort
from asyncemu.net.tcp import Reason, TcpConnection, TcpSettings, reset_for
from asyncemu.net.user.deadlines import Deadlines
from asyncemu.net.user.paths import path_between
from asyncemu.testing.net_client_tcp import Stream
from asyncemu.testing.net_client_udp import Datagram, UdpPort, pack_address

MAC: Final = bytes.fromhex("525400123456")
_GATEWAY: Final = bytes((10, 0, 2, 2))
_GATEWAY6: Final = b"\xfe\xc0" + bytes(13) + b"\2"
_FIRST_PORT: Final = 40000


#: What DHCP answers, and ARP: the client's methods have the names of their modules.
Lease: TypeAlias = dhcp.Message
ArpPacket: TypeAlias = arp.Packet


class Error(NamedTuple):
    """An ICMP or ICMPv6 error that has arrived: type, code, and what it quotes."""

    type: int
    code: int
    quoted: bytes


class NetClient(NetPort):
    """Home: the back end's. Addresses are text. Connect it to the back end before anything else."""

    has_vnet_header = True
    fills_directly = True

    def __init__(
        self, context: AioContext, clock: Clock, *, mac: bytes = MAC, offload: bool = True, seed: int = 0
    ) -> None:
        super().__init__("client", context)
        self.clock = clock
        self.mac = mac
        self.offload = offload
        self.now = clock.now()
        self.address = bytes((10, 0, 2, 15))
        self.address6 = b"\xfe\xc0" + bytes(6) + ipv6.interface_id(mac)
        self.link_local = ipv6.link_local(mac)
        self.gateway_mac = b"\x52\x55" + _GATEWAY
        self.deadlines = Deadlines(context, clock, self._flush)
        self.settings = TcpSettings()
        #: What has arrived besides TCP and UDP, and of those what nobody waits for.
        self.errors: list[Error] = []
        self.arps: list[arp.Packet] = []
        self.discoveries: list[ndp.Discovery] = []
        self.unclaimed: list[bytes] = []
        self.received = 0
        self.streams: dict[tuple[bytes, int, bytes, int], Stream] = {}
        self._random = Random(seed)
        self._ports: dict[int, UdpPort] = {}
        self._listening: dict[int, asyncio.Queue[Stream]] = {}
        self._echoes: dict[tuple[int, int], asyncio.Future[bytes]] = {}
        self._dirty: list[Stream] = []
        self._unsent: deque[Frame] = deque()
        self._next_port = _FIRST_PORT
        self._paused = False
        self._flushing = False
        self._sending_now = False
        self._inbox: list[Frame] = []
        self._memory = memoryview(bytearray(MAX_FRAME))
        self._bh = context.bh_new(self._flush, "client")
        self._changed = asyncio.Event()

    def link_changed(self) -> None:
        if self.peer is not None:
            self.peer.peer_offloads(self.offload, self.offload, self.offload, False, False)

    # ---- for tests

    @home
    async def dhcp(self) -> Lease:
        """Get an address: the server's last word. ConnectionRefusedError: it says no."""
        port = self.udp(68)
        options: dict[int, bytes] = {dhcp.MESSAGE_TYPE: bytes((dhcp.DISCOVER,))}
        transaction = self._random.getrandbits(32)
        self._broadcast_dhcp(dhcp.Message(dhcp.REQUEST, transaction, self.mac, options))
        offer = dhcp.parse((await port.receive()).payload)
        options = {
            dhcp.MESSAGE_TYPE: bytes((dhcp.REQUEST_ADDRESS,)),
            dhcp.REQUESTED_ADDRESS: offer.your,
            dhcp.SERVER_IDENTIFIER: offer.options[dhcp.SERVER_IDENTIFIER],
        }
        self._broadcast_dhcp(dhcp.Message(dhcp.REQUEST, transaction, self.mac, options))
        answer = dhcp.parse((await port.receive()).payload)
        del self._ports[68]
        if answer.type != dhcp.ACK:
            raise ConnectionRefusedError("DHCP")
        self.address = answer.your
        return answer

    def _broadcast_dhcp(self, message: Lease) -> None:
        datagram = udp.pack(ipv4.ANY, ipv4.BROADCAST, 68, 67, message.pack())
        self.send_ip(ipv4.ANY, ipv4.BROADCAST, udp.PROTOCOL, datagram, ethernet.BROADCAST)

    @home
    async def arp(self, address: str) -> bytes:
        """The MAC address of an address."""
        question = arp.Packet(arp.REQUEST, self.mac, self.address, bytes(6), pack_address(address))
        header = ethernet.Header(ethernet.BROADCAST, self.mac, ethernet.ARP).pack()
        self.inject(header + question.pack())
        target = pack_address(address)
        await self.wait(lambda: any(each.sender_address == target for each in self.arps))
        return next(each.sender_mac for each in self.arps if each.sender_address == target)

    @home
    async def solicit_router(self) -> ndp.RouterAdvertisement:
        """Ask for a router, and make an address of the prefix that it tells."""
        message = ndp.pack_solicitation(self.link_local, ipv6.ALL_ROUTERS, ndp.Options(source_mac=self.mac))
        self.send_discovery(self.link_local, ipv6.ALL_ROUTERS, message)
        await self.wait(lambda: any(isinstance(each, ndp.RouterAdvertisement) for each in self.discoveries))
        found = next(each for each in self.discoveries if isinstance(each, ndp.RouterAdvertisement))
        assert found.options.source_mac is not None
        self.gateway_mac = found.options.source_mac
        self.address6 = found.options.prefixes[0].prefix[:8] + ipv6.interface_id(self.mac)
        return found

    @home
    async def connect(self, address: str, port: int, *, settings: TcpSettings | None = None) -> Stream:
        """A connection. ConnectionRefusedError: a RST; TimeoutError and OSError: nobody, and ICMP says so."""
        stream = self.begin(address, port, settings=settings)
        await stream.wait(lambda: stream.core.established or stream.core.closed)
        if stream.core.established:
            return stream
        if stream.core.reason is Reason.REFUSED:
            raise ConnectionRefusedError(f"{address} port {port}")
        raise ConnectionError(f"{address} port {port}: {stream.core.reason}")

    @home
    def begin(self, address: str, port: int, *, settings: TcpSettings | None = None) -> Stream:
        """A connection whose SYN is on its way."""
        destination = pack_address(address)
        source = self.source_for(destination)
        self._next_port = self._next_port + 1 if self._next_port < 65535 else 1024
        key = (source, self._next_port, destination, port)
        if settings is None:
            settings = self.settings if len(source) == 4 else self.settings._replace(mss=1440, default_mss=1220)
        core = TcpConnection.connect(self._random.getrandbits(32), settings)
        return self._add(key, core)

    @home
    def listen(self, port: int) -> asyncio.Queue[Stream]:
        """Accept connections: they come in the queue when they are established."""
        return self._listening.setdefault(port, asyncio.Queue())

    @home
    def udp(self, port: int = 0) -> UdpPort:
        """A UDP port, of that number."""
        if not port:
            self._next_port += 1
            port = self._next_port
        return self._ports.setdefault(port, UdpPort(self, port))

    @home
    async def ping(self, address: str, payload: bytes = b"ping", *, identifier: int = 7, sequence: int = 1) -> bytes:
        """Ask for an echo: the payload that comes back."""
        destination = pack_address(address)
        source = self.source_for(destination)
        rest = identifier << 16 | sequence
        future: asyncio.Future[bytes] = self.context.loop.create_future()
        self._echoes[identifier, sequence] = future
        if len(source) == 4:
            message = icmp.pack(icmp.ECHO_REQUEST, 0, rest, payload)
            self.send_ip(source, destination, icmp.PROTOCOL, message)
        else:
            message = icmpv6.pack(source, destination, icmpv6.ECHO_REQUEST, 0, rest, payload)
            self.send_ip(source, destination, icmpv6.PROTOCOL, message)
        return await future

    @home
    def inject(self, *frames: Frame | bytes) -> None:
        """Send frames as they are; those that are not taken when they are."""
        self._unsent += [frame if isinstance(frame, Frame) else Frame.of(frame) for frame in frames]
        if self._sending_now:
            self._bh.schedule()
        else:
            self._send_unsent()

    @home
    def pause(self) -> None:
        """Take no frames."""
        self._paused = True

    @home
    def resume(self) -> None:
        """Take frames again."""
        self._paused = False
        self.ready()

    @home
    async def wait(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition()`` holds; it is looked at after each frame that is neither TCP nor UDP."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    @home
    def source_for(self, destination: bytes) -> bytes:
        """Which of its addresses it sends from."""
        if len(destination) == 4:
            return self.address
        return self.link_local if ipv6.is_link_local(destination) else self.address6

    @home
    def send_ip(self, source: bytes, destination: bytes, protocol: int, payload: bytes, mac: bytes = b"") -> None:
        """Send a packet, whole."""
        path = path_between(self.mac, source, destination, protocol)
        self.inject(path.head(mac or self.gateway_mac, len(payload)) + payload)

    @home
    def send_udp_to(self, group: str, number: int, port: UdpPort, payload: bytes) -> None:
        """Send a datagram to a group of the link, from the address that holds there."""
        destination = pack_address(group)
        datagram = udp.pack(self.link_local, destination, port.port, number, payload)
        self.send_ip(self.link_local, destination, udp.PROTOCOL, datagram, ipv6.multicast_mac(destination))

    @home
    def send_discovery(self, source: bytes, destination: bytes, message: bytes) -> None:
        """Send a message of neighbour discovery."""
        mac = ipv6.multicast_mac(destination) if ipv6.is_multicast(destination) else self.gateway_mac
        header = ipv6.Header(source, destination, icmpv6.PROTOCOL, ndp.HOP_LIMIT).pack(len(message))
        self.inject(ethernet.Header(mac, self.mac, ethernet.IPV6).pack() + header + message)

    # ---- NetPort

    def receive(self, frames: Frames) -> int:
        if self._paused:
            return 0
        self.received += len(frames)
        if self._sending_now:
            # An answer from within ``send``: as a receive queue does, keep it until we are through with that.
            self._inbox += [frame.copy() for frame in frames]
            self._bh.schedule()
            return len(frames)
        for frame in frames:
            self._frame(frame)
        return len(frames)

    def receive_into(self, capacity: int, fill: Fill) -> bool:
        if self._paused:
            return False
        view = self._memory if not self._sending_now else memoryview(bytearray(capacity))
        filled = fill(Buffers((view[:capacity],)))
        if filled is not None:
            self.receive((Frame(Buffers((view[: filled.length],)), filled.vnet),))
        return True

    def writable(self) -> None:
        self._flush()

    # ---- inside

    def _frame(self, frame: Frame) -> None:
        data = frame.head(256)
        link = ethernet.parse(data)
        if link.ether_type == ethernet.ARP:
            self._on_arp(arp.parse(data, link.start))
            return
        header: ipv4.Header | ipv6.Header
        if link.ether_type == ethernet.IPV4:
            header = ipv4.parse(data, link.start, frame.nbytes)
        else:
            header = ipv6.parse(data, link.start, frame.nbytes)
        if header.is_fragment:
            self.unclaimed.append(frame.tobytes())
        elif header.protocol == tcp.PROTOCOL:
            self._tcp(frame, data, header)
        elif header.protocol == udp.PROTOCOL:
            self._udp(frame, data, header)
        else:
            self._icmp(frame.tobytes(), header)
            self._changed.set()

    def _tcp(self, frame: Frame, data: bytes, header: ipv4.Header | ipv6.Header) -> None:
        parsed = tcp.parse(data, header.start, header.end)
        if frame.vnet.flags & NEEDS_CHECKSUM == 0:
            whole = frame.tobytes()
            assert checksum.is_right(header.source, header.destination, 6, whole[header.start : header.end])
        key = (header.destination, parsed.destination_port, header.source, parsed.source_port)
        self.now = self.clock.now()
        stream = self.streams.get(key)
        payload = frame.buffers.slice(parsed.start, header.end - parsed.start)
        if stream is not None:
            established = stream.core.established
            stream.arrives(parsed.segment, payload, self.now)
            if not established and stream.core.established and key[1] in self._listening:
                self._listening[key[1]].put_nowait(stream)
            return
        if parsed.segment.flags & 0x17 == 2 and key[1] in self._listening:
            core = TcpConnection.accept(parsed.segment, self.now, self._random.getrandbits(32), self.settings)
            core.establish()
            self._add(key, core)
            return
        answer = reset_for(parsed.segment, payload.nbytes)
        if answer is not None:
            reset = tcp.pack(key[0], key[2], (key[1], key[3]), answer)
            self.send_ip(key[0], key[2], tcp.PROTOCOL, reset)

    def _udp(self, frame: Frame, data: bytes, header: ipv4.Header | ipv6.Header) -> None:
        parsed = udp.parse(data, header.start, header.end)
        port = self._ports.get(parsed.destination_port)
        if port is not None and port.sink is not None:
            port.sink(frame)
            return
        whole = frame.tobytes()
        if frame.vnet.flags & NEEDS_CHECKSUM == 0 and parsed.checksum:
            assert checksum.is_right(header.source, header.destination, 17, whole[header.start : header.end])
        if port is None:
            self.unclaimed.append(whole)
            self._changed.set()
            return
        family = socket.AF_INET if len(header.source) == 4 else socket.AF_INET6
        payload = whole[parsed.start : parsed.end]
        port.arrives(Datagram(payload, socket.inet_ntop(family, header.source), parsed.source_port))

    def _icmp(self, data: bytes, header: ipv4.Header | ipv6.Header) -> None:
        message: icmp.Message | icmpv6.Message
        if isinstance(header, ipv4.Header):
            message = icmp.parse(data, header.start, header.end)
            reply = icmp.ECHO_REPLY
        else:
            message = icmpv6.parse(data, header)
            reply = icmpv6.ECHO_REPLY
        payload = data[message.start : message.end]
        if message.type == reply:
            future = self._echoes.pop((message.identifier, message.sequence), None)
            if future is not None and not future.done():
                future.set_result(payload)
        elif message.is_error:
            self.errors.append(Error(message.type, message.code, payload))
        elif isinstance(header, ipv6.Header):
            assert isinstance(message, icmpv6.Message)
            discovery = ndp.parse(message, header, data)
            self.discoveries.append(discovery)
            if isinstance(discovery, ndp.NeighborSolicitation) and discovery.target in (self.address6, self.link_local):
                answer = ndp.NeighborAdvertisement(
                    discovery.target, ndp.Options(target_mac=self.mac), ndp.SOLICITED | ndp.OVERRIDE
                )
                self.send_discovery(discovery.target, header.source, answer.pack(discovery.target, header.source))

    def _on_arp(self, packet: ArpPacket) -> None:
        if packet.operation == arp.REQUEST and packet.target_address == self.address:
            header = ethernet.Header(packet.sender_mac, self.mac, ethernet.ARP).pack()
            self.inject(header + arp.reply(packet, self.mac).pack())
        else:
            self.arps.append(packet)
        self._changed.set()

    def _add(self, key: tuple[bytes, int, bytes, int], core: TcpConnection) -> Stream:
        if self.offload:
            core.max_segment = 65535 - 40 - tcp.MAX_HEADER_LENGTH
        stream = self.streams[key] = Stream(self, key, core)
        self.mark(stream)
        return stream

    @home
    def forget(self, stream: Stream) -> None:
        """It is over."""
        self.deadlines.forget(stream)
        self.streams.pop(stream.key, None)

    @home
    def mark(self, stream: Stream) -> None:
        """It may have something to send: in the next round."""
        if not stream.is_dirty:
            stream.is_dirty = True
            self._dirty.append(stream)
        self._bh.schedule()

    def _flush(self) -> None:
        if self._flushing:
            return
        self._flushing = True
        try:
            while self._inbox or self._dirty or self._unsent:
                self._send_unsent()
                if self._unsent:
                    return
                inbox, self._inbox = self._inbox, []
                self.now = self.clock.now()
                for frame in inbox:
                    self._frame(frame)
                dirty, self._dirty = self._dirty, []
                for index, stream in enumerate(dirty):
                    if not stream.transmit():
                        # ``writable`` goes on.
                        stream.is_dirty = True
                        self._dirty += dirty[index:]
                        return
        finally:
            self._flushing = False

    @home
    def hand_over(self, frames: Frames) -> int:
        """``send``, during which nothing that arrives is looked at."""
        self._sending_now = True
        try:
            return self.send(frames)
        finally:
            self._sending_now = False

    def _send_unsent(self) -> None:
        while self._unsent:
            taken = self.hand_over(list(self._unsent))
            if not taken:
                return
            for _ in range(taken):
                self._unsent.popleft()


def frames_of(packets: Iterable[bytes], mac: bytes, gateway_mac: bytes) -> list[bytes]:
    """IP packets in Ethernet frames."""
    kinds = {4: ethernet.IPV4, 6: ethernet.IPV6}
    return [ethernet.Header(gateway_mac, mac, kinds[packet[0] >> 4]).pack() + packet for packet in packets]
