# SPDX-License-Identifier: GPL-2.0-or-later
"""A character back end as a filter sees it, and frames over it.

Back ends of networks and of characters know nothing of each other: what the two have in common is written here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from asyncemu.errors import ProtocolError
from asyncemu.net.frame import Frame
from asyncemu.net.framing import FrameDecoder, encode, encode_with_header
from asyncemu.net.plain_frames import plain

#: Bytes that wait for a chardev whose other end does not read, in frames. Those that find no room are lost.
MAX_WAITING: Final = 4 << 20


class ChannelUser(Protocol):
    """What a filter is to a chardev: its front end."""

    def can_receive(self) -> int:
        """How many bytes it takes now."""

    def receive(self, data: bytes) -> None:
        """Bytes from the other end."""

    def chardev_event(self, event: object) -> None:
        """The other end came or went."""

    def writable(self) -> None:
        """``write`` takes bytes again."""


class Channel(Protocol):
    """What a chardev is to a filter."""

    id: str
    opened: bool

    def attach(self, frontend: ChannelUser) -> None:
        """Become its front end. ValueError: it has one."""

    def detach(self, frontend: ChannelUser) -> None:
        """Leave it."""

    def write(self, data: bytes) -> int:
        """How many bytes are taken; ``writable`` follows when these are not all."""

    def accept_input(self) -> None:
        """There is room again."""


class FrameSender:
    """The way out: frames wait for a slow other end, and are lost while there is none."""

    def __init__(self, channel: Channel, with_headers: bool) -> None:
        #: Frames that found no room, or whose header did not fit them.
        self.dropped = 0
        self._channel = channel
        self._with_headers = with_headers
        self._waiting: deque[bytes] = deque()
        self._nbytes = 0

    def open(self) -> None:
        """ValueError: somebody else has the chardev."""
        self._channel.attach(self)

    def close(self) -> None:
        """May be called when it is not open."""
        self._channel.detach(self)
        self._forget()

    def send(self, frame: Frame) -> None:
        """Send it now, or a copy of it later."""
        if not self._channel.opened:
            return
        if self._with_headers:
            self._send(b"".join(encode_with_header(frame)))
            return
        parts = plain(frame)
        self.dropped += not parts
        for part in parts:
            self._send(b"".join(encode(part)))

    def _send(self, data: bytes) -> None:
        if self._nbytes + len(data) > MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(data)
        self._nbytes += len(data)
        if len(self._waiting) == 1:
            self.writable()

    def _forget(self) -> None:
        self._waiting.clear()
        self._nbytes = 0

    # ---- ChannelUser

    def can_receive(self) -> int:
        """The other end has nothing to say; what it says is read and goes nowhere."""
        return 1 << 16

    def receive(self, data: bytes) -> None:
        """Goes nowhere."""

    def chardev_event(self, event: object) -> None:
        if not self._channel.opened:
            # The rest of a frame would put the next listener out of step.
            self._forget()

    def writable(self) -> None:
        while self._waiting:
            data = self._waiting.popleft()
            taken = self._channel.write(data)
            self._nbytes -= taken
            if taken < len(data):
                self._waiting.appendleft(data[taken:])
                return


class FrameReceiver:
    """The way in: each frame goes to ``take``, which says whether it has room for it.

    Who is out of step is not listened to any more until it comes anew; ``broken`` is told.
    """

    def __init__(
        self,
        channel: Channel,
        with_headers: bool,
        take: Callable[[Frame], bool],
        broken: Callable[[ProtocolError], object],
    ) -> None:
        self._channel = channel
        self._take = take
        self._broken = broken
        self._decoder = FrameDecoder(channel.id, with_headers)
        self._blocked = False
        self._deaf = False

    def open(self) -> None:
        """ValueError: somebody else has the chardev."""
        self._channel.attach(self)

    def close(self) -> None:
        """May be called when it is not open."""
        self._channel.detach(self)

    def go_on(self) -> None:
        """``take`` has room again."""
        if self._blocked:
            self._blocked = False
            self._pass_on()
            if not self._blocked:
                self._channel.accept_input()

    def _pass_on(self) -> None:
        decoder = self._decoder
        try:
            while frames := decoder.frames():
                for index, frame in enumerate(frames):
                    if not self._take(frame):
                        decoder.consumed(index)
                        self._blocked = True
                        return
                decoder.consumed(len(frames))
        except ProtocolError as error:
            self._deaf = True
            self._broken(error)

    # ---- ChannelUser

    def can_receive(self) -> int:
        if self._blocked:
            return 0
        return len(self._decoder.room())

    def receive(self, data: bytes) -> None:
        if not self._deaf:
            self._decoder.feed(data)
            self._pass_on()

    def chardev_event(self, event: object) -> None:
        if not self._channel.opened:
            self._decoder.clear()
            self._blocked = self._deaf = False

    def writable(self) -> None:
        """Nothing is written."""
