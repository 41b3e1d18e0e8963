# SPDX-License-Identifier: GPL-2.0-or-later
"""stream: a wire to another emulator, ours or QEMU's, over TCP or a unix socket. QEMU: -netdev stream."""

from __future__ import annotations

import socket

from pydantic import Field, model_validator

from asyncemu.loop import AioContext, Clocks
from asyncemu.net.backend import NetBackend
from asyncemu.net.events import (
    InetSocketAddress,
    NetdevStreamConnected,
    NetdevStreamDisconnected,
    UnixSocketAddress,
)
from asyncemu.net.frame import Frames
from asyncemu.net.sockets.address import AddressOptions
from asyncemu.net.sockets.stream_ends import Client, Server, StreamEnd
from asyncemu.options import Options


class StreamOptions(Options):
    """Options of stream."""

    addr: AddressOptions = Field(description="Where to listen or connect: a table, or addr.type, addr.host...")
    server: bool = Field(default=False, description="Listen rather than connect.")
    reconnect: float = Field(default=0, ge=0, description="Client: seconds until it tries again; 0 is never.")

    @model_validator(mode="after")
    def _consistent(self) -> StreamOptions:
        if self.server and self.reconnect:
            raise ValueError("reconnect is for a client, not with server = true")
        if self.reconnect and self.addr.type == "fd":
            raise ValueError("reconnect needs an address to connect to, not an open descriptor")
        if not self.server and self.addr.type == "inet" and not self.addr.host:
            raise ValueError("a client needs addr.host")
        if not self.server and self.addr.to is not None:
            raise ValueError("addr.to is for a server, not without server = true")
        return self


class Stream(NetBackend[StreamOptions], name="stream"):
    """Frames behind their lengths. ``end.address``: where it listens or connects."""

    description = "A wire to another machine over TCP or a unix socket, as server or client."

    has_vnet_header = True

    def __init__(self, options: StreamOptions, id: str, context: AioContext, clocks: Clocks) -> None:
        super().__init__(options, id, context, clocks)
        address = options.addr.address()
        self.end: StreamEnd = Server(self, address) if options.server else Client(self, address, options.reconnect)
        self.end.on_connected = self._connected
        self.end.on_disconnected = self._disconnected

    async def connect(self) -> None:
        await self.end.open()

    async def run(self) -> None:
        await self.end.run()

    async def disconnect(self) -> None:
        self.end.close()

    def _connected(self, peer: socket.socket) -> None:
        if self.emit is not None:
            self.emit(NetdevStreamConnected(netdev_id=self.id, addr=_address_of(peer)))

    def _disconnected(self) -> None:
        if self.emit is not None:
            self.emit(NetdevStreamDisconnected(netdev_id=self.id))

    def summary(self) -> str:
        peer = self.end.peer
        return f"stream,{peer}" if not peer or peer.startswith("unix:") else f"stream,tcp:{peer}"

    def transmit(self, frames: Frames) -> int:
        return self.end.transmit(frames)

    def writable(self) -> None:
        self.end.writable()


def _address_of(peer: socket.socket) -> InetSocketAddress | UnixSocketAddress:
    """Of who is at the other end; a client of a unix socket has none, and is told by the server's."""
    try:
        address = peer.getpeername() or peer.getsockname()
    except OSError:
        # It has left again already.
        address = peer.getsockname()
    if isinstance(address, tuple):
        ipv4 = True if peer.family == socket.AF_INET else None
        ipv6 = True if peer.family == socket.AF_INET6 else None
        return InetSocketAddress(host=address[0], port=str(address[1]), ipv4=ipv4, ipv6=ipv6)
    # An address in the abstract namespace is bytes.
    return UnixSocketAddress(path=address if isinstance(address, str) else address.decode(errors="replace"))
