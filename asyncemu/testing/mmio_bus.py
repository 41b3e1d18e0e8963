# SPDX-License-Identifier: GPL-2.0-or-later
"""MmioBus: a guest CPU's accesses to an address space, without a guest.

A register may make a vCPU wait for the device's home loop. So the accesses run on a thread of their own, which counts
as a vCPU thread, and tests await them: the loop is free to serve the device meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from asyncemu.loop import vcpu_thread
from asyncemu.loop.markers import enter_vcpu_thread
from asyncemu.memory import AddressSpace, MmioRegion, RamRegion
from asyncemu.testing.interrupt import IrqRecorder

ResultT = TypeVar("ResultT")


class MmioBus:
    """One vCPU's way to memory. Accesses are done in the order in which they were begun; two buses are two vCPUs."""

    def __init__(self, memory: AddressSpace) -> None:
        self.memory = memory
        self._thread = ThreadPoolExecutor(1, "test-vcpu", enter_vcpu_thread)

    def close(self) -> None:
        """End the thread; close the devices' posted queues before, lest it waits there."""
        self._thread.shutdown()

    async def run(self, access: Callable[[], ResultT]) -> ResultT:
        """``access()`` on the vCPU's thread: several reads and writes without a turn of the loop between them."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, access)

    def run_blocking(self, access: Callable[[], ResultT]) -> ResultT:
        """As ``run``, but the loop stands still meanwhile: what is posted is still waiting when this returns.

        An access that waits for the device's home never ends here.
        """
        return self._thread.submit(access).result()

    async def read(self, address: int, size: int) -> int:
        """The value of ``size`` bytes (1, 2, 4 or 8) at ``address``. LookupError where nothing is."""
        return await self.run(lambda: self.read_now(address, size))

    async def write(self, address: int, size: int, value: int) -> None:
        """Write ``size`` bytes at ``address``; posted consequences may still be on their way."""
        await self.run(lambda: self.write_now(address, size, value))

    async def read32(self, address: int) -> int:
        """A 32-bit read."""
        return await self.read(address, 4)

    async def write32(self, address: int, value: int) -> None:
        """A 32-bit write."""
        await self.write(address, 4, value)

    @vcpu_thread
    def read_now(self, address: int, size: int) -> int:
        """For ``run``: the access itself."""
        region = self._region(address)
        if isinstance(region, RamRegion):
            return int.from_bytes(self.memory.read(address, size), "little")
        return region.handler.mmio_read(address - region.base, size)

    @vcpu_thread
    def write_now(self, address: int, size: int, value: int) -> None:
        """For ``run``: the access itself."""
        region = self._region(address)
        if isinstance(region, RamRegion):
            self.memory.write(address, value.to_bytes(size, "little"))
        else:
            region.handler.mmio_write(address - region.base, size, value)

    def _region(self, address: int) -> RamRegion | MmioRegion:
        region = self.memory.find(address)
        if region is None:
            raise LookupError(f"nothing is at {address:#x}")
        return region


class DeviceRegisters:
    """The registers of one device on a bus, by their offsets, and its interrupt."""

    def __init__(self, bus: MmioBus, base: int, irq: IrqRecorder) -> None:
        self.bus = bus
        self.base = base
        self.irq = irq

    async def read(self, offset: int, size: int) -> int:
        """``size`` bytes at ``offset``."""
        return await self.bus.read(self.base + offset, size)

    async def write(self, offset: int, size: int, value: int) -> None:
        """Write ``size`` bytes at ``offset``."""
        await self.bus.write(self.base + offset, size, value)

    async def read8(self, offset: int) -> int:
        """An 8-bit read."""
        return await self.read(offset, 1)

    async def write8(self, offset: int, value: int) -> None:
        """An 8-bit write."""
        await self.write(offset, 1, value)

    async def read32(self, offset: int) -> int:
        """A 32-bit read."""
        return await self.read(offset, 4)

    async def write32(self, offset: int, value: int) -> None:
        """A 32-bit write."""
        await self.write(offset, 4, value)

    async def write32_all(self, *writes: tuple[int, int]) -> None:
        """Several 32-bit writes, as (offset, value), with no turn of the loop between them."""

        def write_all() -> None:
            for offset, value in writes:
                self.bus.write_now(self.base + offset, 4, value)

        await self.bus.run(write_all)

    async def select32(self, select: int, value: int, offset: int) -> int:
        """Write ``value`` to ``select``, and read ``offset``, whose meaning that has chosen; at once."""

        def access() -> int:
            self.bus.write_now(self.base + select, 4, value)
            return self.bus.read_now(self.base + offset, 4)

        return await self.bus.run(access)

    async def read64(self, offset: int) -> int:
        """A 64-bit read."""
        return await self.read(offset, 8)

    async def write64(self, offset: int, value: int) -> None:
        """A 64-bit write."""
        await self.write(offset, 8, value)
