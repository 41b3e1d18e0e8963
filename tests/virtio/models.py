# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices for tests of what all virtio devices have in common."""

from __future__ import annotations

import asyncio
from ctypes import LittleEndianStructure, c_uint8, c_uint32

from asyncemu.devices import Environment
from asyncemu.errors import GuestError
from asyncemu.options import Options
from asyncemu.virtio import Chain, VirtioDevice, buffer_queue, virtqueue

#: A feature bit of the model's type.
F_ODD = 1 << 5

#: A request with this text is one that a driver must not make, or that our code can't handle.
FORBIDDEN = b"forbidden"
BUG = b"bug"


class ModelConfig(LittleEndianStructure):
    """Six bytes: less than two registers."""

    _pack_ = 1
    _fields_ = (("number", c_uint32), ("low", c_uint8), ("high", c_uint8))


class Model(VirtioDevice[Options], name="model", device_id=42):
    """Answers with its input when ``gate`` is open; has queues of each kind."""

    FEATURES = F_ODD
    Config = ModelConfig

    inputq = buffer_queue(size=4)

    def __init__(self, options: Options, id: str, environment: Environment) -> None:
        super().__init__(options, id, environment)
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun: list[bytes] = []
        self.cancelled: list[bytes] = []
        self.config_writes: list[tuple[int, bytes]] = []
        self.activations = 0

    @virtqueue(size=8)
    async def echoq(self, request: Chain) -> None:
        await self._echo(request)

    @virtqueue(size=8, on_reset="cancel")
    async def cancelledq(self, request: Chain) -> None:
        try:
            await self._echo(request)
        except asyncio.CancelledError:
            self.cancelled.append(request.readable.tobytes())
            raise

    async def _echo(self, request: Chain) -> None:
        data = request.readable.tobytes()
        self.begun.append(data)
        if not self.gate.is_set():
            await self.gate.wait()
        if data == FORBIDDEN:
            raise GuestError("a request that is forbidden")
        if data == BUG:
            raise ZeroDivisionError("a bug")
        request.written = request.writable.write(data)

    def activated(self) -> None:
        self.activations += 1

    def write_config(self, offset: int, data: bytes) -> None:
        self.config_writes.append((offset, data))
        if offset == 4:
            self.config.low = data[0]
            self.config_changed()


INPUT, ECHO, CANCELLED = range(3)
