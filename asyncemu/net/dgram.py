# SPDX-License-Identifier: GPL-2.0-or-later
"""dgram: a wire to another emulator, or to many, with a datagram for each frame. QEMU: -netdev dgram.

local   remote           what it is
inet    inet             UDP between two addresses
unix    unix             unix datagrams between two sockets
fd                       a connected datagram socket
inet    inet, a group    UDP multicast; local, which may be left out, says on which interface; fd: joined already
"""

from __future__ import annotations

import ipaddress

from pydantic import Field, model_validator

from asyncemu.loop import AioContext, Clocks
from asyncemu.net.backend import NetBackend
from asyncemu.net.frame import Frames
from asyncemu.net.sockets.address import AddressOptions, Descriptor
from asyncemu.net.sockets.datagram_ends import DatagramEnd
from asyncemu.options import Options


class DgramOptions(Options):
    """Options of dgram."""

    local: AddressOptions | None = Field(default=None, description="Where frames come in: a table, or local.type...")
    remote: AddressOptions | None = Field(default=None, description="Where frames go: a table, or remote.type...")

    @model_validator(mode="after")
    def _consistent(self) -> DgramOptions:
        local, remote = self.local, self.remote
        if remote is not None and remote.type == "fd":
            raise ValueError("remote is an address, not an open descriptor")
        if remote is not None and _is_group(remote):
            if local is not None and local.type == "unix":
                raise ValueError("local is of type inet or fd where remote is a multicast address")
            return self
        if local is None:
            raise ValueError("needs local; only with a multicast address as remote it may be left out")
        if local.type == "fd":
            if remote is not None:
                raise ValueError("remote is not for a local of type fd")
        elif remote is None:
            raise ValueError(f"local of type {local.type!r} needs remote")
        elif remote.type != local.type:
            raise ValueError(f"local and remote are of different types: {local.type!r} and {remote.type!r}")
        return self


def _is_group(remote: AddressOptions) -> bool:
    try:
        return remote.type == "inet" and ipaddress.ip_address(remote.host).is_multicast
    except ValueError:
        # A name. As an address of its own it is one of two ends.
        return False


class Dgram(NetBackend[DgramOptions], name="dgram"):
    """``end.local``: where it is bound."""

    description = "A wire to another machine, or a group of them, with a datagram for each frame."

    has_vnet_header = True

    def __init__(self, options: DgramOptions, id: str, context: AioContext, clocks: Clocks) -> None:
        super().__init__(options, id, context, clocks)
        local = options.local.address() if options.local is not None else None
        remote = options.remote.address() if options.remote is not None else None
        assert not isinstance(remote, Descriptor)  # the options were checked
        self.end = DatagramEnd(self, local, remote)

    async def connect(self) -> None:
        await self.end.open()

    async def disconnect(self) -> None:
        self.end.close()

    def summary(self) -> str:
        end = self.end
        return f"dgram,udp={end.local}/{end.remote}" if end.local is not None else f"dgram,mcast={end.remote}"

    def transmit(self, frames: Frames) -> int:
        return self.end.transmit(frames)

    def writable(self) -> None:
        self.end.writable()
