# SPDX-License-Identifier: GPL-2.0-or-later
"""Datagrams: a network back end that sends each frame as a UDP datagram to another machine, and takes its."""

from __future__ import annotations

import asyncio
import socket

from pydantic import Field

from asyncemu.loop import AioContext, Clocks
from asyncemu.net import Frames, NetBackend
from asyncemu.options import Options


class DatagramsOptions(Options):
    """Keys in vm.toml."""

    port: int = Field(ge=0, le=65535, description="UDP port of this end; 0: any.")
    peer: int = Field(ge=1, le=65535, description="UDP port of the other end.")
    host: str = Field(default="127.0.0.1", description="Address of both.")


class Datagrams(NetBackend[DatagramsOptions], name="datagrams"):
    """A cable made of UDP."""

    def __init__(self, options: DatagramsOptions, id: str, context: AioContext, clocks: Clocks) -> None:
        super().__init__(options, id, context, clocks)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    async def connect(self) -> None:
        self.socket.setblocking(False)
        try:
            self.socket.bind((self.options.host, self.options.port))
            self.socket.connect((self.options.host, self.options.peer))
        except OSError as error:
            raise self.failed(error, f"bind to {self.options.host}:{self.options.port}") from error

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                frame = await loop.sock_recv(self.socket, 65535)
            except ConnectionRefusedError:
                continue  # nobody has listened there when something was sent; perhaps later
            await self.deliver(frame)

    def transmit(self, frames: Frames) -> None:
        for frame in frames:
            try:
                self.socket.send(frame.tobytes())
            except OSError:
                pass  # Ethernet may lose frames

    async def disconnect(self) -> None:
        self.socket.close()
