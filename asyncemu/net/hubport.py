# SPDX-License-Identifier: GPL-2.0-or-later
"""hubport: a port of a hub, for a device or for another netdev. QEMU: -netdev hubport."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from asyncemu.errors import ConfigError
from asyncemu.net import port as ports
from asyncemu.net.backend import NetBackend
from asyncemu.net.frame import Frames
from asyncemu.net.hub import HubPort, hub_of
from asyncemu.options import Options
from asyncemu.plugins import Reference


class HubportOptions(Options):
    """Options of hubport."""

    hubid: int = Field(ge=0, le=(1 << 31) - 1, description="Number of the hub.")
    netdev: Annotated[str, Reference("netdev")] = Field(
        default="", description="A netdev to plug in; without one, a device names this hubport as its netdev."
    )

    def home_group(self) -> str:
        """The ports of a hub live together."""
        return f"hub {self.hubid}"


class Hubport(NetBackend[HubportOptions], name="hubport"):
    """``end`` is the hub's side of it."""

    description = "A port of a hub, for a device or for another netdev."

    has_vnet_header = True

    netdev: NetBackend[Any]
    end: HubPort | None = None

    async def connect(self) -> None:
        if self.options.netdev:
            if len(self.netdev.ports) > 1:
                raise ConfigError(self.id, f"netdev {self.netdev.id!r} has several queues", "use one without")
            try:
                ports.connect(self, self.netdev)
            except ValueError as error:
                raise ConfigError(self.id, str(error)) from error
        self.end = HubPort(hub_of(self.clocks, self.options.hubid), self)

    async def disconnect(self) -> None:
        if self.end is not None:
            self.end.leave()
            self.end = None
        if self.options.netdev and self.peer is self.netdev:
            ports.disconnect(self)

    def transmit(self, frames: Frames) -> int:
        return self.end.arrived(frames) if self.end is not None else len(frames)

    def writable(self) -> None:
        if self.end is not None:
            self.end.writable()

    def link_changed(self) -> None:
        if self.end is not None and not self.carrier:
            self.end.unplugged()

    def peer_offloads(self, checksum: bool, tcpv4: bool, tcpv6: bool, ecn: bool, udp: bool) -> None:
        if self.end is not None:
            self.end.set_offloads((checksum, tcpv4, tcpv6, ecn, udp))
