# SPDX-License-Identifier: GPL-2.0-or-later
"""The header of virtio-net as bytes, where others than a guest have it in front of frames: taps, and COLO's streams.

virtio 1.2, 5.1.6: 12 bytes with the number of buffers, which says nothing here, or 10 without it; little-endian.
"""

from __future__ import annotations

import struct
from typing import Final

from asyncemu.net.frame import DATA_VALID, GSO_NONE, NEEDS_CHECKSUM, PLAIN, VnetHeader
from asyncemu.net.packets.errors import Malformed

#: Bytes, and those without the number of buffers.
LENGTH: Final = 12
SHORT_LENGTH: Final = 10

_HEADER: Final = struct.Struct("<BBHHHH")
_PLAIN: Final = bytes(LENGTH)
_PLAIN_START: Final = bytes(SHORT_LENGTH)


def parse(data: bytes | bytearray | memoryview, frame_length: int) -> VnetHeader:
    """What ``data`` says of a frame of ``frame_length`` bytes. Raises Malformed."""
    if data[:SHORT_LENGTH] == _PLAIN_START:
        return PLAIN
    flags, gso_type, header_length, gso_size, start, offset = _HEADER.unpack_from(data)
    flags &= NEEDS_CHECKSUM | DATA_VALID
    if not flags & NEEDS_CHECKSUM:
        start = offset = 0
    elif start + offset + 2 > frame_length:
        raise Malformed("checksum lies behind the end of the frame")
    if gso_type == GSO_NONE:
        header_length = gso_size = 0
    elif not gso_size:
        raise Malformed("segments of no bytes")
    if not flags and gso_type == GSO_NONE:
        return PLAIN
    return VnetHeader(flags, gso_type, min(header_length, frame_length), gso_size, start, offset)


def pack(vnet: VnetHeader) -> bytes:
    """LENGTH bytes."""
    if vnet is PLAIN:
        return _PLAIN
    return _HEADER.pack(*vnet) + b"\0\0"
