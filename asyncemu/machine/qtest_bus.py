# SPDX-License-Identifier: GPL-2.0-or-later
"""QtestBus: a test protocol's way to memory and registers, where a machine has no CPU.

RAM is reached in place. A register may make a CPU wait for the device's home loop; so registers are reached on a thread
of their own, which counts as a vCPU thread, one access after the other, while the loop is free to serve the device.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from asyncemu.loop import vcpu_thread
from asyncemu.loop.markers import enter_vcpu_thread
from asyncemu.memory import AddressSpace, MmioRegion, RamRegion

ResultT = TypeVar("ResultT")

#: Bytes of each access to registers when more are read or written at once, as in QEMU.
BLOCK_ACCESS: Final = 4


class QtestBus:
    """Reads and writes anywhere, little endian. Where nothing is, zero is read and what is written is lost.

    ``widest`` is how many bytes of registers one access has at most: what begins at an odd place, or crosses the end of
    a region, is several narrower ones, as much of each as is aligned.
    """

    def __init__(self, memory: AddressSpace) -> None:
        self._memory = memory
        self._thread = ThreadPoolExecutor(1, "qtest", enter_vcpu_thread)
        self._job: Future[Any] | None = None
        self._closing = False

    async def read(self, address: int, size: int, widest: int = BLOCK_ACCESS) -> bytes:
        """``size`` bytes from ``address`` on."""
        if self._in_ram(address, size):
            return self._memory.read(address, size)
        return await self._on_thread(lambda: self._read_now(address, size, widest))

    async def write(self, address: int, data: bytes, widest: int = BLOCK_ACCESS) -> None:
        """Write ``data`` at ``address``; posted consequences may still be on their way."""
        if self._in_ram(address, len(data)):
            self._memory.write(address, data)
        else:
            await self._on_thread(lambda: self._write_now(address, data, widest))

    async def close(self) -> None:
        """End the thread, when the access that it is at is done; what makes it wait is released before, or soon."""
        self._closing = True
        if self._job is not None and not self._job.done():
            await asyncio.wait([asyncio.wrap_future(self._job)])
        self._thread.shutdown()

    async def _on_thread(self, function: Callable[[], ResultT]) -> ResultT:
        job = self._thread.submit(function)
        self._job = job
        # Shielded: an access that has begun is done to its end, whoever has lost interest.
        return await asyncio.shield(asyncio.wrap_future(job))

    @vcpu_thread
    def _read_now(self, address: int, size: int, widest: int) -> bytes:
        data = bytearray(size)
        for region, start, length in self._pieces(address, size, widest):
            if isinstance(region, RamRegion):
                piece = self._memory.read(start, length)
            elif region is not None:
                value = region.handler.mmio_read(start - region.base, length)
                piece = value.to_bytes(length, "little")
            else:
                continue
            data[start - address : start - address + length] = piece
        return bytes(data)

    @vcpu_thread
    def _write_now(self, address: int, data: bytes, widest: int) -> None:
        for region, start, length in self._pieces(address, len(data), widest):
            piece = data[start - address : start - address + length]
            if isinstance(region, RamRegion):
                self._memory.write(start, piece)
            elif region is not None:
                region.handler.mmio_write(start - region.base, length, int.from_bytes(piece, "little"))

    def _in_ram(self, address: int, size: int) -> bool:
        region = self._memory.find(address)
        return isinstance(region, RamRegion) and address + size <= region.base + region.size

    def _pieces(self, address: int, size: int, widest: int) -> Iterator[tuple[RamRegion | MmioRegion | None, int, int]]:
        """(region or nothing, address, length) of each access, until ``close``."""
        end = address + size
        while address < end and not self._closing:
            region = self._memory.find(address)
            if region is None:
                length = min((each.base for each in self._memory.regions if each.base > address), default=end) - address
            else:
                length = region.base + region.size - address
            length = min(length, end - address)
            if isinstance(region, MmioRegion):
                length = _aligned(address - region.base, length, widest)
            yield region, address, length
            address += length


def _aligned(offset: int, length: int, widest: int) -> int:
    """The widest access at ``offset``: a power of two up to ``widest`` and ``length``, aligned."""
    return min(widest, 1 << length.bit_length() - 1, offset & -offset or widest)
