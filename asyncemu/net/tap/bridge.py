# SPDX-License-Identifier: GPL-2.0-or-later
"""bridge: a port of a bridge of the host, opened by a helper that may do what we may not. QEMU: -netdev bridge.

The helper is a program with more rights than ours (setuid, or CAP_NET_ADMIN). It makes a tap device, puts it into the
bridge, and sends its descriptor over a unix socket; who may use which bridge is its own business (/etc/qemu/bridge.conf
for QEMU's). It is QEMU's helper by default, and any other with the same arguments will do:

    HELPER --use-vnet --fd=NUMBER --br=BRIDGE
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pydantic import Field

from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext, Clocks
from asyncemu.net.backend import NetBackend
from asyncemu.net.frame import Frames
from asyncemu.net.tap.device import NAME_SIZE, TapDevice, given_tap
from asyncemu.net.tap.queue import TapQueue
from asyncemu.net.tap.scripts import open_by_helper
from asyncemu.options import Options

#: QEMU's own, where it installs it (Debian, and from source).
HELPERS: Final = (Path("/usr/lib/qemu/qemu-bridge-helper"), Path("/usr/local/libexec/qemu-bridge-helper"))

#: QEMU: DEFAULT_BRIDGE_INTERFACE.
BRIDGE: Final = "br0"


class BridgeOptions(Options):
    """Options of bridge; QEMU's names."""

    br: str = Field(default=BRIDGE, min_length=1, max_length=NAME_SIZE - 1, description="The bridge to join.")
    helper: str = Field(default="", description="Program that opens the port for us; empty: QEMU's.")


class Bridge(NetBackend[BridgeOptions], name="bridge"):
    """``interface`` is the name of its tap device, once it is open."""

    description = "A port of a bridge of the host, by a helper with the rights for it."

    has_vnet_header = True

    def __init__(self, options: BridgeOptions, id: str, context: AioContext, clocks: Clocks) -> None:
        super().__init__(options, id, context, clocks)
        self.interface = ""
        self._helper = options.helper
        self._queue: TapQueue | None = None

    async def connect(self) -> None:
        tap = await self.context.worker_pool.run(self._open)
        self.interface = tap.name
        self._queue = TapQueue(self, tap)
        self._queue.start()

    def _open(self) -> TapDevice:
        """On a worker."""
        helper = self._helper = self.options.helper or _installed(self.id)
        fd = open_by_helper(helper, self.options.br, True, self.id)
        try:
            return given_tap(fd)
        except OSError as error:
            os.close(fd)
            raise ConfigError(self.id, f"what the bridge helper {helper} opened is not a tap device") from error

    async def disconnect(self) -> None:
        if self._queue is not None:
            self._queue.close()
            self._queue = None

    def summary(self) -> str:
        return f"bridge,helper={self._helper},br={self.options.br}"

    def transmit(self, frames: Frames) -> int:
        return self._queue.transmit(frames) if self._queue is not None else len(frames)

    def writable(self) -> None:
        if self._queue is not None:
            self._queue.writable()

    def peer_offloads(self, checksum: bool, tcpv4: bool, tcpv6: bool, ecn: bool, udp: bool) -> None:
        if self._queue is not None:
            self._queue.set_offload(checksum, tcpv4, tcpv6, ecn, udp)


def _installed(netdev: str) -> str:
    for path in HELPERS:
        if path.exists():
            return str(path)
    raise ConfigError(f"{netdev}.helper", "QEMU's bridge helper is not there", "install qemu-system, or name another")
