# SPDX-License-Identifier: GPL-2.0-or-later
"""A network back end of your own: frames over a TCP connection, as QEMU's `-netdev socket` sends them.

In vm.toml (the path is relative to that file), with `qemu-system-... -netdev socket,listen=:1234,id=n` at the other
end:

    [[netdev]]
    id = "net0"
    plugin = "examples/net_backend.py:TcpWire"
    port = 1234

The runtime owns the link, its state, filters and offloads; what is left is below.
"""

from __future__ import annotations

import asyncio
import errno

from pydantic import Field

from asyncemu.errors import NetError
from asyncemu.net import Frames, NetBackend
from asyncemu.net.frame import MAX_FRAME
from asyncemu.options import Options

#: Bytes that wait for the peer at most. Ethernet may lose frames.
MAX_WAITING = 1 << 20


class TcpWireOptions(Options):
    """Keys in vm.toml."""

    host: str = Field(default="127.0.0.1", description="Where the peer listens.")
    port: int = Field(ge=1, le=65535, description="At which port.")


class TcpWire(NetBackend[TcpWireOptions], name="tcp-wire"):
    """A cable to another machine: each frame goes behind its length, four bytes."""

    _writer: asyncio.StreamWriter | None = None

    async def connect(self) -> None:
        try:
            self._reader, self._writer = await asyncio.open_connection(self.options.host, self.options.port)
        except OSError as error:
            raise self.failed(error, f"connect to {self.options.host}:{self.options.port}") from error

    async def run(self) -> None:
        try:
            while (length := int.from_bytes(await self._reader.readexactly(4), "big")) <= MAX_FRAME:
                await self.deliver(await self._reader.readexactly(length))
        except (EOFError, ConnectionError) as error:
            raise NetError(self.id, errno.ECONNRESET) from error
        raise NetError(self.id, errno.EMSGSIZE)

    def transmit(self, frames: Frames) -> None:
        if self._writer is not None and self._writer.transport.get_write_buffer_size() < MAX_WAITING:
            self._writer.writelines(frame.nbytes.to_bytes(4, "big") + frame.tobytes() for frame in frames)

    async def disconnect(self) -> None:
        if self._writer is not None:
            self._writer.close()
