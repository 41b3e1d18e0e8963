# SPDX-License-Identifier: GPL-2.0-or-later
"""Frame: an Ethernet frame as views of memory, with what the sender left to be done with it.

The header of virtio-net (virtio 1.2, 5.1.6) is the common language of guests, tap devices and our own stack for that:
a checksum that is not filled in yet, or a segment of up to 64 KiB that would be cut for a wire.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from asyncemu.memory.buffers import Buffers

# Flags: 5.1.6.
NEEDS_CHECKSUM: Final = 1
DATA_VALID: Final = 2

# Types of segmentation: 5.1.6.
GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_UDP: Final = 3
GSO_TCPV6: Final = 4
GSO_UDP_L4: Final = 5
GSO_ECN: Final = 0x80

#: Bytes of an Ethernet header, and of the shortest frame on a wire without its check sequence: IEEE 802.3, 3.2.8.
ETHERNET_HEADER: Final = 14
MIN_FRAME: Final = 60
#: Bytes of the longest frame that anybody may hand over: an IP packet with the longest length, and a VLAN tag.
MAX_FRAME: Final = ETHERNET_HEADER + 4 + 65535


class VnetHeader(NamedTuple):
    """What is left to be done with a frame. All offsets are bytes from the frame's start.

    NEEDS_CHECKSUM: the 16-bit sum of the bytes from ``checksum_start`` on belongs ``checksum_offset`` bytes behind that
    place, which holds the sum of the pseudo header. A GSO type: to be cut into segments of ``gso_size`` bytes of
    payload; ``header_length`` is a hint.
    """

    flags: int = 0
    gso_type: int = GSO_NONE
    header_length: int = 0
    gso_size: int = 0
    checksum_start: int = 0
    checksum_offset: int = 0


#: Nothing is left to be done.
PLAIN: Final = VnetHeader()


class Frame:
    """One frame, from its destination address on, without a check sequence.

    The views are lent: whoever gets a frame has them until it returns, and keeps a ``copy`` if it needs them longer.
    They may be guest RAM, which changes under the reader: what is checked is to be copied first (``head``).
    """

    __slots__ = ("buffers", "vnet")

    def __init__(self, buffers: Buffers, vnet: VnetHeader = PLAIN) -> None:
        self.buffers = buffers
        self.vnet = vnet

    @classmethod
    def of(cls, *data: bytes | bytearray | memoryview, vnet: VnetHeader = PLAIN) -> Frame:
        """A frame of plain byte objects, one behind the other."""
        return cls(Buffers.of(*data), vnet)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return self.buffers.nbytes

    def head(self, length: int) -> bytes:
        """A copy of the first ``length`` bytes, or of all when there are fewer."""
        buffers = self.buffers
        if len(buffers) == 1 or (buffers and len(buffers[0]) >= length):
            return buffers[0][:length].tobytes()
        return b"".join(buffers.head(length, len(buffers)))

    def tobytes(self) -> bytes:
        """A copy of all bytes."""
        return b"".join(self.buffers)

    def copy(self) -> Frame:
        """The same in memory of its own."""
        return Frame(Buffers.of(b"".join(self.buffers)), self.vnet)

    def __repr__(self) -> str:
        return f"<Frame of {self.nbytes} bytes>"


Frames: TypeAlias = Sequence[Frame]


class Filled(NamedTuple):
    """What a ``Fill`` has written."""

    #: Bytes of the frame.
    length: int
    vnet: VnetHeader = PLAIN


#: Writes one frame to the start of the views; None: there was none after all.
Fill: TypeAlias = Callable[[Buffers], Filled | None]
