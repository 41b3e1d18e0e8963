# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtio device of your own: it answers each request with the request's bytes reversed.

In vm.toml (the path is relative to that file):

    [[device]]
    plugin = "examples/reverse.py:Reverse"
    delay-ms = 10

The runtime owns the queue, the negotiation, reset, interrupts and a hostile driver; what is left is below. Requests
are handled several at a time: while one sleeps, the next begins.
"""

from __future__ import annotations

import asyncio
from ctypes import LittleEndianStructure, c_uint32, c_uint64
from typing import Final

from pydantic import Field

from asyncemu.errors import GuestError
from asyncemu.options import Options
from asyncemu.virtio import Chain, VirtioDevice, virtqueue

#: Bytes of a request at most. The guest chooses the length, and reversing takes a copy.
MAX_REQUEST: Final = 64 * 1024


class ReverseConfig(LittleEndianStructure):
    """The configuration space: what the driver may want to know."""

    _pack_ = 1
    _fields_ = (("max_request", c_uint32), ("unused", c_uint32), ("requests", c_uint64))


class ReverseOptions(Options):
    """Keys in vm.toml."""

    delay_ms: int = Field(default=0, ge=0, description="Time that each answer takes, in ms.")


class Reverse(VirtioDevice[ReverseOptions], name="reverse", device_id=63):
    """Answers each request with its bytes reversed."""

    Config = ReverseConfig

    async def realize(self) -> None:
        self.config.max_request = MAX_REQUEST
        self.config_changed()

    @virtqueue(size=64, on_reset="cancel")
    async def requestq(self, request: Chain) -> None:
        """Device-readable bytes, then as much room for the answer."""
        if request.readable.nbytes > MAX_REQUEST:
            # Whoever breaks the rules gets NEEDS_RESET, and the machine lives on.
            raise GuestError(f"a request of {request.readable.nbytes} bytes, {MAX_REQUEST} allowed")
        if self.options.delay_ms:
            await asyncio.sleep(self.options.delay_ms / 1000)
        request.written = request.writable.write(request.readable.tobytes()[::-1])
        self.config.requests += 1
        self.config_changed()
