# SPDX-License-Identifier: GPL-2.0-or-later
"""Neighbours: which MAC address the guest's addresses are at, and frames that wait until that is known.

There may be several guests (a hub). Each packet of theirs says where its sender is, so we rarely have to ask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asyncemu.net.frame import MIN_FRAME, Frame
from asyncemu.net.packets import arp, ethernet
from asyncemu.net.user.addresses import Addresses
from asyncemu.net.user.ndp import NeighborDiscovery, Reply

#: Addresses of IPv4 that are remembered at most; the oldest makes room.
MAX_NEIGHBOURS: Final = 256
#: Addresses that are being asked for at most, and frames that wait for each: RFC 1122, 2.3.2.2 wants one at least.
MAX_ASKED: Final = 16
MAX_HELD: Final = 4
#: RFC 1122, 2.3.2.1: not more than one question in a second.
INTERVAL: Final = 1_000_000_000


class _Held:
    """Frames for an address that is being asked for."""

    __slots__ = ("asked_at", "frames")

    def __init__(self, now: int) -> None:
        self.asked_at = now - INTERVAL
        self.frames: list[Frame] = []


class Neighbours:
    """``answer`` sends a frame; ``icmpv6`` a message of neighbour discovery."""

    def __init__(
        self,
        addresses: Addresses,
        discovery: NeighborDiscovery,
        answer: Callable[[Frame], None],
        icmpv6: Callable[[Reply], None],
    ) -> None:
        self._addresses = addresses
        self._discovery = discovery
        self._answer = answer
        self._icmpv6 = icmpv6
        #: Of IPv4; those of IPv6 are in ``discovery``.
        self.macs: dict[bytes, bytes] = {}
        #: What waits for whom.
        self.held: dict[bytes, _Held] = {}
        #: Addresses that are ours; programs behind guestfwd have some, too.
        self.ours: set[bytes] = {addresses.host, addresses.dns, addresses.host6, addresses.dns6}
        #: Frames that were dropped as nobody answered.
        self.dropped = 0

    def seen(self, address: bytes, mac: bytes) -> None:
        """A packet came from ``address``, a usable one, in a frame from ``mac``."""
        if len(address) == 16:
            self._discovery.seen(address, mac)
        elif self.macs.get(address) != mac:
            self._learn(address, mac)
        if self.held:
            self.release(address)

    def forget(self) -> None:
        """The cable was pulled: another guest may be at the other end."""
        self.macs.clear()
        self.held.clear()

    def lookup(self, address: bytes) -> bytes | None:
        """Where a frame for ``address`` goes; None: it is to be held."""
        return self.macs.get(address) if len(address) == 4 else self._discovery.lookup(address)

    def _learn(self, address: bytes, mac: bytes) -> None:
        if mac[0] & 1 or address in self.ours:
            return
        self.macs.pop(address, None)
        self.macs[address] = mac
        if len(self.macs) > MAX_NEIGHBOURS:
            del self.macs[next(iter(self.macs))]

    # ---- questions of ours

    def hold(self, address: bytes, frame: Frame, now: int) -> None:
        """Nobody knows where ``address`` is: ask, and send the frame (to any MAC address) when that is answered."""
        held = self.held.get(address)
        if held is None:
            while len(self.held) >= MAX_ASKED:
                self.dropped += len(self.held.pop(next(iter(self.held))).frames)
            held = self.held[address] = _Held(now)
        if len(held.frames) >= MAX_HELD:
            # RFC 1122, 2.3.2.2: the latest is kept.
            held.frames.pop(0)
            self.dropped += 1
        held.frames.append(frame.copy())
        if now - held.asked_at >= INTERVAL:
            held.asked_at = now
            self._ask(address)

    def _ask(self, address: bytes) -> None:
        if len(address) == 16:
            self._icmpv6(self._discovery.solicit(address))
            return
        mac = self._addresses.mac
        question = arp.Packet(arp.REQUEST, mac, self._addresses.host, bytes(6), address)
        self._send(ethernet.BROADCAST, question)

    def release(self, address: bytes) -> None:
        """``lookup`` may have an answer now: send what waits for it."""
        mac = self.lookup(address)
        if mac is None:
            return
        held = self.held.pop(address, None)
        if held is not None:
            for frame in held.frames:
                self._answer(Frame.of(mac, frame.tobytes()[6:], vnet=frame.vnet))

    # ---- ARP

    def receive(self, packet: arp.Packet, mac: bytes) -> None:
        """RFC 826, Packet Reception; probes (RFC 5227, 2.1.1) come from 0.0.0.0 and are not learnt from."""
        sender = packet.sender_address
        if packet.sender_mac == mac and self._addresses.is_usable_source(sender):
            self._learn(sender, mac)
            self.release(sender)
        if packet.operation == arp.REQUEST and packet.target_address in self.ours:
            self._send(packet.sender_mac, arp.reply(packet, self._addresses.mac))

    def _send(self, destination: bytes, packet: arp.Packet) -> None:
        header = ethernet.Header(destination, self._addresses.mac, ethernet.ARP).pack()
        self._answer(Frame.of((header + packet.pack()).ljust(MIN_FRAME, b"\0")))
