# SPDX-License-Identifier: GPL-2.0-or-later
"""Dhcpv6Server: tells what router advertisements don't; addresses the guest makes itself. RFC 8415, 6.1 (stateless)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from asyncemu.net.packets import dhcpv6, dns_names
from asyncemu.net.packets.dhcpv6 import Message
from asyncemu.net.packets.errors import Malformed

#: RFC 8415, 16.12: such options have no place in an Information-request.
_FORBIDDEN: Final = (dhcpv6.IDENTITY_ASSOCIATION, dhcpv6.TEMPORARY_ASSOCIATION, dhcpv6.PREFIX_ASSOCIATION)


@dataclass(frozen=True, slots=True)
class Dhcpv6Settings:
    """What the server tells. Addresses of 16 bytes; empty: it does not tell that."""

    #: Of the router: the server's identifier is made of it.
    mac: bytes
    dns_servers: tuple[bytes, ...] = ()
    domain_search: tuple[str, ...] = ()
    #: A URL, as tftp://[fec0::2]/vmlinux.
    boot_file: str = ""


class Dhcpv6Server:
    """No state."""

    def __init__(self, settings: Dhcpv6Settings) -> None:
        # RFC 8415, 11.4: DUID-LL of Ethernet.
        self.identifier: Final = b"\0\3\0\1" + settings.mac
        told = {
            dhcpv6.DNS_SERVERS: b"".join(settings.dns_servers),
            # RFC 3646, 4: without compression.
            dhcpv6.DOMAIN_SEARCH: b"".join(map(dns_names.pack, settings.domain_search)),
            dhcpv6.BOOT_FILE_URL: settings.boot_file.encode(),
        }
        self._told = {code: value for code, value in told.items() if value}

    def receive(self, payload: bytes) -> bytes | None:
        """What came to port 547: what goes back to the sender's address and port 546. Raises Malformed.

        None: it is for a server that gives addresses, or for another one.
        """
        message = dhcpv6.parse(payload)
        if message.type != dhcpv6.INFORMATION_REQUEST:
            return None
        options = message.options
        if any(code in options for code in _FORBIDDEN):
            raise Malformed("DHCPv6 information request asks for an address")
        # RFC 8415, 16.12.
        if options.get(dhcpv6.SERVER_IDENTIFIER, self.identifier) != self.identifier:
            return None
        answer = {dhcpv6.SERVER_IDENTIFIER: self.identifier}
        client = options.get(dhcpv6.CLIENT_IDENTIFIER)
        if client is not None:
            if not 1 < len(client) <= dhcpv6.MAX_IDENTIFIER:
                raise Malformed("DHCPv6 client has an identifier that is none")
            answer[dhcpv6.CLIENT_IDENTIFIER] = client
        requested = message.requested
        answer.update((code, value) for code, value in self._told.items() if code in requested)
        return Message(dhcpv6.REPLY, message.transaction, answer).pack()
