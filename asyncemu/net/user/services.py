# SPDX-License-Identifier: GPL-2.0-or-later
"""Services: the DHCP, DHCPv6, DNS and TFTP servers at their addresses and ports."""

from __future__ import annotations

from typing import Final

from asyncemu.net.packets import ipv4, udp
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.user.dhcp import DhcpServer
from asyncemu.net.user.dhcpv6 import Dhcpv6Server
from asyncemu.net.user.dns_service import DnsService
from asyncemu.net.user.packet import Packet
from asyncemu.net.user.stack import Stack
from asyncemu.net.user.tftp_service import TftpService
from asyncemu.net.user.udp_relay import UdpRelay

_DHCP_SERVER: Final = 67
_DHCP_CLIENT: Final = 68
_DHCPV6_CLIENT: Final = 546
_DHCPV6_SERVER: Final = 547
_DNS: Final = 53
_TFTP: Final = 69

#: RFC 8415, 7.1: All_DHCP_Relay_Agents_and_Servers.
_ALL_DHCP: Final = b"\xff\x02" + bytes(11) + b"\1\0\2"


class Services:
    """Home: the stack's. ``tftp``: None without a folder."""

    def __init__(
        self,
        stack: Stack,
        relay: UdpRelay,
        dhcp: DhcpServer,
        dhcpv6: Dhcpv6Server,
        dns: DnsService,
        tftp: TftpService | None,
    ) -> None:
        self.dhcp = dhcp
        self._stack = stack
        self._dhcpv6 = dhcpv6
        addresses = stack.addresses
        services = relay.services
        for address in (ipv4.BROADCAST, addresses.broadcast, addresses.host):
            services[address, _DHCP_SERVER] = self._on_dhcp
        for address in (_ALL_DHCP, addresses.host6, addresses.link_local):
            services[address, _DHCPV6_SERVER] = self._on_dhcpv6
        for address in (addresses.dns, addresses.dns6):
            services[address, _DNS] = dns.receive
        if tftp is not None:
            for address in (addresses.host, addresses.host6):
                services[address, _TFTP] = tftp.receive

    def _on_dhcp(self, packet: Packet, datagram: udp.Header) -> None:
        stack = self._stack
        reply = self.dhcp.receive(packet.copied()[datagram.start : datagram.end], stack.now)
        if reply is not None:
            server = (stack.addresses.host, _DHCP_SERVER)
            stack.send_udp(server, (reply.address, _DHCP_CLIENT), reply.payload, reply.mac)

    def _on_dhcpv6(self, packet: Packet, datagram: udp.Header) -> None:
        stack = self._stack
        source = packet.header.source
        if datagram.source_port != _DHCPV6_CLIENT:
            raise Malformed("DHCPv6 from another port than a client's")
        reply = self._dhcpv6.receive(packet.copied()[datagram.start : datagram.end])
        if reply is not None:
            # RFC 8415, 18.3.10; the client has an address of this link only.
            ours = stack.addresses.link_local
            stack.send_udp((ours, _DHCPV6_SERVER), (source, _DHCPV6_CLIENT), reply, packet.mac)

    def guest_address(self) -> bytes:
        """Where a hostfwd leads that does not say: to who has the pool's first address, else to who has any."""
        first = self._stack.addresses.first
        leases = list(self.dhcp.leases.values())
        if first in leases or not leases or first in self._stack.neighbours.macs:
            return first
        return leases[-1]
