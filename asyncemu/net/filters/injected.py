# SPDX-License-Identifier: GPL-2.0-or-later
"""Injected: frames that a filter puts on the link by itself, in one direction, and that may have to wait there."""

from __future__ import annotations

from typing import Any

from asyncemu.net.filter import NetFilter
from asyncemu.net.frame import Frame, Frames
from asyncemu.net.queue import NetQueue


class Injected:
    """Home: the filter's. The Way is looked up for each frame: other filters come and go."""

    def __init__(self, filter: NetFilter[Any], to_netdev: bool) -> None:
        #: Frames that came while the filter does not look at this direction: it is off, or there is no device.
        self.lost = 0
        self._filter = filter
        self._to_netdev = to_netdev
        self.queue = NetQueue(self._forward)

    def send(self, frame: Frame) -> bool:
        """Forward a frame now or later. False: it found no room, and is dropped."""
        return self.queue.send(frame)

    def _forward(self, frames: Frames) -> int:
        for way in self._filter.ways:
            if way.to_netdev is self._to_netdev:
                return way.forward(frames)
        self.lost += len(frames)
        return len(frames)
