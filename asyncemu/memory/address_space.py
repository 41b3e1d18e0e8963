# SPDX-License-Identifier: GPL-2.0-or-later
"""AddressSpace: what lies where in a machine's physical memory, and the door through which devices reach RAM.

The map is made while the machine is built and does not change while it runs; looking things up needs no lock.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import NamedTuple, Protocol

from asyncemu.errors import GuestError
from asyncemu.loop import any_thread
from asyncemu.memory.buffers import Buffers
from asyncemu.memory.ram import GuestRam

#: Called with (guest physical address, length in bytes) after a device has written there. Any thread.
WriteListener = Callable[[int, int], None]


class MmioHandler(Protocol):
    """What answers a guest's accesses to a region. vCPU threads call it; ``size`` is 1, 2, 4 or 8 bytes."""

    def mmio_read(self, offset: int, size: int) -> int:
        """The value at ``offset`` into the region."""

    def mmio_write(self, offset: int, size: int, value: int) -> None:
        """Take ``value`` at ``offset`` into the region."""


class RamRegion(NamedTuple):
    """RAM at [base, base + ram.size)."""

    base: int
    ram: GuestRam
    name: str = "ram"

    @property
    def size(self) -> int:
        """Bytes."""
        return self.ram.size


class MmioRegion(NamedTuple):
    """A device's registers at [base, base + size)."""

    base: int
    size: int
    handler: MmioHandler
    name: str


class AddressSpace:
    """Regions of guest physical memory that do not overlap."""

    def __init__(self) -> None:
        self._bases: list[int] = []
        self._regions: list[RamRegion | MmioRegion] = []
        self._listeners: list[WriteListener] = []
        # The RAM that nearly every access is for.
        self._ram: memoryview = memoryview(b"")
        self._ram_base = 0
        self._ram_size = 0

    # ---- building

    def add_ram(self, base: int, ram: GuestRam, name: str = "ram") -> RamRegion:
        """Map RAM. ValueError when it overlaps what is there."""
        region = RamRegion(base, ram, name)
        self._add(region)
        if ram.size > self._ram_size:
            self._ram, self._ram_base, self._ram_size = ram.view, base, ram.size
        return region

    def add_mmio(self, base: int, size: int, handler: MmioHandler, name: str) -> MmioRegion:
        """Map registers. ValueError when they overlap what is there."""
        region = MmioRegion(base, size, handler, name)
        self._add(region)
        return region

    def _add(self, region: RamRegion | MmioRegion) -> None:
        if region.size <= 0 or region.base < 0:
            raise ValueError(f"{region.name}: {region.size} bytes at {region.base:#x} is no region")
        index = bisect.bisect(self._bases, region.base)
        for other in self._regions[max(0, index - 1) : index + 1]:
            if region.base < other.base + other.size and other.base < region.base + region.size:
                raise ValueError(
                    f"{region.name} at {region.base:#x}+{region.size:#x} overlaps "
                    f"{other.name} at {other.base:#x}+{other.size:#x}"
                )
        self._bases.insert(index, region.base)
        self._regions.insert(index, region)

    @property
    def regions(self) -> tuple[RamRegion | MmioRegion, ...]:
        """All regions, by address."""
        return tuple(self._regions)

    @any_thread
    def find(self, address: int) -> RamRegion | MmioRegion | None:
        """The region that ``address`` lies in."""
        index = bisect.bisect(self._bases, address) - 1
        if index < 0:
            return None
        region = self._regions[index]
        return region if address < region.base + region.size else None

    # ---- DMA

    @any_thread
    def view(self, address: int, length: int) -> memoryview:
        """``length`` bytes of RAM from ``address`` on, writable, without a copy.

        Raises GuestError unless all of it lies in one RAM region. Who writes into the view says so with ``written``.
        """
        offset = address - self._ram_base
        if offset >= 0 and 0 <= length <= self._ram_size - offset:
            return self._ram[offset : offset + length]
        region = self.find(address)
        if isinstance(region, RamRegion) and 0 <= length <= region.base + region.size - address:
            offset = address - region.base
            return region.ram.view[offset : offset + length]
        raise GuestError(f"{length} bytes at {address:#x} are not in guest RAM")

    @any_thread
    def written(self, address: int, length: int) -> None:
        """A device has written here: dirty logs and translated code take note. Before the guest is told of the data."""
        for listener in self._listeners:
            listener(address, length)

    def on_write(self, listener: WriteListener) -> None:
        """Call ``listener`` for every write by a device (dirty tracking, code-cache invalidation)."""
        self._listeners.append(listener)

    @any_thread
    def read(self, address: int, length: int) -> bytes:
        """A copy of ``length`` bytes of RAM. Raises GuestError."""
        return self.view(address, length).tobytes()

    @any_thread
    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write RAM as a device does. Raises GuestError."""
        self.view(address, len(data))[:] = data
        self.written(address, len(data))

    @any_thread
    def buffers(self, ranges: list[tuple[int, int]]) -> Buffers:
        """Views of several (address, length) ranges, in order. Raises GuestError."""
        return Buffers([self.view(address, length) for address, length in ranges])
