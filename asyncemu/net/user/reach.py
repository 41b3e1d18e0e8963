# SPDX-License-Identifier: GPL-2.0-or-later
"""Reach: where a guest's packets lead outside, and what the outside is called within.

in the guest's network      outside
host (10.0.2.2, fec0::2)    the host's loopback, but no socket of the emulator's own
dns (10.0.2.3, fec0::3)     the host's resolver, at port 53 only
others of the network       nobody
any other                   the same, unless it means the host itself, many, or nobody (``is_outside``)
"""

from __future__ import annotations

import socket
from typing import Final, NamedTuple

from asyncemu import own_sockets
from asyncemu.net.user.addresses import LOOPBACK4, LOOPBACK6, Addresses, is_outside, packed, text_of

_DNS_PORT: Final = 53


class Place(NamedTuple):
    """A socket's address outside, and how the guest calls the host part of it."""

    family: socket.AddressFamily
    address: tuple[str, int]
    #: The address as 4 or 16 bytes.
    host: bytes


class Reach:
    """``restrict``: nothing is outside. ``resolvers``: the host's, of which the first is asked."""

    def __init__(self, addresses: Addresses, restrict: bool, resolvers: list[tuple[str, int]]) -> None:
        self._addresses = addresses
        self.restrict = restrict
        self.resolvers = resolvers
        self._ours = {addresses.host: LOOPBACK4, addresses.host6: LOOPBACK6}

    def find(self, address: bytes, port: int) -> Place | None:
        """Where a packet to ``address`` goes; None: nowhere."""
        if self.restrict:
            return None
        addresses = self._addresses
        if address in (addresses.dns, addresses.dns6):
            if port != _DNS_PORT or not self.resolvers:
                return None
            text, port = self.resolvers[0]
            host = packed(text)
        elif address in self._ours:
            host = self._ours[address]
            text = text_of(host)
        elif not is_outside(address) or addresses.is_inside(address):
            return None
        else:
            host = address
            text = text_of(address)
        return Place(socket.AF_INET if len(host) == 4 else socket.AF_INET6, (text, port), host)

    def is_own(self, place: Place) -> bool:
        """Would it be a connection to the emulator itself?"""
        return own_sockets.is_own(*place.address)

    def called(self, host: bytes, *, ipv6: bool) -> bytes:
        """What the guest calls a host of the outside; a guest of the other version of IP calls all of them ours."""
        own = self._addresses.host6 if ipv6 else self._addresses.host
        if (len(host) == 16) is not ipv6 or not is_outside(host) or self._addresses.is_inside(host):
            return own
        return host
