# SPDX-License-Identifier: GPL-2.0-or-later
"""Sequence numbers: modulo 2^32 on the wire, plain growing ints inside. RFC 9293, 3.4.

Numbers are unwrapped where a segment comes in and cut to 32 bits where one goes out. In between they are compared with
``<``, and nobody can forget that they wrap.
"""

from __future__ import annotations

from typing import Final

MASK: Final = 0xFFFF_FFFF
HALF: Final = 1 << 31


def unwrap(value: int, near: int) -> int:
    """The number that is ``value`` modulo 2^32 and closest to ``near``; it may be negative."""
    return near + ((value - near + HALF) & MASK) - HALF


def is_before(one: int, other: int) -> bool:
    """Is a 32-bit number older than another? Also for timestamps: RFC 7323, 5.2."""
    return (one - other) & MASK >= HALF
