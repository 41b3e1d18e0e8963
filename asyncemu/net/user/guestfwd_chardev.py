# SPDX-License-Identifier: GPL-2.0-or-later
"""ChardevBridge: a chardev behind an address and port of the guest's network. QEMU: guestfwd with a chardev.

    guest -- relay -- ours | theirs -- bridge -- chardev

A chardev is one stream that neither begins nor ends, and connections do both. So one connection has it at a time; what
the chardev says while there is none waits there. A connection whose guest says no more still hears the chardev, until
the guest is gone or another connection comes.
"""

from __future__ import annotations

import select
import socket
from typing import Final

from asyncemu.loop import AioContext
from asyncemu.net.filters.channel import Channel

#: Bytes that go one way at a time.
PIECE: Final = 64 << 10


class ChardevBridge:
    """The chardev's front end. Home: the stack's, which is the chardev's, too."""

    def __init__(self, context: AioContext, channel: Channel) -> None:
        """Raises ValueError: somebody else has the chardev."""
        self._context = context
        self._channel = channel
        self._sock: socket.socket | None = None
        #: The guest says no more.
        self._guest_ended = False
        #: What one side has sent and the other has no room for.
        self._to_guest = b""
        self._to_chardev = b""
        self._watched = (False, False)
        channel.attach(self)

    @property
    def is_busy(self) -> bool:
        """Does a connection have it, whose guest may still say something?"""
        return self._sock is not None and not self._guest_ended

    def connect(self, sock: socket.socket) -> None:
        """A connection of the guest: a non-blocking socket, which is ours from now on. Nothing must be busy."""
        self._hang_up()
        self._sock = sock
        self._watch()
        self._channel.accept_input()

    def close(self) -> None:
        """Leave the chardev."""
        self._hang_up()
        self._channel.detach(self)

    def _hang_up(self) -> None:
        if self._sock is None:
            return
        self._watch(stop=True)
        self._sock.close()
        self._sock = None
        self._guest_ended = False
        # Of this connection: the next one is not to get the end of it. What the guest had said is said.
        self._to_guest = b""

    def _watch(self, *, stop: bool = False) -> None:
        reading = not stop and not self._guest_ended and not self._to_chardev
        writing = not stop and bool(self._to_guest)
        if self._sock is not None and (reading, writing) != self._watched:
            self._watched = (reading, writing)
            on_readable = self._on_readable if reading else None
            self._context.set_fd_handler(self._sock.fileno(), on_readable, self._flush if writing else None)

    # ---- from the guest

    def _on_readable(self) -> None:
        if self._sock is None:
            return
        try:
            data = self._sock.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            self._hang_up()
            return
        if data:
            self._to_chardev = data
            self.writable()
        else:
            self._guest_ended = True
            self._watch()

    # ---- ChannelUser

    def can_receive(self) -> int:
        """Nothing while nobody is there to hear it."""
        if self._sock is None or self._to_guest:
            return 0
        if self._guest_ended and _has_hung_up(self._sock):
            self._hang_up()
            return 0
        return PIECE

    def receive(self, data: bytes) -> None:
        """For the guest."""
        self._to_guest += data
        self._flush()

    def chardev_event(self, event: object) -> None:
        """A peer of the chardev that comes or goes is nothing to the guest, as in QEMU."""

    def chardev_changed(self, channel: Channel) -> None:
        """Another chardev has taken its place. QEMU: chardev-change."""
        self._channel = channel

    def writable(self) -> None:
        """Go on with what the guest has said."""
        if self._to_chardev:
            taken = self._channel.write(self._to_chardev)
            self._to_chardev = self._to_chardev[taken:]
        self._watch()

    # ---- to the guest

    def _flush(self) -> None:
        if self._sock is None:
            return
        try:
            sent = self._sock.send(self._to_guest)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._hang_up()
            return
        self._to_guest = self._to_guest[sent:]
        self._watch()
        if not self._to_guest:
            self._channel.accept_input()


def _has_hung_up(sock: socket.socket) -> bool:
    """Has the relay closed its end, rather than just ended its output? It costs a system call."""
    poll = select.poll()
    poll.register(sock, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))
