# SPDX-License-Identifier: GPL-2.0-or-later
"""QueuePair: the port that a receive and a transmit queue of a card are.

A pair that the driver does not use has its cable unplugged: what is sent on it is lost, and a back end with several
queues sees by ``carrier`` that it is to use another one.
"""

from __future__ import annotations

from collections.abc import Callable

from asyncemu.loop import AioContext
from asyncemu.net import Fill, Frames, NetPort
from asyncemu.virtio.net.receive_filter import ReceiveFilter
from asyncemu.virtio.net.receiver import Receiver
from asyncemu.virtio.net.transmitter import Transmitter
from asyncemu.virtio.runner import BufferQueue


class QueuePair(NetPort):
    """Home: the two queues', which is the back end's."""

    has_vnet_header = True
    fills_directly = True

    def __init__(
        self,
        name: str,
        context: AioContext,
        queues: tuple[BufferQueue, BufferQueue],
        filter: ReceiveFilter,
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__(name, context)
        receiveq, transmitq = queues
        self.receiver = Receiver(receiveq, filter)
        self.transmitter = Transmitter(transmitq, self.send, failed)
        #: Called when ``carrier`` may have changed.
        self.on_link: Callable[[], None] | None = None
        receiveq.on_available = self._room_again

    def receive(self, frames: Frames) -> int:
        return self.receiver.receive(frames)

    def receive_into(self, capacity: int, fill: Fill) -> bool:
        return self.receiver.receive_into(capacity, fill)

    def writable(self) -> None:
        self.transmitter.writable()

    def link_changed(self) -> None:
        if self.on_link is not None:
            self.on_link()

    def _room_again(self) -> None:
        if self.receiver.active and self.receiver.deliver_late():
            self.ready()
