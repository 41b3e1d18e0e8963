# SPDX-License-Identifier: GPL-2.0-or-later
"""What the two ends agree on in their SYNs: segment size, window scaling, timestamps, selective acknowledgment."""

from __future__ import annotations

from typing import Final, NamedTuple

from asyncemu.net.tcp.segment import Segment

#: Bytes of the timestamps option with its padding, in each segment: RFC 7323, appendix A.
TIMESTAMPS_LENGTH: Final = 12
#: RFC 7323, 2.3: a larger shift counts as this one.
MAX_SHIFT: Final = 14
#: Bytes. A peer that asks for less gets this much, as from Linux: smaller segments are all header.
MIN_MSS: Final = 48


class TcpSettings(NamedTuple):
    """How this end behaves. All sizes in bytes, all times in ns."""

    #: Largest segment that this end takes, and sends: MTU - IP header - 20. RFC 9293, 3.7.1.
    mss: int = 1460
    #: What a peer takes that does not say: RFC 9293, 3.7.1; 1220 for IPv6.
    default_mss: int = 536
    receive_buffer: int = 256 << 10
    send_buffer: int = 256 << 10
    window_scaling: bool = True
    timestamps: bool = True
    sack: bool = True
    #: Twice the lifetime of a segment (RFC 9293, 3.4.2) on a link within one machine.
    time_wait: int = 2_000_000_000


class Agreement(NamedTuple):
    """What holds for a connection."""

    #: Largest payload of a segment that goes out; the options that are in each segment are subtracted (RFC 6691).
    segment_size: int
    #: Of the windows that come in, and that go out.
    send_shift: int = 0
    receive_shift: int = 0
    timestamps: bool = False
    sack: bool = False


def own_shift(settings: TcpSettings) -> int:
    """The smallest shift with which the receive buffer fits the window field."""
    return min(MAX_SHIFT, max(0, settings.receive_buffer.bit_length() - 16))


def with_offer(segment: Segment, settings: TcpSettings, answered: Segment | None) -> Segment:
    """A SYN with our options; in answer to a SYN, only with those that the peer has offered. RFC 7323, 2.2 and 3.2."""
    scaling = settings.window_scaling and (answered is None or answered.window_scale is not None)
    return segment._replace(
        mss=settings.mss,
        window_scale=own_shift(settings) if scaling else None,
        sack_permitted=settings.sack and (answered is None or answered.sack_permitted),
    )


def agree(settings: TcpSettings, syn: Segment) -> Agreement:
    """What holds after the peer's SYN."""
    timestamps = settings.timestamps and syn.timestamps is not None
    scaling = settings.window_scaling and syn.window_scale is not None
    size = max(MIN_MSS, min(syn.mss or settings.default_mss, settings.mss))
    return Agreement(
        size - TIMESTAMPS_LENGTH if timestamps else size,
        min(MAX_SHIFT, syn.window_scale or 0) if scaling else 0,
        own_shift(settings) if scaling else 0,
        timestamps,
        settings.sack and syn.sack_permitted,
    )
