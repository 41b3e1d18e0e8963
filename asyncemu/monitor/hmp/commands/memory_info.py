# SPDX-License-Identifier: GPL-2.0-or-later
"""What lies where in guest memory."""

from __future__ import annotations

from typing import Annotated, Final

from asyncemu.memory import AddressSpace, RamRegion
from asyncemu.monitor.hmp.arguments import Flag
from asyncemu.monitor.hmp.guest_memory import table_reader
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import hmp_command
from asyncemu.vcpu.page_walk import Mapping, TooManyTables, is_paged, mappings

#: Page tables looked at: some 100 ms of a worker thread, and 2 GiB in pages of 4 KiB.
_MAX_TABLES: Final = 1024
#: Mappings shown. Arbitrary: nobody reads more.
_MAPPINGS: Final = 10_000
_ATTRIBUTES: Final = "rwxugad"


@hmp_command("info mtree", "[-f]", "show memory tree (-f: dump flat view for address spaces)")
async def info_mtree(session: Session, flat: Annotated[bool, Flag("f")] = False) -> None:
    """The map of physical memory: of our boards it is flat."""
    indent = "  " if flat else "    "
    lines = [
        f"{indent}{region.base:016x}-{region.base + region.size - 1:016x} (prio 0, "
        f"{'ram' if isinstance(region, RamRegion) else 'i/o'}): {region.name}\n"
        for region in session.machine.memory.regions
    ]
    if flat:
        session.print('FlatView #0\n AS "memory", root: system\n Root memory region: system\n')
    else:
        session.print(f"address-space: memory\n  {0:016x}-{(1 << 64) - 1:016x} (prio 0, i/o): system\n")
    session.print("".join(lines) + "\n")


@hmp_command(
    "info memory_size_summary",
    "",
    "show the amount of initially allocated and present hotpluggable (if enabled) memory in bytes.",
)
async def info_memory_size_summary(session: Session) -> None:
    """QMP: query-memory-size-summary."""
    found = await session.qmp("query-memory-size-summary")
    session.print(f"base memory: {found['base-memory']}\n")
    if "plugged-memory" in found:
        session.print(f"plugged memory: {found['plugged-memory']}\n")


@hmp_command("info memory-devices", "", "show memory devices")
async def info_memory_devices(session: Session) -> None:
    """QMP: query-memory-devices."""
    for each in await session.qmp("query-memory-devices"):
        session.print(f"Memory device [{each['type']}]\n")


@hmp_command("info mem", "", "show the active virtual memory mappings")
async def info_mem(session: Session) -> None:
    """Of the vCPU that is meant, at the privilege that it is at."""
    registers = await session.registers()
    if not is_paged(registers["satp"], registers["priv"]):
        session.print("No translation or protection\n")
        return
    session.print("vaddr            paddr            size             attr\n")
    session.print("---------------- ---------------- ---------------- -------\n")
    # Elsewhere, while the loop goes on.
    text = await session.context.worker_pool.run(_mappings_text, session.machine.memory, registers["satp"])
    session.print(text)


def _mappings_text(memory: AddressSpace, satp: int) -> str:
    lines: list[str] = []
    try:
        for mapping in mappings(table_reader(memory), satp, _MAX_TABLES):
            if len(lines) == _MAPPINGS:
                lines.append(f"(there are more than {_MAPPINGS} mappings)\n")
                break
            lines.append(_mapping_text(mapping))
    except TooManyTables:
        lines.append(f"(there are more than {_MAX_TABLES} page tables)\n")
    return "".join(lines)


def _mapping_text(mapping: Mapping) -> str:
    # V, the lowest bit, is set in all of them.
    attributes = "".join(
        letter if mapping.attributes >> bit & 1 else "-" for bit, letter in enumerate(_ATTRIBUTES, start=1)
    )
    return f"{mapping.virtual:016x} {mapping.physical:016x} {mapping.size:016x} {attributes}\n"
