# SPDX-License-Identifier: GPL-2.0-or-later
"""One port of a virtio-console: a chardev's front end on one side, a pair of queues on the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from asyncemu.chardev import Chardev, ChardevEvent
from asyncemu.errors import GuestError
from asyncemu.loop import AioContext, home
from asyncemu.memory import Buffers
from asyncemu.virtio.runner import BufferQueue

if TYPE_CHECKING:
    from asyncemu.virtio.console import PortOptions, VirtioConsole


#: Bytes taken from a chardev at a time.
RECEIVE_CHUNK: Final = 4096

#: Bytes copied from a guest's buffer at a time: its length is the guest's choice.
TRANSMIT_CHUNK: Final = 64 * 1024


class ConsolePort:
    """Port ``number``. Flow control both ways: a guest without buffers stops the chardev's source, and a chardev that
    takes no more keeps the guest's buffers until it does."""

    def __init__(
        self,
        device: VirtioConsole,
        number: int,
        options: PortOptions | None,
        chardev: Chardev[Any] | None,
        receiveq: BufferQueue,
    ) -> None:
        self.device = device
        self.number = number
        #: None: the console of the device itself.
        self.options = options
        self.id = options.id if options is not None else ""
        self.chardev = chardev
        self.receiveq = receiveq
        #: Has the guest's side been opened (always, without MULTIPORT)?
        self.guest_open = False
        #: Has the driver been told of this port, and said that it is ready for it (MULTIPORT only)?
        self.guest_ready = False
        self.host_open = chardev is None or chardev.opened
        self._writable: asyncio.Event = asyncio.Event()
        # Buffers of several requests must not mix on a chardev that is full now and then.
        self._transmitting = asyncio.Lock()
        self._requests_waiting = 0
        #: Input that did not fit into the guest's buffers: less than RECEIVE_CHUNK bytes.
        self._held = b""
        receiveq.on_available = self.resume

    @property
    def context(self) -> AioContext:
        """Where it lives: the device's home, which may move."""
        return self.device.context

    # ---- from the guest

    @home
    async def transmit(self, data: Buffers) -> None:
        """Pass all of ``data`` to the chardev, waiting while it is full."""
        if self.chardev is None:
            return
        if not self._requests_waiting and not (data := self._write(self.chardev, data)):
            return
        self._requests_waiting += 1
        try:
            async with self._transmitting:
                while data:
                    # Between two chunks everybody else gets a turn, even where the chardev takes all.
                    await asyncio.sleep(0)
                    await self._writable.wait()
                    if self.chardev is None:
                        return
                    data = self._write(self.chardev, data)
        finally:
            self._requests_waiting -= 1

    def _write(self, chardev: Chardev[Any], data: Buffers) -> Buffers:
        """Pass on one chunk, or the part of it that the chardev takes; returns what is left."""
        chunk, rest = data.split(min(data.nbytes, TRANSMIT_CHUNK))
        self._writable.clear()
        taken = chardev.write(chunk.tobytes())
        if taken < chunk.nbytes:
            return data.split(taken)[1]
        self._writable.set()
        return rest

    @home
    def resume(self) -> None:
        """The guest may take bytes again: first those that are held."""
        if self._held and self.guest_open:
            self.receive(self._held)
        if self.chardev is not None:
            self.chardev.accept_input()

    @home
    def detach(self) -> None:
        """Leave the chardev for good. Output that waits for it is gone."""
        if self.chardev is not None:
            self.chardev.detach(self)
        self.chardev = None
        self._writable.set()

    # ---- from the chardev: Frontend

    @home
    def can_receive(self) -> int:
        """Bytes that fit into one receive buffer at most; 0 when the guest has not provided any."""
        return RECEIVE_CHUNK if self.guest_open and not self._held and self.receiveq.available else 0

    @home
    def receive(self, data: bytes) -> None:
        """Into as many receive buffers as it takes."""
        while data and (chain := self.receiveq.pop()) is not None:
            if not chain.capacity:
                self.device.failed(GuestError("a receive buffer without room"))
                break
            chain.written = chain.writable.write(data)
            data = data[chain.written :]
            self.receiveq.give_back(chain)
        self._held = data

    @home
    def chardev_event(self, event: ChardevEvent) -> None:
        """The other end came or went."""
        if event in (ChardevEvent.OPENED, ChardevEvent.CLOSED):
            self.host_open = event is ChardevEvent.OPENED
            self.device.host_opened(self)

    @home
    def writable(self) -> None:
        """The chardev takes bytes again."""
        self._writable.set()

    @home
    def chardev_changed(self, chardev: Chardev[Any]) -> None:
        """Another back end has taken the place of the one before."""
        self.chardev = chardev
        if self.number == 0:
            self.device.chardev = chardev
