# SPDX-License-Identifier: GPL-2.0-or-later
"""TapQueue: one queue of a tap device as the outside of a port, a system call a frame in either direction."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence
from typing import Final

from asyncemu.errors import NetError
from asyncemu.memory.buffers import Buffers
from asyncemu.net import vnet_header
from asyncemu.net.frame import PLAIN, Frames, VnetHeader
from asyncemu.net.frame_descriptor import FrameDescriptor
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.port import NetPort
from asyncemu.net.tap import device
from asyncemu.net.tap.device import TapDevice

logger: Final = logging.getLogger("asyncemu.net")


class TapQueue(FrameDescriptor):
    """Owns the descriptor. Home: the port's."""

    def __init__(self, port: NetPort, tap: TapDevice) -> None:
        super().__init__(port)
        #: Frames that the host would not have: the interface is down, or something is wrong with them.
        self.refused = 0
        self._fd = tap.fd
        self._name = tap.name
        self._with_header = tap.vnet_header
        self._header = memoryview(bytearray(vnet_header.LENGTH))

    def fileno(self) -> int:
        """See FrameDescriptor."""
        return self._fd

    def close(self) -> None:
        """A second close does nothing."""
        if self._fd >= 0:
            self.stop()
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
            logger.warning("%s", NetError(self.port.name, error.errno or 0, f"set offloads of {self._name}"))

    # ---- to the host

    def transmit(self, frames: Frames) -> int:
        """How many were taken; ``port.ready`` follows for the others. With headers, the host finishes frames."""
        if not self._with_header:
            return super().transmit(frames)
        if self.is_full:
            return 0
        if self._fd < 0:
            return len(frames)
        for index, frame in enumerate(frames):
            if not self.send([vnet_header.pack(frame.vnet), *frame.buffers]):
                return self.wait(index)
        return len(frames)

    def write(self, views: Sequence[bytes | memoryview]) -> bool:
        """See FrameDescriptor."""
        try:
            os.writev(self._fd, views)
        except BlockingIOError:
            return False
        except OSError as error:
            self.refused += 1
            if error.errno == errno.EBADFD:
                self._gone(error)
        return True

    # ---- from the host

    def read(self, views: Buffers) -> tuple[int, VnetHeader] | None:
        """See FrameDescriptor."""
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
            logger.error("%s; its link is down", NetError(self.port.name, error.errno or 0, f"use {self._name}"))
            self.close()
            self.port.context.schedule_oneshot(self._unplug)

    def _unplug(self) -> None:
        self.port.set_link(False)
