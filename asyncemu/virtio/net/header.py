# SPDX-License-Identifier: GPL-2.0-or-later
"""The header of each frame: virtio 1.2, 5.1.6. With VERSION_1 it is 12 bytes long in all cases."""

from __future__ import annotations

import struct
from typing import Final

from asyncemu.net.frame import (
    DATA_VALID,
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP,
    NEEDS_CHECKSUM,
    PLAIN,
    VnetHeader,
)
from asyncemu.virtio.net.features import (
    CSUM,
    GUEST_CSUM,
    GUEST_ECN,
    GUEST_TSO4,
    GUEST_TSO6,
    GUEST_UFO,
    HOST_ECN,
    HOST_TSO4,
    HOST_TSO6,
    HOST_UFO,
)

HEADER_LENGTH: Final = 12

_header: Final = struct.Struct("<BBHHHHH")

#: All of a plain frame's header but the number of buffers.
_NOTHING: Final = bytes(10)
_PLAIN_IN_ONE: Final = _header.pack(*PLAIN, 1)

_HOST_FEATURE: Final = {GSO_TCPV4: HOST_TSO4, GSO_TCPV6: HOST_TSO6, GSO_UDP: HOST_UFO}
_GUEST_FEATURE: Final = {GSO_TCPV4: GUEST_TSO4, GSO_TCPV6: GUEST_TSO6, GSO_UDP: GUEST_UFO}


def parse_header(data: bytes, frame_length: int, negotiated: int) -> VnetHeader | None:
    """The driver's header of a frame of ``frame_length`` bytes; None when it does not fit the frame or the features."""
    if data.startswith(_NOTHING):
        return PLAIN
    flags, gso_type, header_length, gso_size, start, offset, _ = _header.unpack(data)
    # 5.1.6.2.2: other flags are to be ignored.
    flags &= NEEDS_CHECKSUM
    if not flags:
        start = offset = 0
    elif not negotiated & CSUM or start + offset + 2 > frame_length:
        return None
    if gso_type == GSO_NONE:
        return VnetHeader(flags, GSO_NONE, 0, 0, start, offset)
    if gso_type & GSO_ECN and not negotiated & HOST_ECN:
        return None
    if not negotiated & _HOST_FEATURE.get(gso_type & ~GSO_ECN, 0) or not gso_size or not flags:
        # 5.1.6.2.1: a segment has a size to be cut to, and needs its sums for that.
        return None
    return VnetHeader(flags, gso_type, min(header_length, frame_length), gso_size, start, offset)


def pack_header(vnet: VnetHeader, buffers: int) -> bytes:
    """The header of a frame for the driver that fills ``buffers`` buffers: 5.1.6.4."""
    if vnet is PLAIN and buffers == 1:
        return _PLAIN_IN_ONE
    return _header.pack(*vnet, buffers)


def is_taken(vnet: VnetHeader, offloads: int) -> bool:
    """Does a driver with ``offloads`` (GUEST_* bits) take such a frame as it is?"""
    if vnet.flags & (NEEDS_CHECKSUM | DATA_VALID) and not offloads & GUEST_CSUM:
        return False
    if vnet.gso_type == GSO_NONE:
        return True
    if vnet.gso_type & GSO_ECN and not offloads & GUEST_ECN:
        return False
    return bool(offloads & _GUEST_FEATURE.get(vnet.gso_type & ~GSO_ECN, 0))
