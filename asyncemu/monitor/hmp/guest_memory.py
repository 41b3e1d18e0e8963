# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest memory as the monitor reads it: physical or as the vCPU sees it, RAM and registers of devices alike.

It is read on the vCPU's thread, outside the guest, as the guest itself would read it; a device's register may change by
being read. A machine without a vCPU has its RAM only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from asyncemu.memory import AddressSpace, MmioRegion, RamRegion
from asyncemu.monitor.hmp.session import Session
from asyncemu.vcpu.page_walk import PAGE, is_paged, translate

ResultT = TypeVar("ResultT")

#: Bytes at an address; None: not all of them can be read.
Reader = Callable[[int, int], bytes | None]
#: A virtual address to a physical one; None: it is not mapped.
Translator = Callable[[int], int | None]

#: The widest access that all devices take, bytes.
_WIDEST: Final = 4


def physical_reader(session: Session, item: int = 1) -> Reader:
    """Reads physical memory; registers by accesses of ``item`` bytes, or of 4. To be called by ``on_vcpu``."""
    memory, with_devices = session.machine.memory, session.vcpu is not None

    def read(address: int, length: int) -> bytes | None:
        return _read(memory, address, length, min(item, _WIDEST), with_devices)

    return read


async def virtual_reader(session: Session, item: int = 1) -> Reader:
    """Reads memory at virtual addresses, as the vCPU would now. Raises LineFault when there is none."""
    physical = physical_reader(session, item)
    to_physical = await translator(session)

    def read(address: int, length: int) -> bytes | None:
        pieces = []
        for start, size in _pages(address, length):
            target = to_physical(start)
            piece = None if target is None else physical(target, size)
            if piece is None:
                return None
            pieces.append(piece)
        return b"".join(pieces)

    return read


async def translator(session: Session) -> Translator:
    """From virtual to physical addresses, through the page tables as they are when it is called."""
    registers = await session.registers()
    satp = registers["satp"]
    if not is_paged(satp, registers["priv"]):
        return lambda address: address
    read = entry_reader(session.machine.memory)
    return lambda address: translate(read, satp, address)


def entry_reader(memory: AddressSpace) -> Callable[[int], int | None]:
    """Reads entries of page tables, which lie in RAM. Any thread."""

    def read(address: int) -> int | None:
        data = _read(memory, address, 8, 1, with_devices=False)
        return None if data is None else int(struct.unpack("<Q", data)[0])

    return read


def table_reader(memory: AddressSpace) -> Callable[[int], Sequence[int] | None]:
    """Reads whole page tables. Any thread."""

    def read(address: int) -> Sequence[int] | None:
        data = _read(memory, address, PAGE, 1, with_devices=False)
        return None if data is None else struct.unpack("<512Q", data)

    return read


async def on_vcpu(session: Session, function: Callable[[], ResultT]) -> ResultT:
    """``function()`` where memory is read: on the vCPU's thread, or here when there is none."""
    vcpu = session.vcpu
    return function() if vcpu is None else await vcpu.run_on_cpu(function)


def _pages(address: int, length: int) -> Iterator[tuple[int, int]]:
    """(Address, length) of the pieces of a range that lie in one page each."""
    while length:
        size = min(length, PAGE - address % PAGE)
        yield address, size
        address = (address + size) & ((1 << 64) - 1)
        length -= size


def _read(memory: AddressSpace, address: int, length: int, item: int, with_devices: bool) -> bytes | None:
    pieces = []
    while length:
        region = memory.find(address)
        if region is None:
            return None
        size = min(length, region.base + region.size - address)
        if isinstance(region, RamRegion):
            pieces.append(memory.read(address, size))
        elif with_devices:
            pieces.append(_read_registers(region, address - region.base, size, item))
        else:
            return None
        address += size
        length -= size
    return b"".join(pieces)


def _read_registers(region: MmioRegion, offset: int, length: int, item: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        at = offset + len(data)
        size = item
        # Aligned, and not beyond what was asked for.
        while at % size or size > length - len(data):
            size //= 2
        value = region.handler.mmio_read(at, size) & ((1 << 8 * size) - 1)
        data += value.to_bytes(size, "little")
    return bytes(data)
