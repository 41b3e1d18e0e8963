# SPDX-License-Identifier: GPL-2.0-or-later
"""TapQueue: one queue of a tap device as the outside of a port, a system call a frame in either direction."""

from __future__ import annotations

import errno
import logging
import os
from collections import deque
from typing import Final

from asyncemu.errors import NetError
from asyncemu.memory.buffers import Buffers
from asyncemu.net import vnet_header
from asyncemu.net.arrivals import Arrivals
from asyncemu.net.frame import PLAIN, Frame, Frames, VnetHeader
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.plain_frames import plain
from asyncemu.net.port import NetPort
from asyncemu.net.tap import device
from asyncemu.net.tap.device import TapDevice

logger: Final = logging.getLogger("asyncemu.net")

#: Views of one system call at most: IOV_MAX of Linux.
_MAX_VIEWS: Final = 1024


class TapQueue:
    """Owns the descriptor. Home: the port's."""

    def __init__(self, port: NetPort, tap: TapDevice) -> None:
        #: Frames that the host would not have: the interface is down, or a header does not fit its frame.
        self.refused = 0
        self._port = port
        self._fd = tap.fd
        self._name = tap.name
        self._with_header = tap.vnet_header
        self._header = memoryview(bytearray(vnet_header.LENGTH))
        self._arrivals = Arrivals(port, self._read)
        self._reading = True
        # Segments of a frame that was taken, behind which the host had no more room.
        self._rest: deque[Frame] = deque()
        self._full = False

    def start(self) -> None:
        """Read from now on."""
        self._watch()

    def close(self) -> None:
        """A second close does nothing."""
        if self._fd >= 0:
            self._port.context.set_fd_handler(self._fd, None)
            os.close(self._fd)
            self._fd = -1

    def set_offload(self, checksum: bool, tcpv4: bool, tcpv6: bool, ecn: bool, udp: bool) -> None:
        """See NetPort.peer_offloads."""
        if not self._with_header or self._fd < 0:
            return
        try:
            device.set_offload(self._fd, checksum, tcpv4, tcpv6, ecn, udp)
        except OSError as error:
            # The host finishes frames itself, as before.
            logger.warning("%s", NetError(self._port.name, error.errno or 0, f"set offloads of {self._name}"))

    # ---- to the host

    def transmit(self, frames: Frames) -> int:
        """How many were taken; ``port.ready`` follows for the others."""
        if self._full:
            return 0
        if self._fd < 0:
            return len(frames)
        for index, frame in enumerate(frames):
            if self._with_header:
                if self._write([memoryview(vnet_header.pack(frame.vnet)), *frame.buffers]):
                    continue
                return self._wait(index)
            parts = plain(frame)
            self.refused += not parts
            for number, part in enumerate(parts):
                if not self._write(part.buffers):
                    if number:
                        # What has begun is finished; else the guest's next attempt would repeat the first segments.
                        self._rest += [each.copy() for each in parts[number:]]
                    return self._wait(index + (number > 0))
        return len(frames)

    def _write(self, views: list[memoryview]) -> bool:
        """False: there is no room now."""
        try:
            os.writev(self._fd, views if len(views) <= _MAX_VIEWS else [b"".join(views)])
        except BlockingIOError:
            return False
        except OSError as error:
            self.refused += 1
            if error.errno == errno.EBADFD:
                self._gone(error)
        return True

    def _wait(self, taken: int) -> int:
        self._full = True
        self._watch()
        return taken

    def _writable(self) -> None:
        while self._rest:
            if not self._write(self._rest[0].buffers):
                return
            self._rest.popleft()
        self._full = False
        self._watch()
        self._port.ready()

    # ---- from the host

    def writable(self) -> None:
        """The peer of the port takes frames again."""
        if not self._reading:
            self._reading = True
            self._watch()
            self._readable()

    def _readable(self) -> None:
        if self._fd >= 0 and not self._arrivals.take():
            self._reading = False
            self._watch()

    def _read(self, views: Buffers) -> tuple[int, VnetHeader] | None:
        try:
            if not self._with_header:
                return os.readv(self._fd, views), PLAIN
            length = os.readv(self._fd, [self._header, *views]) - vnet_header.LENGTH
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.EBADFD:
                self._gone(error)
            return None
        if length <= 0:
            raise Malformed("no frame behind the header")
        return length, vnet_header.parse(self._header, length)

    # ---- inside

    def _gone(self, error: OSError) -> None:
        """The interface was deleted, and the descriptor is of no use any more."""
        if self._fd >= 0:
            logger.error("%s; its link is down", NetError(self._port.name, error.errno or 0, f"use {self._name}"))
            self.close()
            self._port.context.schedule_oneshot(self._unplug)

    def _unplug(self) -> None:
        self._port.set_link(False)

    def _watch(self) -> None:
        if self._fd >= 0:
            self._port.context.set_fd_handler(
                self._fd, self._readable if self._reading else None, self._writable if self._full else None
            )
