# SPDX-License-Identifier: GPL-2.0-or-later
"""stream: a wire to another emulator, ours or QEMU's, over TCP or a unix socket. QEMU: -netdev stream."""

from __future__ import annotations

from pydantic import Field, model_validator

from asyncemu.loop import AioContext, Clocks
from asyncemu.net.backend import NetBackend
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

    async def connect(self) -> None:
        await self.end.open()

    async def run(self) -> None:
        await self.end.run()

    async def disconnect(self) -> None:
        self.end.close()

    def transmit(self, frames: Frames) -> int:
        return self.end.transmit(frames)

    def writable(self) -> None:
        self.end.writable()
