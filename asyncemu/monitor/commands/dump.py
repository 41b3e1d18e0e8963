# SPDX-License-Identifier: GPL-2.0-or-later
"""Core dumps of the guest (machine/dump)."""

from __future__ import annotations

import os
from typing import Final, Literal

from asyncemu.machine import Machine
from asyncemu.machine.dump.guest_dump import DumpQueryResult
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.monitor import DescriptorHolder
from asyncemu.wire_model import WireModel

Format = Literal["elf", "kdump-zlib", "kdump-lzo", "kdump-snappy", "win-dmp"]

_FILE: Final = "file:"
_DESCRIPTOR: Final = "fd:"


class DumpGuestMemoryArguments(WireModel):
    """Of dump-guest-memory."""

    #: With the guest's virtual addresses: as in QEMU, there is no such dump of a riscv64 guest, and it changes nothing.
    paging: bool
    #: "file:NAME", or "fd:NAME" of a descriptor that came by getfd.
    protocol: str
    #: Answer at once; DUMP_COMPLETED tells when it is done.
    detach: bool = False
    #: Only physical memory from here on, ``length`` bytes.
    begin: int | None = None
    length: int | None = None
    format: Format = "elf"


class DumpGuestMemoryCapability(WireModel):
    """QEMU: DumpGuestMemoryCapability."""

    formats: list[Format]


@command("dump-guest-memory")
async def dump_guest_memory(call: Call, arguments: DumpGuestMemoryArguments) -> None:
    """The guest stands still, its registers and memory go into a core file, and it goes on if it ran."""
    machine = call.control.machine
    if machine.dump.active:
        raise QmpError("There is a dump in process, please wait.")
    begin, length = arguments.begin, arguments.length
    if begin is not None and length is None:
        raise QmpError("Parameter 'length' is missing")
    if length is not None and begin is None:
        raise QmpError("Parameter 'begin' is missing")
    if arguments.format != "elf":
        if arguments.paging or begin is not None:
            raise QmpError("kdump-compressed format doesn't support paging or filter")
        raise QmpError(f"{arguments.format} is not available now")
    ranges = machine.dump.ranges(begin, length or 0)
    descriptor = await _open(machine, call, arguments.protocol)
    machine.dump.begin(descriptor, ranges)
    if not arguments.detach:
        await machine.dump.wait()


@command("query-dump")
async def query_dump(call: Call) -> DumpQueryResult:
    """How far the dump is, or what has become of the last one."""
    return call.control.machine.dump.query()


@command("query-dump-guest-memory-capability")
async def query_dump_guest_memory_capability(call: Call) -> DumpGuestMemoryCapability:
    """The formats that there are."""
    return DumpGuestMemoryCapability(formats=["elf"])


async def _open(machine: Machine, call: Call, protocol: str) -> int:
    """The file to write to, the caller's to close. Raises QmpError."""
    if protocol.startswith(_DESCRIPTOR):
        name = protocol.removeprefix(_DESCRIPTOR)
        try:
            if isinstance(call.monitor, DescriptorHolder):
                return call.monitor.descriptors.take(name)
        except QmpError:
            pass
        raise QmpError(f"File descriptor named '{name}' has not been found")
    if not protocol.startswith(_FILE):
        raise QmpError("Invalid parameter 'protocol'")
    name = protocol.removeprefix(_FILE)
    try:
        # A FIFO may keep the caller waiting for a reader.
        return await machine.context.worker_pool.run(_create, name)
    except OSError as error:
        raise QmpError(f"Could not open '{name}': {error.strerror}") from error
    except ValueError as error:  # a zero in the name
        raise QmpError(f"Could not open '{name}': {error}") from error


def _create(name: str) -> int:
    # The guest's memory is nobody else's business.
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
