# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames as a client sends them: masked (RFC 6455, 5.3)."""

from __future__ import annotations

import struct

MASK = b"\x37\xfa\x21\x3d"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, mask: bytes = MASK) -> bytes:
    """One frame with the shortest length."""
    first = opcode | (0x80 if final else 0)
    if len(payload) < 126:
        header = struct.pack(">BB", first, 0x80 | len(payload))
    elif len(payload) < 1 << 16:
        header = struct.pack(">BBH", first, 0x80 | 126, len(payload))
    else:
        header = struct.pack(">BBQ", first, 0x80 | 127, len(payload))
    return header + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
