# SPDX-License-Identifier: GPL-2.0-or-later
"""socket: the older spelling of ``stream`` and ``dgram``. QEMU: -netdev socket.

listen = ":1234"                                   stream, server
connect = "10.0.0.1:1234"                          stream, client
mcast = "230.0.0.1:1234"                           datagrams to a group; localaddr: the interface's address
udp = "10.0.0.1:1234", localaddr = ":1234"         datagrams between two addresses
fd = 4                                             a connected socket, of streams or datagrams
"""

from __future__ import annotations

import socket
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from asyncemu.loop import AioContext, Clocks
from asyncemu.net.backend import NetBackend
from asyncemu.net.frame import Frames
from asyncemu.net.sockets.address import Descriptor, adopt, parse_host_port
from asyncemu.net.sockets.datagram_ends import DatagramEnd
from asyncemu.net.sockets.stream_ends import Client, Server, StreamEnd
from asyncemu.options import Options
from asyncemu.socket_address import Inet


def _checked(text: str) -> str:
    parse_host_port(text)
    return text


HostPort = Annotated[str, AfterValidator(_checked)]


class SocketOptions(Options):
    """Options of socket."""

    listen: HostPort | None = Field(default=None, description="Wait for a machine at HOST:PORT (TCP).")
    connect: HostPort | None = Field(default=None, description="Connect to a machine at HOST:PORT (TCP).")
    mcast: HostPort | None = Field(default=None, description="Multicast group HOST:PORT (UDP).")
    udp: HostPort | None = Field(default=None, description="Send to a machine at HOST:PORT (UDP).")
    localaddr: str | None = Field(
        default=None, description="With udp: receive at HOST:PORT. With mcast: address of the interface."
    )
    fd: int | None = Field(default=None, ge=0, le=(1 << 31) - 1, description="Number of an open socket.")

    @model_validator(mode="after")
    def _consistent(self) -> SocketOptions:
        given = [self.listen, self.connect, self.mcast, self.udp, self.fd]
        if sum(each is not None for each in given) != 1:
            raise ValueError("needs exactly one of listen, connect, mcast, udp and fd")
        if self.localaddr is not None and self.mcast is None and self.udp is None:
            raise ValueError("localaddr is only for mcast and udp")
        if self.udp is not None:
            if self.localaddr is None:
                raise ValueError("udp needs localaddr")
            parse_host_port(self.localaddr)
        return self


class Socket(NetBackend[SocketOptions], name="socket"):
    """``end.address``: where a stream listens or connects; ``end.local``: where datagrams come in."""

    description = "A wire to other machines: TCP, UDP or multicast, as older QEMUs write it."

    has_vnet_header = True

    def __init__(self, options: SocketOptions, id: str, context: AioContext, clocks: Clocks) -> None:
        super().__init__(options, id, context, clocks)
        self.end: StreamEnd | DatagramEnd
        if options.listen is not None:
            self.end = Server(self, parse_host_port(options.listen))
        elif options.connect is not None:
            self.end = Client(self, parse_host_port(options.connect))
        elif options.mcast is not None:
            interface = Inet(options.localaddr, 0, 0, socket.AF_INET) if options.localaddr is not None else None
            self.end = DatagramEnd(self, interface, parse_host_port(options.mcast), only_group=True)
        elif options.udp is not None:
            assert options.localaddr is not None  # checked
            self.end = DatagramEnd(self, parse_host_port(options.localaddr), parse_host_port(options.udp))
        else:
            assert options.fd is not None  # checked
            self.end = DatagramEnd(self, Descriptor(options.fd), None)

    async def connect(self) -> None:
        if self.options.fd is not None:
            descriptor = Descriptor(self.options.fd)
            with adopt(descriptor, None, self.id) as given:
                if given.type == socket.SOCK_STREAM:
                    self.end = Client(self, descriptor)
        await self.end.open()

    async def run(self) -> None:
        await self.end.run()

    async def disconnect(self) -> None:
        self.end.close()

    def summary(self) -> str:
        end = self.end
        if isinstance(end, DatagramEnd):
            kind = "mcast" if self.options.mcast is not None else "udp"
            return f"socket,socket: {kind}={end.remote}" if end.remote is not None else "socket,socket: fd"
        if isinstance(end, Server):
            return f"socket,socket: connection from {end.peer}" if end.peer else "socket,"
        return f"socket,socket: connect to {end.address}" if end.peer else "socket,"

    def transmit(self, frames: Frames) -> int:
        return self.end.transmit(frames)

    def writable(self) -> None:
        self.end.writable()
