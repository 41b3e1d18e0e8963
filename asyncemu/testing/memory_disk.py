# SPDX-License-Identifier: GPL-2.0-or-later
"""MemoryDisk: a disk in memory that tests look into, hold up and make fail.

    disk = await graph.add(MemoryDisk, MemoryDiskOptions(size=1 << 20), "disk0")
    disk.driver.errors["preadv"] = errno.EIO     # the next and all further reads fail
    disk.driver.gate.clear()                     # requests wait, until gate.set()
    disk.driver.inject(Fault("pwritev", nth=3))  # the third write fails; see disk_faults.py

Importing this module makes the driver name ``memory`` known to vm.toml.
"""

from __future__ import annotations

import asyncio
import os

from asyncemu.block.driver import BlockDriver, BlockDriverOptions
from asyncemu.block.iovec import aligned
from asyncemu.block.types import Preallocation
from asyncemu.loop import home
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option
from asyncemu.size import Size
from asyncemu.testing.disk_faults import Fault


class MemoryDiskOptions(BlockDriverOptions):
    """Keys of the ``memory`` driver."""

    size: Size = option(default=1 << 20, description="Size of the disk.")
    request_alignment: int = option(default=1, ge=1, description="Offsets and lengths that it insists on, in bytes.")
    memory_alignment: int = option(
        default=1, ge=1, description="Buffer addresses that it insists on, in bytes; a page at most."
    )
    growable: bool = option(default=False, description="Writes past the end make it longer, as they do a file.")


class MemoryDisk(BlockDriver[MemoryDiskOptions], name="memory"):
    """Its contents are ``data``; ``requests`` lists what it was asked, in order, as (method, offset, length).

    AssertionError when the runtime breaks its promises: alignment, bounds, requests after close.
    """

    async def open(self) -> int:
        """The size in bytes; the contents are zero."""
        self.data = bytearray(self.options.size)
        self.limits.request_alignment = self.options.request_alignment
        self.limits.memory_alignment = self.options.memory_alignment
        self.growable = self.options.growable
        #: Cleared, requests wait at their beginning until it is set; in the node's home, both.
        self.gate = asyncio.Event()
        self.gate.set()
        #: Method name → errno that it fails with.
        self.errors: dict[str, int] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, int, int]] = []
        self.closed = False
        return len(self.data)

    @home
    def inject(self, fault: Fault) -> Fault:
        """Let ``fault`` happen from now on, behind those that are there; it is returned."""
        self.faults.append(fault)
        return fault

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        length = buffers.nbytes
        await self._begin("preadv", offset, length, buffers)
        # The last block may reach past the end: zeroes there.
        buffers.write(bytes(self.data[offset : offset + length]).ljust(length, b"\0"))

    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        data = buffers.tobytes()
        await self._begin("pwritev", offset, len(data), buffers)
        self._store(offset, data)

    async def flush(self) -> None:
        await self._begin("flush", 0, 0)

    async def discard(self, offset: int, length: int) -> None:
        await self._begin("discard", offset, length)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        await self._begin("write_zeroes", offset, length)
        self._store(offset, bytes(length))

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        """What is new is zero."""
        await self._begin("truncate", 0, 0)
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))
        return size

    def has_zero_init(self) -> bool:
        """It is."""
        return True

    async def attach_context(self) -> None:
        """The gate is the loop's where it was waited for."""
        was_open = self.gate.is_set()
        self.gate = asyncio.Event()
        if was_open:
            self.gate.set()

    async def close(self) -> None:
        """``data`` stays readable."""
        assert not self.closed, "closed twice"
        self.closed = True

    def _store(self, offset: int, data: bytes) -> None:
        if self.growable:
            self.data.extend(bytes(max(offset + len(data) - len(self.data), 0)))
        kept = data[: len(self.data) - offset]
        self.data[offset : offset + len(kept)] = kept

    async def _begin(self, method: str, offset: int, length: int, buffers: Buffers | None = None) -> None:
        self.requests.append((method, offset, length))
        alignment = self.limits.request_alignment
        assert not self.closed, "request after close"
        assert not (offset % alignment or length % alignment), f"{method} of {length} bytes at {offset} is not aligned"
        room = -(-len(self.data) // alignment) * alignment
        grows = self.growable and method in ("pwritev", "write_zeroes")
        assert offset >= 0 and (grows or offset + length <= room), f"{method} out of bounds"
        if buffers is not None and self.limits.memory_alignment > 1:
            assert aligned(buffers, self.limits.memory_alignment, alignment), f"{method}: buffers are not aligned"
        if not self.gate.is_set():
            await self.gate.wait()
        if method in self.errors:
            raise OSError(self.errors[method], os.strerror(self.errors[method]))
        fault = next((each for each in self.faults if each.fits(method, offset, length)), None)
        if fault is not None:
            if fault.stored and method == "pwritev" and buffers is not None:
                self._store(offset, buffers.tobytes()[: fault.stored])
            await fault.strike()
