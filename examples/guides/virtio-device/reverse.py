# SPDX-License-Identifier: GPL-2.0-or-later
"""Reverse: a virtio device that answers each request with the request's bytes reversed."""

from __future__ import annotations

from ctypes import LittleEndianStructure, c_uint32, c_uint64

from pydantic import Field

from asyncemu.errors import GuestError
from asyncemu.options import Options
from asyncemu.virtio import Chain, VirtioDevice, virtqueue


class ReverseConfig(LittleEndianStructure):
    """The configuration space."""

    _pack_ = 1
    _fields_ = (("max_request", c_uint32), ("unused", c_uint32), ("requests", c_uint64))


class ReverseOptions(Options):
    """Keys in vm.toml."""

    max_request: int = Field(default=4096, ge=1, le=65536, description="Bytes of a request at most.")


class Reverse(VirtioDevice[ReverseOptions], name="reverse", device_id=63):
    """Answers each request with its bytes reversed."""

    Config = ReverseConfig

    async def realize(self) -> None:
        self.config.max_request = self.options.max_request
        self.config_changed()

    @virtqueue(size=64)
    async def requestq(self, request: Chain) -> None:
        if request.readable.nbytes > self.options.max_request:
            raise GuestError(f"a request of {request.readable.nbytes} bytes, {self.options.max_request} allowed")
        request.written = request.writable.write(request.readable.tobytes()[::-1])
        self.config.requests += 1
        self.config_changed()
