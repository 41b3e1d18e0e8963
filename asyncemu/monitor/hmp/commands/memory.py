# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest memory: shown, summed up, written to files."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from asyncemu.monitor.hmp.arguments import FileName, Flag, Format, FormatOf, Number
from asyncemu.monitor.hmp.disassembly import load_disassembler, read_instruction
from asyncemu.monitor.hmp.guest_memory import Reader, on_vcpu, physical_reader, translator, virtual_reader
from asyncemu.monitor.hmp.items import line_size, line_text
from asyncemu.monitor.hmp.scanner import LineFault
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import hmp_command

_MASK: Final = (1 << 64) - 1
#: Lines read at once: a vCPU is out of the guest for less than a millisecond.
_LINES_AT_ONCE: Final = 64
#: Bytes read at once, and at most, by ``sum``: some seconds of a worker thread.
_SUM_CHUNK: Final = 64 * 1024
_SUM_LIMIT: Final = 16 << 20


@hmp_command("x", "/fmt addr", "virtual memory dump starting at 'addr'")
async def dump_virtual(session: Session, format: FormatOf, address: Number) -> None:
    """Memory as the vCPU sees it."""
    await _dump(session, await virtual_reader(session, format.size), format, address & _MASK)


@hmp_command("xp", "/fmt addr", "physical memory dump starting at 'addr'")
async def dump_physical(session: Session, format: FormatOf, address: Number) -> None:
    """Physical memory, and registers of devices."""
    await _dump(session, physical_reader(session, format.size), format, address & _MASK)


async def _dump(session: Session, read: Reader, format: Format, address: int) -> None:
    if format.letter == "i":
        await _disassemble(session, read, format.count, address)
        return
    left, step = format.count * format.size, line_size(format.letter, format.size)
    while left:
        lines = [
            ((address + offset) & _MASK, min(step, left - offset))
            for offset in range(0, min(left, step * _LINES_AT_ONCE), step)
        ]
        found = await on_vcpu(session, partial(_read_all, read, lines))
        for (start, length), data in zip(lines, found, strict=True):
            if data is None:
                session.print(f"{start:016x}: Cannot access memory\n")
                return
            session.print(line_text(start, data, format.letter, format.size))
            left -= length
        address = (address + step * len(lines)) & _MASK


async def _disassemble(session: Session, read: Reader, count: int, address: int) -> None:
    line = load_disassembler()
    while count:
        found = await on_vcpu(session, partial(_read_instructions, read, address, min(count, _LINES_AT_ONCE)))
        for code in found:
            if code is None:
                session.print(f"0x{address:016x}: Cannot access memory\n")
                return
            session.print(line(address, code))
            address = (address + len(code)) & _MASK
        count -= len(found)


def _read_instructions(read: Reader, address: int, count: int) -> list[bytes | None]:
    """``count`` of them; fewer only when the last one can't be read."""
    found: list[bytes | None] = []
    while len(found) < count:
        code = read_instruction(read, address)
        found.append(code)
        if code is None:
            break
        address = (address + len(code)) & _MASK
    return found


def _read_all(read: Reader, lines: list[tuple[int, int]]) -> list[bytes | None]:
    return [read(address, length) for address, length in lines]


@hmp_command("sum", "addr size", "compute the checksum of a memory region")
async def checksum(session: Session, start: Number, size: Number) -> None:
    """BSD's 16-bit checksum of physical memory; 0 to 65535."""
    if not 0 <= size <= _SUM_LIMIT:
        raise LineFault(f"size must be 0 to {_SUM_LIMIT}")
    read, total, address = physical_reader(session), 0, start & _MASK
    while size:
        length = min(size, _SUM_CHUNK)
        data = await on_vcpu(session, partial(read, address, length))
        if data is None:
            raise LineFault(f"{address:016x}: Cannot access memory")
        total = await session.context.worker_pool.run(_add_up, total, data)
        address = (address + length) & _MASK
        size -= length
    session.print(f"{total:05d}\n")


def _add_up(total: int, data: bytes) -> int:
    for byte in data:
        total = (total >> 1 | total << 15) & 0xFFFF
        total = total + byte & 0xFFFF
    return total


@hmp_command("gva2gpa", "addr", "print the guest physical address corresponding to a guest virtual address")
async def virtual_to_physical(session: Session, addr: Number) -> None:
    """Through the page tables that the vCPU uses now."""
    physical = (await translator(session))(addr & _MASK)
    session.print("Unmapped\n" if physical is None else f"gpa: {physical:#x}\n")


@hmp_command("memsave", "addr size file", "save to disk virtual memory dump starting at 'addr' of size 'size'")
async def memsave(session: Session, val: Number, size: Number, filename: FileName) -> None:
    """QMP: memsave."""
    await session.qmp("memsave", val=val, size=size, filename=filename, cpu_index=session.cpu_index)


@hmp_command("pmemsave", "addr size file", "save to disk physical memory dump starting at 'addr' of size 'size'")
async def pmemsave(session: Session, val: Number, size: Number, filename: FileName) -> None:
    """QMP: pmemsave."""
    await session.qmp("pmemsave", val=val, size=size, filename=filename)


@hmp_command(
    "dump-guest-memory",
    "[-p] [-d] filename [begin length]",
    "dump guest memory into file 'filename'.\n"
    "\t\t\t-p: do paging to get guest's memory mapping.\n"
    "\t\t\t-d: return immediately (do not wait for completion).\n"
    "\t\t\tbegin: the starting physical address.\n"
    "\t\t\tlength: the memory size, in bytes.",
)
async def dump_guest_memory(
    session: Session,
    paging: Annotated[bool, Flag("p")],
    detach: Annotated[bool, Flag("d")],
    filename: FileName,
    begin: Number | None = None,
    length: Number | None = None,
) -> None:
    """QMP: dump-guest-memory."""
    await session.qmp(
        "dump-guest-memory",
        paging=paging,
        detach=detach,
        protocol=f"file:{filename}",
        begin=begin,
        length=length,
    )


@hmp_command("info dump", "", "Display the latest dump status")
async def info_dump(session: Session) -> None:
    """QMP: query-dump."""
    found = await session.qmp("query-dump")
    session.print(f"Status: {found['status']}\n")
    if found["status"] == "active":
        session.print(f"Finished: {100.0 * found['completed'] / found['total']:.2f} %\n")
