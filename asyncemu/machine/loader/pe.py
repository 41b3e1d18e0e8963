# SPDX-License-Identifier: GPL-2.0-or-later
"""The PE/COFF header that makes a kernel an EFI application: its machine, and how long the file must be.

Source: Microsoft Portable Executable and Common Object File Format Specification, "File Headers" and "Section Table".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from asyncemu.machine.loader.source import Source

MZ = b"MZ"
DOS_HEADER_SIZE = 64
MACHINE_RISCV64 = 0x5064
MACHINES = {
    0x014C: "x86",
    0x01C2: "arm",
    0x01C4: "arm",
    0x5032: "riscv32",
    MACHINE_RISCV64: "riscv64",
    0x5068: "riscv128",
    0x6232: "loongarch32",
    0x6264: "loongarch64",
    0x8664: "x86-64",
    0xAA64: "arm64",
}

_PE_OFFSET = struct.Struct("<I")
_PE_OFFSET_AT = 0x3C
_SIGNATURE = b"PE\0\0"
# Signature, Machine, NumberOfSections, (TimeDateStamp, symbols), SizeOfOptionalHeader, (Characteristics)
_COFF = struct.Struct("<4sHH12xH2x")
# (Name, VirtualSize, VirtualAddress), SizeOfRawData, PointerToRawData, (the rest)
_SECTION = struct.Struct("<16xII16x")


@dataclass(frozen=True, slots=True)
class PeHeader:
    """``machine`` by name ("riscv64"); ``raw_end``: the last byte of the file that a section claims, plus one."""

    machine: str
    raw_end: int


def parse_pe(source: Source) -> PeHeader:
    """Read the header of a file that starts with MZ.

    Raises ConfigError if it ends inside of the header or is no PE file. ``raw_end`` may lie past the end of the file:
    it is then truncated, as far as its sections go.
    """
    data = source.data
    if len(data) < DOS_HEADER_SIZE:
        raise source.truncated(DOS_HEADER_SIZE, "EFI application's DOS header")
    (offset,) = _PE_OFFSET.unpack_from(data, _PE_OFFSET_AT)
    if offset + _COFF.size > len(data):
        raise source.truncated(offset + _COFF.size, "EFI application's PE header")
    signature, machine, section_count, optional_size = _COFF.unpack_from(data, offset)
    if signature != _SIGNATURE:
        raise source.error(f"no PE signature at byte {offset}", "give a kernel for riscv64")
    table = offset + _COFF.size + optional_size
    table_end = table + section_count * _SECTION.size
    if table_end > len(data):
        raise source.truncated(table_end, "EFI application's section table")
    sections = _SECTION.iter_unpack(data[table:table_end])
    raw_end = max((pointer + size for size, pointer in sections), default=0)
    return PeHeader(MACHINES.get(machine, f"machine {machine:#x}"), raw_end)
