# SPDX-License-Identifier: GPL-2.0-or-later
"""Arrivals: frames that a descriptor gives one a system call, on their way into a port.

A frame of the usual length is read straight into the guest's memory. What is longer goes on into a buffer of ours, and
is copied from there: to have the guest lend us 64 KiB for each small frame costs far more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from asyncemu.memory.buffers import Buffers
from asyncemu.net.frame import ETHERNET_HEADER, MAX_FRAME, Filled, Frame, VnetHeader
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.port import NetPort

#: Bytes of a frame that is not of unusual length: an MTU of 1500 and a VLAN tag.
USUAL_FRAME: Final = ETHERNET_HEADER + 4 + 1500

#: Frames for each time that the descriptor is ready: others have their turn then.
BUDGET: Final = 64

#: Reads one frame into views: its length and header; None: there is none (now). Raises Malformed for one to be dropped.
Read: TypeAlias = Callable[[Buffers], tuple[int, VnetHeader] | None]


class Arrivals:
    """Home: the port's."""

    def __init__(self, port: NetPort, read: Read) -> None:
        #: Frames that were not passed on as there is something wrong with them.
        self.dropped = 0
        self._port = port
        self._read = read
        # One byte more than a frame may have: it shows that one is longer.
        self._long = memoryview(bytearray(MAX_FRAME + 1 - USUAL_FRAME))
        self._empty = False
        self._frame: Frame | None = None

    def take(self) -> bool:
        """Pass on what is there, BUDGET frames at most. False: the port's peer is full; go on at its ``writable``."""
        if self._frame is not None and not self._send_long(self._frame):
            return False
        self._empty = False
        for _ in range(BUDGET):
            if not self._port.send_into(USUAL_FRAME, self._fill):
                return False
            if self._empty:
                break
            frame, self._frame = self._frame, None
            if frame is not None and not self._send_long(frame):
                return False
        return True

    def _send_long(self, frame: Frame) -> bool:
        self._frame = None
        if self._port.send((frame,)):
            return True
        # The next long one would be written over it.
        self._frame = frame.copy()
        return False

    def _fill(self, views: Buffers) -> Filled | None:
        room = views.nbytes
        try:
            found = self._read(Buffers([*views, self._long]))
        except Malformed:
            self.dropped += 1
            return None
        if found is None:
            self._empty = True
            return None
        length, vnet = found
        if length <= room:
            return Filled(length, vnet)
        if length > MAX_FRAME or length > room + len(self._long):
            self.dropped += 1
            return None
        start = memoryview(views.tobytes())
        self._frame = Frame(Buffers((start, self._long[: length - room])), vnet)
        return None
