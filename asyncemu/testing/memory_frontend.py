# SPDX-License-Identifier: GPL-2.0-or-later
"""MemoryFrontend: a device's end of a chardev, which is the test; the counterpart of MemoryChardev.

    frontend = MemoryFrontend()
    chardev.attach(frontend)
    chardev.write(b"output")
    assert frontend.received == b"input"
    frontend.room = 0                    # it takes no more; with more again, call chardev.accept_input()

Its methods are those of ``asyncemu.chardev.Frontend``.
"""

from __future__ import annotations

from asyncemu.chardev import ChardevEvent


class MemoryFrontend:
    """Keeps what comes in. Home: the chardev's."""

    def __init__(self, room: int = 1 << 16) -> None:
        #: How many bytes it takes.
        self.room = room
        self.received = b""
        self.events: list[ChardevEvent] = []
        #: How often it was told that ``write`` takes bytes again.
        self.told_writable = 0

    def can_receive(self) -> int:
        """See Frontend."""
        return self.room

    def receive(self, data: bytes) -> None:
        """See Frontend."""
        self.room -= len(data)
        self.received += data

    def chardev_event(self, event: ChardevEvent) -> None:
        """See Frontend."""
        self.events.append(event)

    def writable(self) -> None:
        """See Frontend."""
        self.told_writable += 1
