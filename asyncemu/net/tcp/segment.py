# SPDX-License-Identifier: GPL-2.0-or-later
"""Segment: what a TCP header says, without the ports; and the answer to one that belongs to no connection."""

from __future__ import annotations

from typing import Final, NamedTuple

from asyncemu.net.tcp.sequence import MASK

# RFC 9293, 3.1.
FIN: Final = 1
SYN: Final = 2
RST: Final = 4
PSH: Final = 8
ACK: Final = 16
URG: Final = 32


class Segment(NamedTuple):
    """The fields of a header as they are on the wire; the payload goes with it, as Buffers.

    Urgent data is data like all other here: the urgent pointer is not looked at (RFC 6093 advises against it).
    """

    #: SEG.SEQ and SEG.ACK, 32 bits.
    sequence: int
    acknowledgment: int
    flags: int
    #: SEG.WND, 16 bits, not scaled.
    window: int = 0
    #: Maximum segment size, in bytes: in a SYN only.
    mss: int | None = None
    #: Shift of all windows to come: in a SYN only. RFC 7323, 2.2.
    window_scale: int | None = None
    #: In a SYN only. RFC 2018, 2.
    sack_permitted: bool = False
    #: TSval and TSecr. RFC 7323, 3.2.
    timestamps: tuple[int, int] | None = None
    #: Left and right edges of what has arrived out of order. RFC 2018, 3.
    sack: tuple[tuple[int, int], ...] = ()


def reset_for(segment: Segment, length: int) -> Segment | None:
    """What answers a segment with ``length`` bytes of payload for which there is no connection. RFC 9293, 3.10.7.1."""
    flags = segment.flags
    if flags & RST:
        return None
    if flags & ACK:
        return Segment(segment.acknowledgment, 0, RST)
    length += bool(flags & SYN) + bool(flags & FIN)
    return Segment(0, (segment.sequence + length) & MASK, RST | ACK)
