# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration space: virtio 1.2, 5.1.4."""

from __future__ import annotations

from ctypes import LittleEndianStructure, c_uint8, c_uint16, c_uint32
from typing import Final

#: Bits of ``status``.
LINK_UP: Final = 1
ANNOUNCE: Final = 2

#: ``speed`` in Mbit/s and ``duplex``, where they are not known.
SPEED_UNKNOWN: Final = 0xFFFFFFFF
DUPLEX: Final = {"half": 0, "full": 1, None: 0xFF}


class NetConfig(LittleEndianStructure):
    """Up to ``duplex``; what follows belongs to RSS, which is not offered."""

    _pack_ = 1
    _fields_ = (
        ("mac", c_uint8 * 6),
        ("status", c_uint16),
        ("max_virtqueue_pairs", c_uint16),
        ("mtu", c_uint16),
        ("speed", c_uint32),
        ("duplex", c_uint8),
    )
