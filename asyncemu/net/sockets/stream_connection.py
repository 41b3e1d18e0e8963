# SPDX-License-Identifier: GPL-2.0-or-later
"""StreamConnection: a connected stream socket as the outside of a port, with the flow control of both.

    socket ─recv_into─▶ FrameDecoder ─views─▶ port.send          a full guest: we read no more, and TCP tells the peer
    socket ◀─sendmsg─ views of the guest ◀─ transmit             a full socket: frames stay in the guest's ring

Of the frames that a send call gets, only the one that it ends within is copied.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from asyncemu.errors import AsyncemuError, ProtocolError
from asyncemu.net.frame import Frames
from asyncemu.net.framing import FrameDecoder, encode
from asyncemu.net.plain_frames import plain
from asyncemu.net.port import NetPort

#: Views of one system call at most: IOV_MAX of Linux.
MAX_VIEWS: Final = 1024

#: Bytes of one system call, give or take a frame: what a socket takes at a time. More would be finished in vain.
MAX_BYTES: Final = 256 * 1024


class StreamConnection:
    """Owns the socket. Home: the port's. ``ended`` says when it is over, and why if the peer has not just left."""

    def __init__(self, port: NetPort, connection: socket.socket, peer: str) -> None:
        self.dropped = 0
        self.ended: asyncio.Future[AsyncemuError | OSError | None] = port.context.loop.create_future()
        self._port = port
        self._socket = connection
        self._decoder = FrameDecoder(peer)
        self._rest = memoryview(b"")
        self._reading = True
        self._full = False

    def start(self) -> None:
        """Read from now on."""
        self._watch()

    def close(self) -> None:
        """Hang up. A second close does nothing."""
        if self._socket.fileno() >= 0:
            self._port.context.set_fd_handler(self._socket.fileno(), None)
            self._socket.close()
        if not self.ended.done():
            self.ended.set_result(None)

    @property
    def dropped_arriving(self) -> int:
        """Frames of the peer that are longer than any can be."""
        return self._decoder.dropped

    # ---- to the socket

    def transmit(self, frames: Frames) -> int:
        """How many were taken; ``port.ready`` follows for the others."""
        if self._full:
            return 0
        taken = 0
        while taken < len(frames):
            views: list[bytes | memoryview] = []
            ends: list[int] = []
            length = 0
            for frame in frames[taken:]:
                encoded = [part for each in plain(frame) for part in encode(each)]
                if len(encoded) > MAX_VIEWS:
                    encoded = [b"".join(encoded)]
                if len(views) + len(encoded) > MAX_VIEWS or length > MAX_BYTES:
                    break
                self.dropped += not encoded
                views += encoded
                length += sum(map(len, encoded))
                ends.append(length)
            sent = self._send(views) if views else 0
            if sent < 0:
                return len(frames)
            whole = sum(end <= sent for end in ends)
            taken += whole
            if whole < len(ends):
                started = ends[whole - 1] if whole else 0
                if sent > started:
                    self._rest = memoryview(b"".join(views)[sent : ends[whole]])
                    taken += 1
                self._full = True
                self._watch()
                break
        return taken

    def _send(self, views: list[bytes | memoryview]) -> int:
        """Bytes sent; -1: the connection is lost, and all with it."""
        try:
            return self._socket.sendmsg(views)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._end(error)
            return -1

    def _writable(self) -> None:
        if self._rest:
            sent = self._send([self._rest])
            if sent < 0:
                return
            self._rest = self._rest[sent:]
            if self._rest:
                return
        self._full = False
        self._watch()
        self._port.ready()

    # ---- from the socket

    def writable(self) -> None:
        """The peer of the port takes frames again."""
        if not self._reading:
            self._reading = True
            self._watch()
            self._pass_on()

    def _readable(self) -> None:
        try:
            received = self._socket.recv_into(self._decoder.room())
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        if not received:
            self._end(None)
            return
        self._decoder.received(received)
        self._pass_on()

    def _pass_on(self) -> None:
        decoder = self._decoder
        try:
            while frames := decoder.frames():
                taken = self._port.send(frames)
                decoder.consumed(taken)
                if taken < len(frames):
                    self._reading = False
                    self._watch()
                    return
        except ProtocolError as error:
            self._end(error)

    # ---- inside

    def _watch(self) -> None:
        if self._socket.fileno() >= 0:
            self._port.context.set_fd_handler(
                self._socket.fileno(),
                self._readable if self._reading else None,
                self._writable if self._full else None,
            )

    def _end(self, reason: AsyncemuError | OSError | None) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
        self.close()
