# SPDX-License-Identifier: GPL-2.0-or-later
"""The Internet checksum: RFC 1071. Sums are one's complement sums of 16-bit words in network order, folded to 16 bits.

A number in base 65536 is congruent to the sum of its digits modulo 65535, so one division of a long integer does it. Of
the two zeros of one's complement, 0 is the sum of nothing but zeros and 0xffff that of anything else: the same as what
adding words one by one and folding carries gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

Data: TypeAlias = bytes | bytearray | memoryview


def add(data: Data, initial: int = 0) -> int:
    """``initial`` (a sum, or several added up) and the words of ``data``, which counts as padded with a zero byte."""
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    number += initial
    return number % 65535 or (65535 if number else 0)


def add_views(views: Iterable[Data], initial: int = 0) -> int:
    """As ``add`` for the bytes of all views, one behind the other: each may have an odd length."""
    total = initial
    odd = False
    for view in views:
        part = add(view)
        # RFC 1071, 2 (B): the sum of the same bytes one place further is the sum with its bytes exchanged.
        total += part << 8 if odd else part
        odd ^= bool(len(view) & 1)
    return total % 65535 or (65535 if total else 0)


def complement(total: int) -> int:
    """The checksum field for a folded sum."""
    return total ^ 0xFFFF


def of(data: Data, initial: int = 0) -> int:
    """The checksum field for ``data``, in which that field is 0."""
    return add(data, initial) ^ 0xFFFF


def pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """The sum that UDP, TCP and ICMPv6 begin with, not folded: RFC 9293, 3.1 (IPv4); RFC 8200, 8.1 (IPv6).

    Addresses of 4 or of 16 bytes; ``length`` is that of the header and data of the upper layer.
    """
    return int.from_bytes(source + destination, "big") % 65535 + protocol + length


def transport(source: bytes, destination: bytes, protocol: int, data: Data) -> int:
    """The checksum field of the TCP segment or ICMPv6 message ``data``, in which that field is 0.

    UDP sends 0xffff instead of 0, which means that there is none: RFC 768.
    """
    return add(data, pseudo_header(source, destination, protocol, len(data))) ^ 0xFFFF


def is_right(source: bytes, destination: bytes, protocol: int, data: Data) -> bool:
    """Is the checksum within ``data`` (of UDP, TCP or ICMPv6) that of what arrived?"""
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    # What pseudo_header gives, here and not there: each packet that a guest sends without offload comes by.
    return (number + int.from_bytes(source + destination, "big") + protocol + len(data)) % 65535 == 0


def update(checksum: int, old: int, new: int) -> int:
    """The checksum field when a 16-bit word of what it covers changes: RFC 1624, 3 (equation 3)."""
    total = (checksum ^ 0xFFFF) + (old ^ 0xFFFF) + new
    total = (total & 0xFFFF) + (total >> 16)
    return ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF
