# SPDX-License-Identifier: GPL-2.0-or-later
"""NetPort: one end of a link; a device has one, a back end has the other. QEMU: NetClientState.

    guest's transmit queue -> device.send(frames) -> filters -> back end.receive(frames)      how many were taken
    guest's receive queue  <- device.receive(frames) <- filters <- back end.send(frames)

Flow control, both ways: ``receive`` says how many frames it took. The others are the sender's still, who leaves them
where they are (in the guest's ring, in the socket) until ``writable``. Nothing is queued between the two, so a slow
receiver reaches back to whoever made the frames. A sender that can't wait has a NetQueue.

A frame that arrives while one is on its way in the same direction, from within its receiver, is refused as by a full
peer: recursion has an end, and frames keep their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from asyncemu.loop import AioContext, HasHome, home
from asyncemu.memory.buffers import Buffers
from asyncemu.net.frame import Fill, Frame, Frames

if TYPE_CHECKING:
    from asyncemu.net.filter import Way


class NetPort(HasHome):
    """All methods run at home, which is the peer's home, too.

    Subclasses define ``receive`` and, where they need them, ``writable``, ``link_changed`` and ``receive_into``.
    """

    #: Does it give and take frames that are not finished (VnetHeader)? If not, it is handed plain frames only.
    has_vnet_header = False
    #: Does it define ``receive_into``?
    fills_directly = False

    def __init__(self, name: str, context: AioContext) -> None:
        #: In messages; the id of its device or back end.
        self.name = name
        self.context = context
        self.peer: NetPort | None = None
        #: Is the cable plugged in at this end? QEMU: set_link.
        self.link_up = True
        #: The first filter that frames sent from here pass, and the last one of those that are on their way to here.
        self.first_filter: Way | None = None
        self.last_filter: Way | None = None
        #: Frames sent and taken, and those that went nowhere as the link was down.
        self.sent = 0
        self.lost = 0
        self._sending = False
        self._refused = False
        self._held: Frame | None = None

    # ---- for its owner

    @final
    @home
    def send(self, frames: Frames) -> int:
        """Hand frames to the peer: how many were taken; for the others, ``writable`` follows.

        Without a link they are lost, and count as taken: nobody waits for a cable.
        """
        if self._sending or self._held is not None:
            self._refused = True
            return 0
        peer = self.peer
        if peer is None or not (self.link_up and peer.link_up):
            self.lost += len(frames)
            return len(frames)
        self._sending = True
        try:
            way = self.first_filter
            taken = way.take(frames) if way is not None else peer.receive(frames)
        finally:
            self._sending = False
        self.sent += taken
        if taken < len(frames):
            self._refused = True
        elif self._refused:
            # Somebody was refused from within the receiver, which has room.
            self._refused = False
            self.context.schedule_oneshot(self.writable)
        return taken

    @final
    @home
    def send_into(self, capacity: int, fill: Fill) -> bool:
        """Have ``fill`` write one frame of at most ``capacity`` bytes, straight into the peer's memory where it can.

        False: there is no room, and ``fill`` was not called; ``writable`` follows.
        """
        if self._sending or self._held is not None:
            self._refused = True
            return False
        peer = self.peer
        if peer is not None and peer.fills_directly and self.first_filter is None and self.link_up and peer.link_up:
            self._sending = True
            try:
                taken = peer.receive_into(capacity, fill)
            finally:
                self._sending = False
            self.sent += taken
            self._refused = self._refused or not taken
            return taken
        view = memoryview(bytearray(capacity))
        filled = fill(Buffers((view,)))
        if filled is not None:
            frame = Frame(Buffers((view[: filled.length],)), filled.vnet)
            if not self.send((frame,)):
                self._held = frame
        return True

    @final
    @home
    def ready(self) -> None:
        """This end takes frames again: tell the peer, if it was refused."""
        if self.last_filter is not None:
            self.last_filter.filter.next_ready(self.last_filter)
        elif self.peer is not None:
            self.peer.peer_ready()

    @final
    @home
    def peer_ready(self) -> None:
        """The other end, or a filter on the way to it, takes frames again."""
        if not self._refused or self._sending:
            return
        self._refused = False
        if self._held is not None:
            held, self._held = self._held, None
            if not self.send((held,)):
                self._held = held
                return
        self.writable()

    @final
    @home
    def set_link(self, up: bool) -> None:
        """Plug the cable in at this end, or out; both ends are told. QEMU: set_link."""
        if up is self.link_up:
            return
        self.link_up = up
        self.link_changed()
        if self.peer is not None:
            self.peer.link_changed()
        # What was refused is lost now, or may go on.
        self.peer_ready()
        self.ready()

    @property
    def carrier(self) -> bool:
        """Is there a peer, and the cable plugged in at both ends?"""
        return self.peer is not None and self.link_up and self.peer.link_up

    # ---- for subclasses

    @home
    def receive(self, frames: Frames) -> int:
        """Frames from the peer: how many are taken. For the others, call ``ready`` when there is room."""
        raise TypeError(f"{type(self).__name__} does not define receive()")

    @home
    def receive_into(self, capacity: int, fill: Fill) -> bool:
        """Call ``fill`` with writable views of ``capacity`` bytes or more, and take the frame that it writes, if any.

        False: there is no room, and ``fill`` was not called; call ``ready`` when there is.
        """
        raise TypeError(f"{type(self).__name__} does not define receive_into()")

    @home
    def writable(self) -> None:
        """The peer takes frames again, after it had not taken all."""

    @home
    def link_changed(self) -> None:
        """``carrier`` may have changed."""

    @home
    def peer_offloads(self, checksum: bool, tcpv4: bool, tcpv6: bool, ecn: bool, udp: bool) -> None:
        """What the peer takes unfinished from now on: sums that are missing, segments to be cut. QEMU: set_offload."""


@home
def connect(one: NetPort, other: NetPort) -> None:
    """Make the two ends of a link of them. ValueError: one has a peer, or they have different homes."""
    for port in (one, other):
        if port.peer is not None:
            raise ValueError(f"{port.name} is connected to {port.peer.name} already")
    if one.context is not other.context:
        raise ValueError(f"{one.name} lives in {one.context.name}, {other.name} in {other.context.name}")
    one.peer, other.peer = other, one
    one.link_changed()
    other.link_changed()


@home
def disconnect(port: NetPort) -> None:
    """Take the link apart; both ends are told. Nothing when there is none."""
    peer = port.peer
    if peer is None:
        return
    port.peer = peer.peer = None
    port.link_changed()
    peer.link_changed()
