# SPDX-License-Identifier: GPL-2.0-or-later
"""DNS messages as a guest and a resolver send them."""

from __future__ import annotations

import struct

from asyncemu.net.packets import dns_names


def query(number: int, name: str, type: int = 1) -> bytes:
    """A question for ``name``."""
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + dns_names.pack(name) + struct.pack("!HH", type, 1)


def response(asked: bytes, address: bytes) -> bytes:
    """A resolver's answer: one address."""
    head = asked[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0)
    return head + asked[12:] + struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + address
