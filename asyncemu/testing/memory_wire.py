# SPDX-License-Identifier: GPL-2.0-or-later
"""Wire: the other end of a link, which is the test; and MemoryNetdev, a back end whose outside is the test.

    wire = Wire(context)
    connect(port, wire)                  # of a back end or a device
    wire.feed(b"...")                    # arrives at the port, as it takes frames
    assert wire.frames == [b"..."]       # what the port has sent
    wire.room = 0                        # the wire takes no more, until accept() is called

Importing this module makes the netdev ``memory`` known to vm.toml.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from pydantic import Field

from asyncemu.loop import AioContext, Clocks, home
from asyncemu.net import Frame, Frames, NetBackend, NetPort
from asyncemu.options import Options


class Offloads(NamedTuple):
    """What ``peer_offloads`` was told."""

    checksum: bool
    tcpv4: bool
    tcpv6: bool
    ecn: bool
    udp: bool


class Wire(NetPort):
    """Keeps a copy of each frame that arrives. Home: the peer's."""

    def __init__(self, context: AioContext, name: str = "wire", *, has_vnet_header: bool = True) -> None:
        NetPort.__init__(self, name, context)
        self._begin(has_vnet_header)

    def _begin(self, has_vnet_header: bool) -> None:
        self.has_vnet_header = has_vnet_header
        #: What has arrived, with what was left to be done with it.
        self.received: list[Frame] = []
        #: How many frames it takes; None: all.
        self.room: int | None = None
        #: What was fed and the peer has not taken yet.
        self.unsent: deque[Frame] = deque()
        #: ``carrier`` at each change.
        self.carriers: list[bool] = []
        self.offloads: Offloads | None = None

    @property
    def frames(self) -> list[bytes]:
        """The bytes of what has arrived."""
        return [frame.tobytes() for frame in self.received]

    @home
    def feed(self, *frames: Frame | bytes) -> None:
        """Send frames to the peer; those that it does not take when it takes some again."""
        self.unsent += [frame if isinstance(frame, Frame) else Frame.of(frame) for frame in frames]
        self.writable()

    @home
    def accept(self, room: int | None = None) -> None:
        """Take frames again, ``room`` of them or all, and tell the peer."""
        self.room = room
        self.ready()

    # ---- NetPort

    def receive(self, frames: Frames) -> int:
        taken = len(frames) if self.room is None else min(self.room, len(frames))
        if self.room is not None:
            self.room -= taken
        self.received += [frame.copy() for frame in frames[:taken]]
        return taken

    def writable(self) -> None:
        while self.unsent:
            taken = self.send(list(self.unsent))
            if not taken:
                return
            for _ in range(taken):
                self.unsent.popleft()

    def link_changed(self) -> None:
        self.carriers.append(self.carrier)

    def peer_offloads(self, checksum: bool, tcpv4: bool, tcpv6: bool, ecn: bool, udp: bool) -> None:
        self.offloads = Offloads(checksum, tcpv4, tcpv6, ecn, udp)


class MemoryNetdevOptions(Options):
    """Options of memory."""

    queues: int = Field(default=1, ge=1, le=64, description="Queue pairs of the device.")
    vnet_hdr: bool = Field(default=True, description="Take and give frames that are not finished.")


class MemoryNetdev(Wire, NetBackend[MemoryNetdevOptions], name="memory"):
    """A wire for each queue pair; the first is the back end itself."""

    def __init__(self, options: MemoryNetdevOptions, id: str, context: AioContext, clocks: Clocks) -> None:
        NetBackend.__init__(self, options, id, context, clocks)
        self._begin(options.vnet_hdr)
        more = range(1, options.queues)
        self.wires: list[Wire] = [
            self,
            *(Wire(context, f"{id}.{index}", has_vnet_header=options.vnet_hdr) for index in more),
        ]

    @property
    def ports(self) -> tuple[NetPort, ...]:
        return tuple(self.wires)
