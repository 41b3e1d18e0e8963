# SPDX-License-Identifier: GPL-2.0-or-later
"""DhcpServer: gives the guest its address and tells it about the network. RFC 2131; options of RFC 2132.

    DISCOVER  -> OFFER, and the address is kept for the client for a while
    REQUEST   -> ACK: the address is the client's for the lease time; NAK: it can't have that one
    DECLINE      somebody has that address already: it is given to nobody for a while
    RELEASE      the address is free
    INFORM    -> ACK with all but an address
    BOOTP     -> a reply with an address and the boot file: RFC 1534, 2

A client is known by its MAC address, also when it has an identifier: firmware and the system that it boots have
different ones, and users expect one address. QEMU does the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from asyncemu.net.packets import dhcp, dns_names, ethernet, ipv4
from asyncemu.net.packets.dhcp import Message
from asyncemu.net.packets.errors import Malformed

_SECOND: Final = 1_000_000_000

#: How long an address stays with who was offered it, in ns: a client asks within seconds.
OFFER_TIME: Final = 60 * _SECOND
#: How long an address that was declined is given to nobody, in ns.
DECLINED_TIME: Final = 600 * _SECOND

#: Addresses in the pool at most: a guest has a few network cards. QEMU has 16.
MAX_POOL: Final = 64

#: An Ethernet MTU holds this much of a message, in bytes.
_MAX_LENGTH: Final = 1500 - 28


@dataclass(frozen=True, slots=True)
class DhcpSettings:
    """What the server tells. Addresses of 4 bytes; None or empty: it does not tell that."""

    #: Of the server; the least and the greatest address of the pool, which is cut off behind MAX_POOL.
    server: bytes
    netmask: bytes
    first: bytes
    last: bytes
    router: bytes | None = None
    dns_servers: tuple[bytes, ...] = ()
    host_name: str = ""
    domain_name: str = ""
    domain_search: tuple[str, ...] = ()
    #: Where the boot file is: an address, and a name for it (QEMU: tftp-server-name).
    tftp_server: bytes | None = None
    tftp_server_name: str = ""
    boot_file: str = ""
    mtu: int | None = None
    #: In seconds. QEMU: a day.
    lease_time: int = 86400
    #: MAC address -> address, for those that always get the same; may lie beside the pool.
    fixed: Mapping[bytes, bytes] = field(default_factory=dict)


class Reply(NamedTuple):
    """A datagram from the server's port 67 to port 68 at ``address``, in a frame to ``mac``."""

    address: bytes
    mac: bytes
    payload: bytes


class _Lease(NamedTuple):
    address: bytes
    #: In ns.
    until: int


