# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of a guest to the servers of the user network: DHCP, DHCPv6, DNS, TFTP; and what a resolver answers.

    messages: 1 byte which server, 1 byte who asks and when, 1 byte length, the message

May be raised inside: Malformed. Tables keep their bounds, and are empty when all has timed out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from asyncemu.net.packets import dhcp, dhcpv6, dns_names, tftp
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.user.dhcp import DhcpServer, DhcpSettings
from asyncemu.net.user.dhcpv6 import Dhcpv6Server, Dhcpv6Settings
from asyncemu.net.user.dns import DnsProxy
from asyncemu.net.user.tftp import Action, Open, Read, TftpServer
from fuzz.choices import Choices
from fuzz.driving import Defect

_SECOND: Final = 1_000_000_000
_MAC: Final = b"\x52\x54\0\x12\x34\x56"
_ADDRESS: Final = bytes((10, 0, 2, 2))
_FILE: Final = bytes(1500)
#: Longer than anything waits.
_FOREVER: Final = 600 * _SECOND


class _Servers:
    def __init__(self) -> None:
        settings = DhcpSettings(_ADDRESS, b"\xff\xff\xff\0", bytes((10, 0, 2, 15)), bytes((10, 0, 2, 20)), _ADDRESS)
        self.dhcp = DhcpServer(settings)
        self.dhcpv6 = Dhcpv6Server(Dhcpv6Settings(_MAC, (bytes(16),), ("lan",), "tftp://[fec0::2]/a"))
        self.dns = DnsProxy({"host.lan": (_ADDRESS,)}, 2, random.Random(1).getrandbits)
        self.tftp = TftpServer()

    def receive(self, kind: int, data: bytes, client: int, now: int) -> None:
        """One message to the server of that number."""
        if kind == 0:
            self.dhcp.receive(data, now)
            leases = self.dhcp.leases
            if len(set(leases.values())) != len(leases):
                raise Defect("two clients have one address")
        elif kind == 1:
            self.dhcpv6.receive(data)
        elif kind == 2:
            self.dns.query(data, client, now)
        elif kind == 3:
            self.dns.response(data, client & 1)
        else:
            self.act(self.tftp.receive(data, client, now), now)

    def act(self, actions: Sequence[Action], now: int) -> None:
        """Files are there, but for those whose names are short."""
        for action in actions:
            if isinstance(action, Open):
                if not {"", ".", ".."}.isdisjoint(action.name.split("/")):
                    raise Defect(f"a file outside of the folder: {action.name!r}")
                if len(action.name) < 3:
                    self.act(self.tftp.refused(action.client, tftp.NOT_FOUND, "File not found"), now)
                else:
                    self.act(self.tftp.opened(action.client, len(_FILE), now), now)
            elif isinstance(action, Read):
                data = _FILE[action.offset : action.offset + action.length]
                self.act(self.tftp.have(action.client, data, now), now)


def fuzz_one(data: bytes) -> None:
    """Give the servers the messages, one after the other."""
    choices, servers, now = Choices(data), _Servers(), 0
    while choices.left:
        kind, who, length = choices.number(1), choices.number(1), choices.number(1)
        now += (who >> 4) * _SECOND
        # A message may be longer than a byte says: most of DHCP are.
        message = choices.take(length + 1 + (kind >> 3 << 4))
        try:
            servers.receive(kind & 7, message, who & 3, now)
        except Malformed:
            pass
        servers.dns.expire(now)
        servers.act(servers.tftp.expire(now), now)
    for _ in range(10):
        now += _FOREVER
        servers.dns.expire(now)
        servers.tftp.expire(now)
    if len(servers.dns) or servers.dns.next_deadline() is not None or servers.tftp.next_deadline() is not None:
        raise Defect("something waits forever")


def seeds() -> Sequence[bytes]:
    """A message of each kind, and a transfer."""
    discover = dhcp.Message(dhcp.REQUEST, 7, _MAC, {53: b"\1", 57: b"\2\x40"}).pack()
    request = dhcp.Message(dhcp.REQUEST, 7, _MAC, {53: b"\3", 50: bytes((10, 0, 2, 15))}).pack()
    information = dhcpv6.Message(11, b"abc", {1: b"\0\3\0\1" + _MAC, 6: b"\0\x17\0\x18"}).pack()
    query = bytes.fromhex("0007 0100 0001 0000 0000 0000") + dns_names.pack("example.org") + b"\0\1\0\1"
    static = query[:12] + dns_names.pack("host.lan") + b"\0\1\0\1"
    transfer = [tftp.Request(False, "kernel", "netascii", {"blksize": "500", "tsize": "0"}).pack()]
    transfer += [tftp.pack_acknowledgment(block) for block in range(4)]
    return [
        _message(0, discover) + _message(0, request),
        _message(1, information),
        _message(2, query) + _message(2, static) + _message(3, query[:2] + b"\x81" + query[3:]),
        b"".join(_message(4, packet) for packet in transfer),
    ]


def _message(kind: int, message: bytes) -> bytes:
    long = max(len(message) - 256 + 15, 0) >> 4
    return bytes((kind | long << 3, 0, len(message) - 1 - (long << 4))) + message
