# SPDX-License-Identifier: GPL-2.0-or-later
"""user: a network for a guest by itself, without root: QEMU's -netdev user.

The guest sees a router with DHCP, DNS and TFTP; its connections end in sockets of the host. See docs/networking.md.
"""

from __future__ import annotations

import errno
import ipaddress
import resource
from collections.abc import Callable
from functools import partial
from typing import Final

from asyncemu.errors import ConfigError, NetError
from asyncemu.loop import AioContext, Clocks, any_thread, home
from asyncemu.net.backend import NetBackend
from asyncemu.net.filters.channel import Channel
from asyncemu.net.frame import Frames
from asyncemu.net.mac import parse_mac
from asyncemu.net.refusals import Refused
from asyncemu.net.user import guestfwd
from asyncemu.net.user.addresses import Addresses
from asyncemu.net.user.connections import (
    Connection,
    door_connection,
    icmp_connections,
    tcp_connections,
    udp_connections,
)
from asyncemu.net.user.dhcp import DhcpServer, DhcpSettings
from asyncemu.net.user.dhcpv6 import Dhcpv6Server, Dhcpv6Settings
from asyncemu.net.user.dns_service import RESOLV_CONF, DnsService, host_resolvers
from asyncemu.net.user.forwards import GuestForward, HostForward, parse_guestfwd, parse_hostfwd
from asyncemu.net.user.hostfwd import DatagramDoor, StreamDoor
from asyncemu.net.user.hostfwd_rules import parse_door, parse_rule
from asyncemu.net.user.icmp_input import IcmpInput
from asyncemu.net.user.icmp_relay import IcmpRelay
from asyncemu.net.user.ndp import RouterSettings
from asyncemu.net.user.options import UserOptions
from asyncemu.net.user.reach import Reach
from asyncemu.net.user.services import Services
from asyncemu.net.user.stack import Stack
from asyncemu.net.user.tcp_relays import TcpRelays
from asyncemu.net.user.tftp_service import TftpService
from asyncemu.net.user.udp_relay import MAX_FLOWS, UdpRelay

#: Seconds: RFC 4861, 6.2.1 (AdvDefaultLifetime).
_ROUTER_LIFETIME: Final = 1800
#: Of the rest of the emulator, and to spare.
_OTHER_DESCRIPTORS: Final = 1024
#: Of hostfwd, those of vm.toml and those that a monitor adds: each is a descriptor.
MAX_DOORS: Final = 1024
#: QEMU's: for a guestfwd that names no address.
_GUESTFWD: Final = 4


