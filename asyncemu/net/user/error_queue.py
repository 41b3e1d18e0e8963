# SPDX-License-Identifier: GPL-2.0-or-later
"""The error queue of a datagram socket of the host: which of our packets went nowhere, and why. ip(7), IP_RECVERR.

The kernel keeps the ICMP errors that come for a socket. Each is reported once by whichever system call is next, and is
then read with what the packet had in it.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from asyncemu.net.packets import icmp, icmpv6

# linux/in.h, linux/in6.h, linux/errqueue.h: errno, origin, type, code.
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_EXTENDED_ERROR: Final = struct.Struct("=IBBB")
_ORIGIN_LOCAL: Final = 1

_LEVELS: Final = ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR))

#: Bytes of a packet that are looked at, and of what is said about it.
_QUOTED: Final = 64
_ANCILLARY: Final = 512
#: Errors that are read in one go; then it is another socket's turn.
MAX_ERRORS: Final = 32

#: By errno: the codes of ICMP's and ICMPv6's UNREACHABLE that tell a guest the same.
UNREACHABLE: Final = {
    errno.ECONNREFUSED: (icmp.PORT_UNREACHABLE, icmpv6.PORT_UNREACHABLE),
    errno.EHOSTUNREACH: (icmp.HOST_UNREACHABLE, icmpv6.ADDRESS_UNREACHABLE),
    errno.ENETUNREACH: (icmp.NET_UNREACHABLE, icmpv6.NO_ROUTE),
    errno.EACCES: (icmp.PROHIBITED, icmpv6.PROHIBITED),
}


class PacketError(NamedTuple):
    """A packet that went nowhere, as the network says; ``number`` is a key of UNREACHABLE."""

    number: int
    #: Where it was sent.
    address: tuple[str, int]
    #: The beginning of its payload; of an ICMP socket's, with the ICMP header.
    data: bytes


def enable(sock: socket.socket) -> None:
    """Have the kernel keep errors from now on."""
    level, option = _LEVELS[sock.family == socket.AF_INET6]
    sock.setsockopt(level, option, 1)


def read_errors(sock: socket.socket) -> Iterator[PacketError | None]:
    """What is there; None: an error that a guest need not hear of."""
    for _ in range(MAX_ERRORS):
        try:
            data, ancillary, _, address = sock.recvmsg(_QUOTED, _ANCILLARY, socket.MSG_ERRQUEUE)
        except OSError:
            return
        yield _parse(data, ancillary, address)


def _parse(data: bytes, ancillary: list[tuple[int, int, bytes]], address: tuple[str, int]) -> PacketError | None:
    for level, kind, value in ancillary:
        if (level, kind) in _LEVELS:
            number, origin, _, _ = _EXTENDED_ERROR.unpack_from(value)
            if number in UNREACHABLE and origin != _ORIGIN_LOCAL:
                return PacketError(number, address[:2], data)
    return None
