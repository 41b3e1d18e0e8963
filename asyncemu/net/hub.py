# SPDX-License-Identifier: GPL-2.0-or-later
"""Hub: what arrives at one port leaves at all others. QEMU: net/hub.c.

A frame is taken when at least one listener has room for it; for the others it waits in their port's queue, and is
dropped when that is full, too. So the fastest listener sets the pace: one that has stopped (a guest that is paused, a
peer that hangs) holds nobody up, and a hub with one listener loses nothing. As in QEMU (net_hub_port_can_receive), but
that a port whose cable leads nowhere is no listener: it would be the fastest.
"""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

from asyncemu.loop import Clocks
from asyncemu.net.frame import Frame, Frames
from asyncemu.net.plain_frames import plain
from asyncemu.net.port import NetPort
from asyncemu.net.queue import NetQueue

#: Frames and bytes that wait at each port at most (arbitrary): enough for what a slow listener needs to catch up.
PORT_FRAMES: Final = 256
PORT_BYTES: Final = 1 << 20


class HubPort:
    """One port of a hub, the outside of ``port``. Home: that of all ports of the hub."""

    def __init__(self, hub: Hub, port: NetPort) -> None:
        self.hub = hub
        self.port = port
        self.queue = NetQueue(port.send, PORT_FRAMES, PORT_BYTES)
        #: Frames from here of which some were left out, as their header did not fit them.
        self.malformed = 0
        #: What the peer takes unfinished, in the order of ``NetPort.peer_offloads``; None: it has not said.
        self.offloads: tuple[bool, ...] | None = None
        hub.ports.append(self)

    def leave(self) -> None:
        """Nobody hears us any more."""
        if self in self.hub.ports:
            self.hub.ports.remove(self)
            # Who waited for room here waits for the others now.
            self.hub.room_at(self)

    def arrived(self, frames: Frames) -> int:
        """Frames from our peer: how many were taken."""
        others = [each for each in self.hub.ports if each is not self and each.port.carrier]
        for index, frame in enumerate(frames):
            if others and all(len(each.queue) for each in others):
                return index
            finished: tuple[Frame, ...] | None = None
            for other in others:
                peer = other.port.peer
                if peer is None or peer.has_vnet_header:
                    other.queue.send(frame)
                    continue
                if finished is None:
                    finished = tuple(plain(frame))
                    self.malformed += not finished
                for each in finished:
                    other.queue.send(each)
        return len(frames)

    def writable(self) -> None:
        """Our peer takes frames again."""
        if self.queue.flush():
            self.hub.room_at(self)

    def unplugged(self) -> None:
        """Our peer is gone, or the cable is out."""
        self.queue.clear()
        self.hub.room_at(self)

    def set_offloads(self, offloads: tuple[bool, ...]) -> None:
        """Our peer takes this unfinished from now on."""
        self.offloads = offloads
        self.hub.tell_offloads()


class Hub:
    """``ports`` in the order in which they came."""

    def __init__(self) -> None:
        self.ports: list[HubPort] = []

    def room_at(self, port: HubPort) -> None:
        """A queue is empty: those who were refused may go on."""
        for each in list(self.ports):
            if each is not port:
                each.port.ready()

    def tell_offloads(self) -> None:
        """Tell each peer what all the others take. Those that have not said anything are back ends: they take all."""
        for port in self.ports:
            said = [each.offloads for each in self.ports if each is not port and each.offloads is not None]
            if said and port.port.peer is not None:
                checksum, tcpv4, tcpv6, ecn, udp = (all(of_one) for of_one in zip(*said, strict=True))
                port.port.peer.peer_offloads(checksum, tcpv4, tcpv6, ecn, udp)


# Clocks are a machine's: hubs of two machines with the same number are two.
_hubs: WeakKeyDictionary[Clocks, dict[int, Hub]] = WeakKeyDictionary()


def hub_of(clocks: Clocks, number: int) -> Hub:
    """The machine's hub with that number; made when it is first asked for."""
    return _hubs.setdefault(clocks, {}).setdefault(number, Hub())
