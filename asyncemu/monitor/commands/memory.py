# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's memory: how much there is, and parts of it into files.

Files are written in chunks by a worker thread while the guest runs on, if it runs, so that one does not get a snapshot:
stop the machine for that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final, Literal

from asyncemu.errors import GuestError
from asyncemu.machine import Machine
from asyncemu.memory import AddressSpace
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.errors import QmpError
from asyncemu.vcpu import VCpu
from asyncemu.vcpu.page_walk import PAGE, is_paged, translate
from asyncemu.wire_model import WireModel

#: Bytes of one system call: 10 ms of a slow disk.
CHUNK: Final = 1 << 20

_ADDRESS_MASK: Final = (1 << 64) - 1


class MemoryInfo(WireModel):
    """QEMU: MemoryInfo."""

    base_memory: int
    plugged_memory: int | None = None


class MemoryDeviceInfo(WireModel):
    """QEMU: MemoryDeviceInfo. No board takes any yet."""

    type: Literal["dimm", "nvdimm", "virtio-pmem", "virtio-mem", "sgx-epc"]


class MemsaveArguments(WireModel):
    """Of memsave."""

    #: Virtual address.
    val: int
    #: Bytes.
    size: int
    filename: str
    #: Whose address it is.
    cpu_index: int | None = None


class PmemsaveArguments(WireModel):
    """Of pmemsave."""

    #: Physical address.
    val: int
    #: Bytes.
    size: int
    filename: str


@command("query-memory-size-summary")
async def query_memory_size_summary(call: Call) -> MemoryInfo:
    """Bytes of RAM."""
    return MemoryInfo(base_memory=call.control.machine.ram.size)


@command("query-memory-devices")
async def query_memory_devices(call: Call) -> list[MemoryDeviceInfo]:
    """Memory that is a device."""
    return []


@command("pmemsave")
async def pmemsave(call: Call, arguments: PmemsaveArguments) -> None:
    """Physical memory, all of it RAM, into a file."""
    machine = call.control.machine
    start, size = arguments.val & _ADDRESS_MASK, arguments.size
    if size < 0:
        raise _invalid(start, size)
    await _save(machine, arguments.filename, [(start, size)] if size else [], start, size)


@command("memsave")
async def memsave(call: Call, arguments: MemsaveArguments) -> None:
    """Memory as a vCPU sees it now into a file."""
    machine = call.control.machine
    index = arguments.cpu_index or 0
    if not 0 <= index < len(machine.vcpus):
        raise QmpError("Parameter 'cpu-index' expects a CPU number")
    start, size = arguments.val & _ADDRESS_MASK, arguments.size
    if size < 0:
        raise _invalid(start, size)
    to_physical = await _translator(machine.memory, machine.vcpus[index])
    # More than there is would be the same pages, mapped again and again.
    if size > machine.ram.size:
        raise _invalid(start, size)
    # A walk through the page tables takes 2 µs a page: not for the loop's thread.
    pieces = await machine.context.worker_pool.run(_physical_pieces, to_physical, start, size)
    if pieces is None:
        raise _invalid(start, size)
    await _save(machine, arguments.filename, pieces, start, size)


async def _translator(memory: AddressSpace, vcpu: VCpu) -> Callable[[int], int | None]:
    registers = await vcpu.run_on_cpu(vcpu.cpu.registers)
    satp = registers["satp"]
    if not is_paged(satp, registers["priv"]):
        return lambda address: address

    def read(address: int) -> int | None:
        try:
            return int.from_bytes(memory.read(address, 8), "little")
        except GuestError:
            return None

    return lambda address: translate(read, satp, address)


def _physical_pieces(to_physical: Callable[[int], int | None], start: int, size: int) -> list[tuple[int, int]] | None:
    """(Physical address, bytes) of what lies at virtual addresses; None: some of it is not mapped."""
    pieces: list[tuple[int, int]] = []
    for address, length in _pages(start, size):
        physical = to_physical(address)
        if physical is None:
            return None
        if pieces and sum(pieces[-1]) == physical:
            pieces[-1] = (pieces[-1][0], pieces[-1][1] + length)
        else:
            pieces.append((physical, length))
    return pieces


def _pages(address: int, size: int) -> Iterator[tuple[int, int]]:
    """(Address, bytes) of the pages of a range."""
    while size:
        length = min(size, PAGE - address % PAGE)
        yield address, length
        address = (address + length) & _ADDRESS_MASK
        size -= length


async def _save(machine: Machine, filename: str, pieces: list[tuple[int, int]], start: int, size: int) -> None:
    """Write ``pieces`` (physical address, bytes) of RAM to a file. Raises QmpError."""
    try:
        views = [machine.memory.view(address, length) for address, length in pieces]
    except GuestError as error:
        raise _invalid(start, size) from error
    try:
        # One call, so that nobody closes the file while it is written.
        await machine.context.worker_pool.run(_write_file, filename, views)
    except ValueError as error:  # a zero in the name
        raise QmpError(f"Could not open '{filename}': {error}") from error


def _write_file(filename: str, views: list[memoryview]) -> None:
    try:
        descriptor = os.open(filename, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise QmpError(f"Could not open '{filename}': {error.strerror}") from error
    try:
        for view in views:
            rest = view
            while rest:
                rest = rest[os.write(descriptor, rest[:CHUNK]) :]
    except OSError as error:
        raise QmpError(f"writing memory to '{filename}' failed: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _invalid(start: int, size: int) -> QmpError:
    return QmpError(f"Invalid addr 0x{start:016x}/size {size} specified")
