# SPDX-License-Identifier: GPL-2.0-or-later
"""Output: frames on their way to the guest, and who waits until it takes some.

Two kinds of senders. Relays pull: they leave data in their sockets and buffers while the guest takes nothing, and get
their turn, one after the other, when it does. Answers that nobody can make again later (ARP, ICMP, DHCP, a RST) wait
in a queue that is bounded.
"""

from __future__ import annotations

from typing import Final, Protocol

from asyncemu.loop import AioContext
from asyncemu.net.frame import Fill, Frame, Frames
from asyncemu.net.queue import NetQueue

#: Answers that wait at most: what a guest has asked for and does not fetch. Bytes.
MAX_FRAMES: Final = 256
MAX_BYTES: Final = 1 << 20


class Waiter(Protocol):
    """A relay that has something for the guest."""

    def on_room(self) -> bool:
        """Send. False: there was not room for all of it."""


class Link(Protocol):
    """The port to the guest: see NetPort."""

    def send(self, frames: Frames) -> int: ...
    def send_into(self, capacity: int, fill: Fill) -> bool: ...
    def ready(self) -> None: ...


class Output:
    """Home: ``context``."""

    def __init__(self, context: AioContext, link: Link) -> None:
        self._context = context
        self._link = link
        self._queue = NetQueue(self._hand_over, MAX_FRAMES, MAX_BYTES)
        self._waiting: dict[Waiter, None] = {}
        #: Is a frame on its way to the guest? What comes from there meanwhile is to wait.
        self._busy = False
        self._refused = False
        self._late = False
        self._is_queued = False
        #: What the guest takes unfinished.
        self.checksum = False
        self.tcpv4 = False
        self.tcpv6 = False

    def _hand_over(self, frames: Frames) -> int:
        if self._busy:
            return 0
        self._busy = True
        try:
            return self._link.send(frames)
        finally:
            self._busy = False
            if self._refused or self._late:
                self._catch_up()

    def _catch_up(self) -> None:
        """Something came up while a frame was on its way."""
        if self._refused:
            self._refused = False
            self._context.schedule_oneshot(self._link.ready)
        if self._late:
            self._late = False
            self._context.schedule_oneshot(self.writable)

    def refuses(self) -> bool:
        """Must the guest's frames wait, as one of ours is on its way to there? ``ready`` follows then."""
        if self._busy:
            self._refused = True
        return self._busy

    def send(self, frame: Frame) -> bool:
        """Send a relay's frame; False: the guest has no room, see ``wait``."""
        # Behind the answers, so that these get their room first.
        if self._busy or self._is_queued:
            return False
        return self._hand_over((frame,)) > 0

    def send_into(self, capacity: int, fill: Fill) -> bool:
        """Have ``fill`` write one frame into the guest's memory; False: it has no room, see ``wait``."""
        if self._busy or self._is_queued:
            return False
        self._busy = True
        try:
            return self._link.send_into(capacity, fill)
        finally:
            self._busy = False
            if self._refused or self._late:
                self._catch_up()

    def answer(self, frame: Frame) -> None:
        """Send now or later, or drop it when too many wait."""
        # Not from within another one: nobody would tell us when there is room.
        self._late = self._late or self._busy
        self._queue.send(frame)
        self._is_queued = len(self._queue) > 0

    @property
    def dropped(self) -> int:
        """Answers for which there was no room."""
        return self._queue.dropped

    @property
    def is_free(self) -> bool:
        """Does nobody wait?"""
        return not self._waiting and not self._is_queued

    def wait(self, waiter: Waiter) -> None:
        """Call its ``on_room`` when the guest takes frames again."""
        self._waiting[waiter] = None

    def forget(self, waiter: Waiter) -> None:
        """It waits no more."""
        self._waiting.pop(waiter, None)

    def writable(self) -> None:
        """The guest takes frames again: each in turn, until it does not."""
        if not self._queue.flush():
            return
        self._is_queued = False
        waiting = self._waiting
        for _ in range(len(waiting)):
            if not waiting:
                return
            waiter = next(iter(waiting))
            del waiting[waiter]
            if not waiter.on_room():
                # Last in turn, now that it had its own.
                waiting[waiter] = None
                return

    def clear(self) -> None:
        """Nothing is to be sent any more."""
        self._queue.clear()
        self._is_queued = False
        self._waiting.clear()