class UserNetdev(NetBackend[UserOptions], name="user"):
    """``stack`` is what frames go through, and ``tcp``, ``udp``, ``icmp``, ``services`` what they reach."""

    description = "A network of its own for the guest: DHCP, DNS, TFTP, and the host's network by sockets."

    has_vnet_header = True

    def __init__(self, options: UserOptions, id: str, context: AioContext, clocks: Clocks) -> None:
        super().__init__(options, id, context, clocks)
        self.addresses = addresses = Addresses.of(options)
        if not (options.ipv4 or options.ipv6):
            raise ValueError("neither ipv4 nor ipv6 is on; a network has one of them")
        self._guest_forwards = [_located(parse_guestfwd(text), addresses) for text in options.guestfwd]
        resolvers = options.resolver_addresses or host_resolvers()
        inside = {forward.server for forward in self._guest_forwards if forward.server is not None}
        self.stack = stack = Stack(context, clocks.virtual, addresses, _router(options, addresses, inside), self)
        self.reach = reach = Reach(addresses, options.restrict, resolvers)
        self.tcp = stack.tcp = TcpRelays(stack, reach, options.max_connections)
        self.udp = stack.udp = UdpRelay(stack, reach, min(options.max_connections, MAX_FLOWS))
        self.icmp = IcmpRelay(stack, reach)
        self._icmp_input = stack.icmp = IcmpInput(stack, self.tcp, self.icmp)
        hosts = {name: [ipaddress.ip_address(text).packed for text in texts] for name, texts in options.hosts.items()}
        # With restrict a name is a way out, too.
        follow = None if options.restrict or options.resolvers else RESOLV_CONF
        self._dns = DnsService(stack, hosts, [] if options.restrict else resolvers, follow)
        self._tftp = TftpService(stack, options.tftp) if options.tftp is not None else None
        dhcp = DhcpServer(_dhcp(options, addresses))
        self.services = Services(
            stack, self.udp, dhcp, Dhcpv6Server(_dhcpv6(options, addresses)), self._dns, self._tftp
        )
        stack.neighbours.ours |= inside
        self._doors: list[StreamDoor | DatagramDoor] = []
        self._programs: list[guestfwd.Service] = []
        #: Those of guestfwd, by id.
        self._chardevs: dict[str, Channel] = {}

    # ---- life

    @any_thread
    def refer(self, kind: str, name: str, found: Channel) -> None:
        """A chardev that a guestfwd names. Before ``open``."""
        self._chardevs[name] = found

    async def connect(self) -> None:
        _allow_descriptors(self.options.max_connections + min(self.options.max_connections, MAX_FLOWS))
        folder = self.options.tftp
        if folder is not None and not await self.context.worker_pool.run(folder.is_dir):
            raise ConfigError(f"{self.id}.tftp", f"{folder}: no such folder")
        for index, forward in enumerate(self._guest_forwards):
            try:
                channel = self._chardevs[forward.target] if forward.kind == "chardev" else None
                program = guestfwd.Service(self.stack, forward, channel)
            except ValueError as error:
                raise ConfigError(f"{self.id}.guestfwd[{index}]", str(error)) from error
            self._programs.append(program)
            assert forward.server is not None
            self.tcp.openers[forward.server, forward.port] = program.open
        for text in self.options.hostfwd:
            self.open_door(parse_hostfwd(text))
        self.stack.deadlines.touch(self._icmp_input)

    async def disconnect(self) -> None:
        for door in self._doors:
            door.close()
        self._doors.clear()
        self.tcp.close()
        for program in self._programs:
            await program.close()
        self._programs.clear()
        self.udp.close()
        self.icmp.close()
        self._dns.close()
        if self._tftp is not None:
            self._tftp.close()
        self.stack.close()

    @home
    def add_hostfwd(self, text: str) -> None:
        """Open a door at run time. Raises Refused, with what QEMU says. QEMU: hostfwd_add."""
        if len(self._doors) >= MAX_DOORS:
            raise Refused(f"Could not set up host forwarding rule '{text}': there are {MAX_DOORS} already")
        try:
            self.open_door(parse_rule(text))
        except NetError as error:
            raise Refused(f"Could not set up host forwarding rule '{text}'") from error

    @home
    def remove_hostfwd(self, text: str) -> bool:
        """Close the door ``tcp:HOSTADDR:HOSTPORT``; who came through stays. False: there is none. Raises Refused.

        QEMU: hostfwd_remove.
        """
        wanted = parse_door(text)
        for each in self._doors:
            own = each.sock.getsockname()
            if wanted.is_of(each.forward, own[1] if isinstance(own, tuple) else 0):
                self._doors.remove(each)
                each.close()
                self.udp.forget_callers(each)
                return True
        return False

    @home
    def open_door(self, forward: HostForward) -> StreamDoor | DatagramDoor:
        """Let those who call in to the guest. Raises NetError."""
        make: Callable[[], StreamDoor | DatagramDoor]
        if forward.protocol == "udp":
            make = partial(DatagramDoor, self.udp, self.reach, forward, self._guest_of)
        else:
            make = partial(StreamDoor, self.tcp, self.reach, forward, self._guest_of)
        try:
            door = make()
        except OSError as error:
            # A path that is too long is an error without a number.
            error.errno = error.errno or errno.ENAMETOOLONG
            raise self.failed(error, f"hostfwd {forward}") from error
        self._doors.append(door)
        return door

    @property
    def doors(self) -> tuple[StreamDoor | DatagramDoor, ...]:
        """Of hostfwd, in their order: ``sock`` has the port that the kernel has chosen for 0."""
        return tuple(self._doors)

    @property
    def programs(self) -> tuple[guestfwd.Service, ...]:
        """Of guestfwd, in their order."""
        return tuple(self._programs)

    def _guest_of(self, forward: HostForward) -> bytes:
        return forward.guest or self.services.guest_address()

    @home
    def connections(self) -> list[Connection]:
        """What goes on: doors first. QEMU: info usernet."""
        return [
            *(door_connection(each, self._guest_of(each.forward)) for each in self._doors),
            *tcp_connections(self.tcp),
            *udp_connections(self.udp),
            *icmp_connections(self.icmp),
        ]

    @home
    def statistics(self) -> dict[str, int]:
        """What there is, and packets that went nowhere, by why."""
        return {
            "TCP connections": len(self.tcp),
            "UDP sockets": len(self.udp),
            "pings": len(self.icmp),
            "answers without room": self.stack.output.dropped,
            "frames to a neighbour that does not answer": self.stack.neighbours.dropped,
            **self.stack.drops,
        }

    def summary(self) -> str:
        network = ipaddress.ip_address(self.addresses.network)
        return f"user,net={network},restrict={'on' if self.options.restrict else 'off'}"

    # ---- the link

    def transmit(self, frames: Frames) -> int:
        return self.stack.receive(frames)

    def writable(self) -> None:
        self.stack.now = self.stack.clock.now()
        self.stack.output.writable()

    def peer_offloads(self, checksum: bool, tcpv4: bool, tcpv6: bool, ecn: bool, udp: bool) -> None:
        output = self.stack.output
        output.checksum, output.tcpv4, output.tcpv6 = checksum, tcpv4, tcpv6
        self.tcp.set_offloads()

    def link_changed(self) -> None:
        if not self.carrier:
            self.stack.neighbours.forget()


