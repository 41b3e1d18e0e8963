# SPDX-License-Identifier: GPL-2.0-or-later
"""One port of a virtio-console: a chardev's front end on one side, a pair of queues on the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from asyncemu.chardev import Chardev, ChardevEvent
from asyncemu.loop import home
from asyncemu.memory import Buffers
from asyncemu.virtio.runner import BufferQueue

if TYPE_CHECKING:
    from asyncemu.virtio.console import VirtioConsole


#: Bytes taken from a chardev at a time.
RECEIVE_CHUNK: Final = 4096


class ConsolePort:
    """Port ``number``. Flow control both ways: a guest without buffers stops the chardev's source, and a chardev that
    takes no more keeps the guest's buffers until it does."""

    def __init__(self, device: VirtioConsole, number: int, chardev: Chardev[Any] | None, receiveq: BufferQueue) -> None:
        self.device = device
        self.context = device.context
        self.number = number
        self.chardev = chardev
        self.receiveq = receiveq
        #: Has the guest's side been opened (always, without MULTIPORT)?
        self.guest_open = False
        self.host_open = chardev is None or chardev.opened
        self._writable: asyncio.Event = asyncio.Event()
        # Buffers of several requests must not mix on a chardev that is full now and then.
        self._transmitting = asyncio.Lock()
        #: Input that did not fit into the guest's buffers: less than RECEIVE_CHUNK bytes.
        self._held = b""
        receiveq.on_available = self.resume

    # ---- from the guest

    async def transmit(self, data: Buffers) -> None:
        """Pass all of ``data`` to the chardev, waiting while it is full."""
        if self.chardev is None:
            return
        if not self._transmitting.locked():
            left = data.tobytes()
            left = left[self.chardev.write(left) :]
            if not left:
                return
        else:
            left = data.tobytes()
        async with self._transmitting:
            while left:
                self._writable.clear()
                left = left[self.chardev.write(left) :]
                if left:
                    await self._writable.wait()

    def resume(self) -> None:
        """The guest may take bytes again: first those that are held."""
        held, self._held = self._held, b""
        if held:
            self.receive(held)
        if self.chardev is not None:
            self.chardev.accept_input()

    def detach(self) -> None:
        """Leave the chardev."""
        if self.chardev is not None:
            self.chardev.detach()

    # ---- from the chardev: Frontend

    @home
    def can_receive(self) -> int:
        """Bytes that fit into one receive buffer at most; 0 when the guest has not provided any."""
        return RECEIVE_CHUNK if self.guest_open and not self._held and self.receiveq.available else 0

    @home
    def receive(self, data: bytes) -> None:
        """Into as many receive buffers as it takes."""
        while data and (chain := self.receiveq.pop()) is not None:
            chain.written = chain.writable.write(data)
            data = data[chain.written :]
            self.receiveq.give_back(chain)
        self._held = data

    @home
    def chardev_event(self, event: ChardevEvent) -> None:
        """The other end came or went."""
        if event is not ChardevEvent.BREAK:
            self.host_open = event is ChardevEvent.OPENED
            self.device.host_opened(self)

    @home
    def writable(self) -> None:
        """The chardev takes bytes again."""
        self._writable.set()