class DhcpServer:
    """State: who has which address. Bounded by the pool and the fixed addresses."""

    def __init__(self, settings: DhcpSettings) -> None:
        self.settings = settings
        first, last = (int.from_bytes(each, "big") for each in (settings.first, settings.last))
        reserved = {settings.server, settings.router, *settings.dns_servers, *settings.fixed.values()}
        pool = (number.to_bytes(4, "big") for number in range(first, min(last, first + MAX_POOL - 1) + 1))
        self._pool: Final = tuple(address for address in pool if address not in reserved)
        self._leases: dict[bytes, _Lease] = {}
        self._holders: dict[bytes, bytes] = {}
        self._declined: dict[bytes, int] = {}
        self._options = _constant_options(settings)
        #: Clients that got no address as there was none left.
        self.exhausted = 0

    @property
    def leases(self) -> dict[bytes, bytes]:
        """MAC address -> address, of those that are offered or given. A copy."""
        return {mac: lease.address for mac, lease in self._leases.items()}

    def receive(self, payload: bytes, now: int) -> Reply | None:
        """What came to port 67: the answer, or None. Raises Malformed."""
        message = dhcp.parse(payload)
        if message.op != dhcp.REQUEST or message.relay != ipv4.ANY:
            raise Malformed("DHCP message is a reply, or through a relay")
        if message.mac[0] & 1 or message.mac == bytes(6):
            raise Malformed("DHCP client is nobody")
        kind = message.type
        if kind == dhcp.DISCOVER:
            return self._discover(message, now)
        if kind == dhcp.REQUEST_ADDRESS:
            return self._request(message, now)
        if kind == dhcp.INFORM:
            # RFC 2131, 4.3.5: no lease time, and no address.
            return self._reply(message, dhcp.ACK, ipv4.ANY)
        if kind == dhcp.DECLINE:
            self._decline(message, now)
            return None
        if kind == dhcp.RELEASE:
            self._release(message)
            return None
        if kind == 0 and dhcp.MESSAGE_TYPE not in message.options:
            address = self._choose(message, now)
            if address is None:
                return None
            self._keep(message.mac, address, now + self.settings.lease_time * _SECOND)
            return self._reply(message, 0, address)
        raise Malformed("DHCP message of a type that no client sends")

    # ---- messages

    def _discover(self, message: Message, now: int) -> Reply | None:
        address = self._choose(message, now)
        if address is None:
            return None
        held = self._leases.get(message.mac)
        # An offer does not shorten a lease.
        self._keep(message.mac, address, max(now + OFFER_TIME, held.until if held is not None else 0))
        return self._reply(message, dhcp.OFFER, address)

    def _request(self, message: Message, now: int) -> Reply | None:
        """RFC 2131, 4.3.2. In SELECTING the client names a server; in INIT-REBOOT and RENEWING it knows an address."""
        chosen = message.options.get(dhcp.SERVER_IDENTIFIER)
        if chosen is not None and chosen != self.settings.server:
            self._forget(message.mac)
            return None
        wanted = message.address(dhcp.REQUESTED_ADDRESS)
        if wanted is None:
            wanted = message.client
        # A client that we don't know may come from before the emulator was started: it keeps what is free.
        if not self._may_have(message.mac, wanted, now):
            return self._nak(message)
        self._keep(message.mac, wanted, now + self.settings.lease_time * _SECOND)
        return self._reply(message, dhcp.ACK, wanted)

    def _decline(self, message: Message, now: int) -> None:
        """RFC 2131, 4.3.3. Only of what the client was given: it can't make the pool useless for others."""
        lease = self._leases.get(message.mac)
        if lease is None or message.address(dhcp.REQUESTED_ADDRESS) != lease.address:
            return
        self._forget(message.mac)
        if lease.address in self._pool:
            self._declined[lease.address] = now + DECLINED_TIME

    def _release(self, message: Message) -> None:
        lease = self._leases.get(message.mac)
        if lease is not None and lease.address == message.client:
            self._forget(message.mac)

    # ---- addresses

    def _choose(self, message: Message, now: int) -> bytes | None:
        """The address for a client: RFC 2131, 4.3.1, in the order that it says. None: there is none left."""
        mac = message.mac
        if mac in self.settings.fixed:
            return self.settings.fixed[mac]
        held = self._leases.get(mac)
        if held is not None:
            return held.address
        wanted = message.address(dhcp.REQUESTED_ADDRESS)
        if wanted is not None and self._may_have(mac, wanted, now):
            return wanted
        for address in self._pool:
            if address not in self._holders and self._declined.get(address, now) <= now:
                return address
        for address in self._pool:
            if self._may_have(mac, address, now):
                return address
        self.exhausted += 1
        return None

    def _may_have(self, mac: bytes, address: bytes, now: int) -> bool:
        fixed = self.settings.fixed.get(mac)
        if fixed is not None:
            return address == fixed
        if address not in self._pool or self._declined.get(address, now) > now:
            return False
        # Another than it has been given: RFC 2131, 4.3.2 (INIT-REBOOT), "requested IP address is incorrect".
        held = self._leases.get(mac)
        if held is not None and held.until > now and held.address != address:
            return False
        holder = self._holders.get(address)
        return holder is None or holder == mac or self._leases[holder].until <= now

    def _keep(self, mac: bytes, address: bytes, until: int) -> None:
        self._forget(mac)
        holder = self._holders.get(address)
        if holder is not None:
            self._forget(holder)
        self._declined.pop(address, None)
        self._leases[mac] = _Lease(address, until)
        self._holders[address] = mac

    def _forget(self, mac: bytes) -> None:
        lease = self._leases.pop(mac, None)
        if lease is not None:
            del self._holders[lease.address]

    # ---- replies

    def _reply(self, request: Message, kind: int, address: bytes) -> Reply:
        settings = self.settings
        options: dict[int, bytes] = {}
        if kind:
            options[dhcp.MESSAGE_TYPE] = bytes((kind,))
            options[dhcp.SERVER_IDENTIFIER] = settings.server
            if address != ipv4.ANY:
                options[dhcp.LEASE_TIME] = settings.lease_time.to_bytes(4, "big")
        options.update(self._options)
        reply = Message(
            dhcp.REPLY,
            request.transaction,
            request.mac,
            options,
            flags=request.flags,
            # RFC 2131, table 3: as in the request, where it is confirmed; else 0.
            client=request.client if kind in (dhcp.ACK, 0) else ipv4.ANY,
            your=address,
            server=settings.tftp_server or ipv4.ANY,
            file=_file_field(settings.boot_file),
        )
        return self._addressed(request, reply, address)

    def _nak(self, request: Message) -> Reply:
        options = {
            dhcp.MESSAGE_TYPE: bytes((dhcp.NAK,)),
            dhcp.SERVER_IDENTIFIER: self.settings.server,
            dhcp.MESSAGE: b"address is not available",
        }
        reply = Message(dhcp.REPLY, request.transaction, request.mac, options, flags=request.flags)
        # RFC 2131, 4.1: to everybody, as the client's address may be wrong.
        return Reply(ipv4.BROADCAST, ethernet.BROADCAST, reply.pack())

    def _addressed(self, request: Message, reply: Message, address: bytes) -> Reply:
        """RFC 2131, 4.1: where to."""
        limit = int.from_bytes(request.options.get(dhcp.MAX_MESSAGE_SIZE, b""), "big") - 28
        payload = reply.pack(min(max(limit, dhcp.MAX_LENGTH), _MAX_LENGTH))
        if request.client != ipv4.ANY:
            return Reply(request.client, request.mac, payload)
        if request.flags & dhcp.BROADCAST_FLAG or address == ipv4.ANY:
            return Reply(ipv4.BROADCAST, ethernet.BROADCAST, payload)
        return Reply(address, request.mac, payload)


def _constant_options(settings: DhcpSettings) -> dict[int, bytes]:
    """What every client is told, the most important first."""
    options = {
        dhcp.SUBNET_MASK: settings.netmask,
        dhcp.ROUTER: settings.router or b"",
        dhcp.DNS_SERVERS: b"".join(settings.dns_servers),
        dhcp.HOST_NAME: settings.host_name.encode(),
        dhcp.TFTP_SERVER_NAME: settings.tftp_server_name.encode(),
        dhcp.BOOT_FILE: settings.boot_file.encode(),
        dhcp.DOMAIN_NAME: settings.domain_name.encode(),
        dhcp.INTERFACE_MTU: settings.mtu.to_bytes(2, "big") if settings.mtu is not None else b"",
        dhcp.DOMAIN_SEARCH: dns_names.pack_search_list(settings.domain_search),
    }
    return {code: value for code, value in options.items() if value}


def _file_field(boot_file: str) -> bytes:
    """For those who read it there: RFC 2131, 2. A longer name is in its option only."""
    name = boot_file.encode()
    return name if len(name) < 128 else b""