def _allow_descriptors(count: int) -> None:
    """Each connection has one. The usual limit, which a process may raise for itself, is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_DESCRIPTORS
    if soft < wanted and soft != resource.RLIM_INFINITY:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, soft), hard))


def _located(forward: GuestForward, addresses: Addresses) -> GuestForward:
    """With an address. Raises ValueError when it is not in the network, or one of the services' is there."""
    server = forward.server
    if server is None:
        server = (int.from_bytes(addresses.network, "big") + _GUESTFWD).to_bytes(4, "big")
    if not addresses.is_inside(server):
        raise ValueError(f"guestfwd {ipaddress.ip_address(server)} is not in the guest's network")
    return forward._replace(server=server)


def _router(options: UserOptions, addresses: Addresses, inside: set[bytes]) -> RouterSettings:
    return RouterSettings(
        addresses.mac,
        frozenset({addresses.host6, addresses.dns6} | {each for each in inside if len(each) == 16}),
        addresses.prefix6,
        addresses.prefix6_length,
        (addresses.dns6,),
        tuple(options.dnssearch),
        # With restrict there is no way out: RFC 4861, 4.2.
        lifetime=0 if options.restrict else _ROUTER_LIFETIME,
    )


def _dhcp(options: UserOptions, addresses: Addresses) -> DhcpSettings:
    return DhcpSettings(
        server=addresses.host,
        netmask=addresses.netmask,
        first=addresses.first,
        last=addresses.last,
        # As QEMU: with restrict neither a way out nor names of the outside.
        router=None if options.restrict else addresses.host,
        dns_servers=() if options.restrict and not options.hosts else (addresses.dns,),
        host_name=options.hostname,
        domain_name=options.domainname,
        domain_search=tuple(options.dnssearch),
        tftp_server=addresses.host,
        tftp_server_name=options.tftp_server_name,
        boot_file=options.bootfile,
        fixed={parse_mac(mac): ipaddress.IPv4Address(text).packed for mac, text in options.leases.items()},
    )


def _dhcpv6(options: UserOptions, addresses: Addresses) -> Dhcpv6Settings:
    boot_file = f"tftp://[{ipaddress.ip_address(addresses.host6)}]/{options.bootfile}" if options.bootfile else ""
    return Dhcpv6Settings(addresses.mac, (addresses.dns6,), tuple(options.dnssearch), boot_file)
