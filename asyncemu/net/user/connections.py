# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes on in a user network: a line for each connection, socket and door. QEMU: info usernet."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from asyncemu.net.tcp import State
from asyncemu.net.user.addresses import text_of
from asyncemu.net.user.hostfwd import DatagramDoor, StreamDoor
from asyncemu.net.user.icmp_relay import IcmpRelay
from asyncemu.net.user.tcp_relays import TcpRelays
from asyncemu.net.user.udp_relay import UdpRelay

_SECOND: Final = 1_000_000_000

#: Where libslirp's names of states are not ours. A held one is answered as soon as the host's side is connected.
_CALLED: Final = {State.HELD: "SYN_RCVD", State.SYN_RECEIVED: "SYN_RCVD"}

#: An address of nobody in particular.
ANY: Final = "*"


class Connection(NamedTuple):
    """``source`` began it; of a door, it is where the host listens. Addresses as text, queues in bytes."""

    protocol: Literal["TCP", "UDP", "ICMP"]
    #: Of TCP, or HOST_FORWARD, or how long it stays without traffic: "237 sec".
    state: str
    #: The socket of the host; -1: it has none any more.
    fd: int
    source: str
    source_port: int
    destination: str
    destination_port: int
    #: From the guest, and not taken by the host's socket yet.
    receive_queue: int = 0
    #: To the guest, and not acknowledged yet.
    send_queue: int = 0


def tcp_connections(relays: TcpRelays) -> Iterator[Connection]:
    """In the order in which they were opened. At home."""
    for relay in relays.connections:
        core = relay.core
        guest, guest_port, other, port = relay.key
        sock = relay.sock
        source, destination = (text_of(guest), guest_port), (text_of(other), port)
        if relay.came_by_a_door:
            source, destination = (_own_end(sock) if sock is not None else (ANY, 0)), source
        state = _CALLED.get(core.state, core.state.name)
        fd = sock.fileno() if sock is not None else -1
        yield Connection("TCP", state, fd, *source, *destination, core.waiting, core.unacknowledged)


def udp_connections(relay: UdpRelay) -> Iterator[Connection]:
    """The destination is the last new one. At home."""
    for flow in relay.flows:
        destination, port = next(reversed(flow.places), (b"", 0))
        left = _seconds_left(flow.next_deadline(), relay.stack.clock.now())
        to = text_of(destination) if destination else ANY
        yield Connection("UDP", left, flow.sock.fileno(), text_of(flow.guest), flow.port, to, port)


def icmp_connections(relay: IcmpRelay) -> Iterator[Connection]:
    """At home."""
    for flow in relay.flows:
        guest, _, destination = flow.key
        left = _seconds_left(flow.next_deadline(), relay.stack.clock.now())
        yield Connection("ICMP", left, flow.fileno(), text_of(guest), 0, text_of(destination), 0)


def door_connection(each: StreamDoor | DatagramDoor, guest: bytes) -> Connection:
    """A hostfwd, to ``guest`` as it stands. At home."""
    protocol: Literal["TCP", "UDP"] = "UDP" if isinstance(each, DatagramDoor) else "TCP"
    host, port = _own_end(each.sock)
    forward = each.forward
    return Connection(protocol, "HOST_FORWARD", each.sock.fileno(), host, port, text_of(guest), forward.guest_port)


def _own_end(sock: socket.socket) -> tuple[str, int]:
    """Where a socket of the host is bound; a unix socket has neither."""
    if sock.family == socket.AF_UNIX:
        return ANY, 0
    host, port = sock.getsockname()[:2]
    return ANY if host in ("0.0.0.0", "::") else host, port


def _seconds_left(deadline: int | None, now: int) -> str:
    return f"{max((deadline or now) - now, 0) // _SECOND} sec"
