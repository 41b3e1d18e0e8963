# SPDX-License-Identifier: GPL-2.0-or-later
"""Packet: an IP packet of the guest on its way through the stack."""

from __future__ import annotations

from typing import Final, NamedTuple

from asyncemu.memory.buffers import Buffers
from asyncemu.net.frame import Frame
from asyncemu.net.packets import ipv4, ipv6

#: Bytes of a frame that are copied for its headers: more than any headers that anybody has a reason for.
HEAD: Final = 256


class Packet(NamedTuple):
    """``header.start`` and ``header.end`` are places in ``data``, which has the headers, and in ``frame``, which has
    everything."""

    header: ipv4.Header | ipv6.Header
    data: bytes
    frame: Frame
    #: Who sent the frame.
    mac: bytes
    #: Where the IP header begins in ``data``.
    start: int
    #: Are the checksums of TCP and UDP known to be right, or left to us?
    trusted: bool

    def payload(self, start: int, end: int) -> Buffers:
        """Views of the frame's bytes from ``start`` to ``end``."""
        buffers = self.frame.buffers
        first = buffers[0]
        if len(first) >= end:
            return Buffers((first[start:end],)) if end > start else Buffers()
        if len(first) == start and len(buffers) == 2 and len(buffers[1]) == end - start:
            # Headers in one piece, data in another.
            return Buffers((buffers[1],))
        return buffers.slice(start, end - start) if end > start else Buffers()

    def copied(self) -> bytes:
        """All of the frame up to the packet's end: places are the same as in ``data``."""
        end = self.header.end
        return self.data[:end] if len(self.data) >= end else b"".join(self.frame.buffers.split(end)[0])
