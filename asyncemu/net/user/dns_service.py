# SPDX-License-Identifier: GPL-2.0-or-later
"""DnsService: the guest's questions to the host's resolvers, over a socket for each.

The host may move to another network while the guest runs: /etc/resolv.conf is read again when it has changed.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from asyncemu.net.packets import udp
from asyncemu.net.user.dns import Answer, DnsProxy, Forward, parse_resolv_conf
from asyncemu.net.user.packet import Packet
from asyncemu.net.user.stack import Stack

RESOLV_CONF: Final = Path("/etc/resolv.conf")
#: How often it is looked at, at most, in ns. As libslirp.
LOOK_INTERVAL: Final = 1_000_000_000
_PORT: Final = 53

#: Answers that are read in one go, and bytes of one: RFC 6891, 6.2.5.
READS: Final = 16
_MAX_LENGTH: Final = 65535


class Client(NamedTuple):
    """A socket of the guest, and our address that it has asked."""

    guest: bytes
    port: int
    server: bytes


def host_resolvers(file: Path = RESOLV_CONF) -> list[tuple[str, int]]:
    """Addresses and ports of the host's resolvers; none when the host does not say."""
    try:
        return [(address, _PORT) for address in parse_resolv_conf(file.read_text())]
    except (OSError, UnicodeDecodeError):
        return []


def modification_time(file: Path | None) -> int:
    """In ns; 0: there is no such file."""
    try:
        return file.stat().st_mtime_ns if file is not None else 0
    except OSError:
        return 0


class DnsService:
    """Home: the stack's. ``resolvers`` may be empty: then only the names of ``hosts`` are known.

    ``follow``: the file that the resolvers are from; when it changes, so does the list, in place.
    """

    def __init__(
        self,
        stack: Stack,
        hosts: Mapping[str, Sequence[bytes]],
        resolvers: list[tuple[str, int]],
        follow: Path | None = None,
    ) -> None:
        self.armed: int | None = None
        self.proxy = DnsProxy(hosts, len(resolvers), secrets.randbits)
        self._stack = stack
        self._hosts = hosts
        self._resolvers = resolvers
        self._follow = follow
        self._looked_at = stack.now
        self._changed_at = modification_time(follow)
        self._sockets: dict[int, socket.socket] = {}

    def receive(self, packet: Packet, datagram: udp.Header) -> None:
        """A query. Raises Malformed."""
        self._look()
        header = packet.header
        payload = packet.copied()[datagram.start : datagram.end]
        client = Client(header.source, datagram.source_port, header.destination)
        self._pass_on(self.proxy.query(payload, client, self._stack.now))
        self._stack.deadlines.touch(self)

    def _look(self) -> None:
        """Has the host other resolvers now? Questions on their way are asked again by the guest."""
        now = self._stack.now
        if self._follow is None or now - self._looked_at < LOOK_INTERVAL:
            return
        self._looked_at = now
        changed_at = modification_time(self._follow)
        if changed_at != self._changed_at:
            self._changed_at = changed_at
            self.close()
            self._resolvers[:] = host_resolvers(self._follow)
            self.proxy = DnsProxy(self._hosts, len(self._resolvers), secrets.randbits)

    def _pass_on(self, message: Answer | Forward) -> None:
        if isinstance(message, Answer):
            client = message.client
            assert isinstance(client, Client)
            self._stack.send_udp((client.server, _PORT), (client.guest, client.port), message.payload)
            return
        try:
            self._socket(message.server).send(message.payload)
        except OSError:
            # The next one is asked when this one has not answered in time; a new socket then.
            self._stack.drop("DNS queries that the host did not send")
            self._close(message.server)

    def _socket(self, server: int) -> socket.socket:
        sock = self._sockets.get(server)
        if sock is None:
            address = self._resolvers[server]
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            sock = self._sockets[server] = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            # So that only the resolver can answer, and a port that nobody can guess: RFC 5452, 9.2.
            sock.connect(address)
            self._stack.context.set_fd_handler(sock.fileno(), lambda: self._on_readable(server))
        return sock

    def _on_readable(self, server: int) -> None:
        self._stack.now = self._stack.clock.now()
        for _ in range(READS):
            sock = self._sockets.get(server)
            if sock is None:
                return
            try:
                payload = sock.recv(_MAX_LENGTH)
            except BlockingIOError:
                return
            except OSError:
                # Nobody listens there.
                self._close(server)
                return
            answer = self.proxy.response(payload, server)
            if answer is not None:
                self._pass_on(answer)

    def next_deadline(self) -> int | None:
        """See Owner."""
        return self.proxy.next_deadline()

    def on_deadline(self, now: int) -> None:
        """See Owner."""
        self._stack.now = now
        for message in self.proxy.expire(now):
            self._pass_on(message)

    def _close(self, server: int) -> None:
        sock = self._sockets.pop(server, None)
        if sock is not None:
            self._stack.context.set_fd_handler(sock.fileno(), None)
            sock.close()

    def close(self) -> None:
        """Close all sockets."""
        for server in list(self._sockets):
            self._close(server)
