# SPDX-License-Identifier: GPL-2.0-or-later
"""IcmpRelay: the guest's pings of the outside, by ping sockets where the host allows them, else by raw ones.

Linux lets groups of users ping (net.ipv4.ping_group_range); raw sockets take CAP_NET_RAW. Without either, a ping of the
outside gets no answer, and is counted.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

from asyncemu.net.frame import Frame
from asyncemu.net.packets import icmp, icmpv6, ipv4, ipv6
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.user import error_queue
from asyncemu.net.user.error_queue import UNREACHABLE, PacketError
from asyncemu.net.user.packet import Packet
from asyncemu.net.user.reach import Place, Reach
from asyncemu.net.user.stack import Stack

_SECOND: Final = 1_000_000_000

#: How long a socket waits for one more ping, in ns: RFC 5508, REQ-1 wants 60 s.
TIMEOUT: Final = 60 * _SECOND
#: Sockets at most; the oldest makes room.
MAX_FLOWS: Final = 32
#: Replies that are read in one go.
READS: Final = 16

_ECHO: Final = struct.Struct("!BBHHH")

#: linux/icmpv6.h: a filter of 256 bits, of which those that are set are kept away.
_ICMPV6_FILTER: Final = 1
_ONLY_ECHO_REPLY: Final = struct.pack(
    "=8I", *(0xFFFFFFFF & ~(1 << (icmpv6.ECHO_REPLY & 31)) if index == 4 else 0xFFFFFFFF for index in range(8))
)


class EchoFlow:
    """One ``ping`` of a guest: a socket of the host that knows its own replies."""

    def __init__(self, relay: IcmpRelay, sock: socket.socket, raw: bool, key: tuple[bytes, int, bytes]) -> None:
        self.armed: int | None = None
        self.key = key
        self.last_used = relay.stack.now
        self._is_closed = False
        self._relay = relay
        self._sock = sock
        self._raw = raw
        self._ipv6 = sock.family == socket.AF_INET6
        #: What stands for the guest's identifier outside; a ping socket has one of its own.
        self._identifier = relay.stack.random.getrandbits(16)
        # uvloop stops watching a socket when there is an error (EPOLLERR), without a word.
        self._erred = False
        error_queue.enable(sock)
        relay.stack.context.set_fd_handler(sock.fileno(), self._on_readable)

    def send(self, place: Place, sequence: int, payload: bytes) -> int:
        """Ask: 0, or an errno."""
        self.last_used = self._relay.stack.now
        if self._ipv6:
            # The kernel makes the checksum: RFC 3542, 3.1.
            message = _ECHO.pack(icmpv6.ECHO_REQUEST, 0, 0, self._identifier, sequence) + payload
        else:
            message = icmp.echo(icmp.ECHO_REQUEST, self._identifier, sequence, payload)
        address = (place.address[0], 0)
        problem = self._send_to(message, address)
        if problem and self._read_errors():
            # That was about an earlier one.
            problem = self._send_to(message, address)
        return problem

    def _send_to(self, message: bytes, address: tuple[str, int]) -> int:
        try:
            self._sock.sendto(message, address)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _on_readable(self) -> None:
        stack = self._relay.stack
        stack.now = stack.clock.now()
        for _ in range(READS):
            try:
                data, address = self._sock.recvfrom(65535)
            except BlockingIOError:
                break
            except OSError:
                self._erred = True
                self._read_errors()
                break
            try:
                self._reply(data, address[0])
            except Malformed as problem:
                stack.drop(str(problem))
        if self._erred:
            self._erred = False
            stack.context.set_fd_handler(self._sock.fileno(), None)
            stack.context.set_fd_handler(self._sock.fileno(), self._on_readable)

    def _reply(self, data: bytes, sender: str) -> None:
        if self._raw and not self._ipv6:
            # With its IP header: raw(7).
            header = ipv4.parse(data)
            data = data[header.start : header.end]
        if len(data) < _ECHO.size:
            raise Malformed("ICMP message is cut")
        kind, _, _, identifier, sequence = _ECHO.unpack_from(data)
        if kind != (icmpv6.ECHO_REPLY if self._ipv6 else icmp.ECHO_REPLY):
            return
        if self._raw and identifier != self._identifier:
            return
        guest, guest_identifier, destination = self.key
        family = socket.AF_INET6 if self._ipv6 else socket.AF_INET
        if socket.inet_pton(family, sender.partition("%")[0]) != destination:
            return
        rest = guest_identifier << 16 | sequence
        payload = data[_ECHO.size :]
        if self._ipv6:
            message = icmpv6.pack(destination, guest, icmpv6.ECHO_REPLY, 0, rest, payload)
            self._relay.stack.send_packet(destination, guest, icmpv6.PROTOCOL, message)
        else:
            message = icmp.pack(icmp.ECHO_REPLY, 0, rest, payload)
            self._relay.stack.send_packet(destination, guest, icmp.PROTOCOL, message)

    def _read_errors(self) -> bool:
        """Tell the guest which of its pings went nowhere; false when the host had nothing to say."""
        found = False
        for error in error_queue.read_errors(self._sock):
            found = self._erred = True
            if error is not None:
                self._tell(error)
        return found

    def _tell(self, error: PacketError) -> None:
        if len(error.data) < _ECHO.size:
            return
        _, _, _, identifier, sequence = _ECHO.unpack_from(error.data)
        if self._raw and identifier != self._identifier:
            # Somebody else's: raw sockets hear of all.
            return
        guest, guest_identifier, destination = self.key
        payload = error.data[_ECHO.size :]
        packet: Packet
        if self._ipv6:
            rest = guest_identifier << 16 | sequence
            message = icmpv6.pack(guest, destination, icmpv6.ECHO_REQUEST, 0, rest, payload)
            quoted = ipv6.Header(guest, destination, icmpv6.PROTOCOL).pack(len(message)) + message
            packet = Packet(ipv6.parse(quoted), quoted, Frame.of(quoted), b"", 0, True)
        else:
            message = icmp.echo(icmp.ECHO_REQUEST, guest_identifier, sequence, payload)
            quoted = ipv4.Header(guest, destination, icmp.PROTOCOL).pack(len(message)) + message
            packet = Packet(ipv4.parse(quoted), quoted, Frame.of(quoted), b"", 0, True)
        self._relay.stack.unreachable(packet, *UNREACHABLE[error.number])

    def fileno(self) -> int:
        """The descriptor of its socket."""
        return self._sock.fileno()

    def next_deadline(self) -> int | None:
        """See Owner."""
        return None if self._is_closed else self.last_used + TIMEOUT

    def on_deadline(self, now: int) -> None:
        """See Owner."""
        self._relay.remove(self)

    def close(self) -> None:
        """No more."""
        self._is_closed = True
        self._relay.stack.context.set_fd_handler(self._sock.fileno(), None)
        self._sock.close()


class IcmpRelay:
    """Home: the stack's."""

    def __init__(self, stack: Stack, reach: Reach) -> None:
        self.stack = stack
        self._reach = reach
        self._flows: dict[tuple[bytes, int, bytes], EchoFlow] = {}

    def __len__(self) -> int:
        return len(self._flows)

    @property
    def flows(self) -> list[EchoFlow]:
        """All of them, the oldest first."""
        return list(self._flows.values())

    def request(self, packet: Packet, identifier: int, sequence: int, payload: bytes) -> None:
        """An echo request to somebody who is not us; ``payload`` is behind the sequence number."""
        header = packet.header
        stack = self.stack
        place = self._reach.find(header.destination, 0)
        if place is None:
            stack.drop("pings of where nobody is")
            code = icmp.PROHIBITED if self._reach.restrict else icmp.HOST_UNREACHABLE
            code6 = icmpv6.PROHIBITED if self._reach.restrict else icmpv6.ADDRESS_UNREACHABLE
            stack.unreachable(packet, code, code6)
            return
        hops = header.ttl if isinstance(header, ipv4.Header) else header.hop_limit
        if hops <= 1:
            time_exceeded = (icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED)
            stack.report(packet, time_exceeded, (icmpv6.TIME_EXCEEDED, icmpv6.HOP_LIMIT_EXCEEDED))
            return
        key = (header.source, identifier, header.destination)
        flow = self._flows.get(key) or self._open(key, place.family)
        problem = flow.send(place, sequence, payload) if flow is not None else 0
        if problem:
            stack.drop("pings that the host did not send")
            if problem in UNREACHABLE:
                stack.unreachable(packet, *UNREACHABLE[problem])

    def _open(self, key: tuple[bytes, int, bytes], family: socket.AddressFamily) -> EchoFlow | None:
        opened = open_socket(family)
        if opened is None:
            self.stack.drop("pings, which the host does not allow")
            return None
        while len(self._flows) >= MAX_FLOWS:
            self.remove(next(iter(self._flows.values())))
        flow = self._flows[key] = EchoFlow(self, *opened, key)
        self.stack.deadlines.touch(flow)
        return flow

    def remove(self, flow: EchoFlow) -> None:
        """It was idle for long, or makes room."""
        self.stack.deadlines.forget(flow)
        self._flows.pop(flow.key, None)
        flow.close()

    def close(self) -> None:
        """Close all sockets."""
        for flow in list(self._flows.values()):
            self.remove(flow)


def open_socket(family: socket.AddressFamily) -> tuple[socket.socket, bool] | None:
    """A socket for pings, and whether it is a raw one; None: the host allows neither."""
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        except OSError:
            continue
        if kind == socket.SOCK_RAW and family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, _ONLY_ECHO_REPLY)
        return sock, kind == socket.SOCK_RAW
    return None
