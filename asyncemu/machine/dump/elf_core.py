# SPDX-License-Identifier: GPL-2.0-or-later
"""An ELF core file of a riscv64 guest: what stands before the memory itself. No I/O.

    ELF header | program headers: PT_NOTE, a PT_LOAD a range | notes: NT_PRSTATUS a hart | memory, range by range

As QEMU's dump-guest-memory has it: physical addresses, and no section headers. gdb, readelf and crash read it.
Sources: System V ABI, "ELF Header" and "Program Header"; core(5); Linux: struct elf_prstatus (include/linux/elfcore.h)
and user_regs_struct (arch/riscv/include/uapi/asm/ptrace.h).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final

# ELF: e_ident, e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize, e_phentsize, e_phnum,
# e_shentsize, e_shnum, e_shstrndx.
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_IDENT: Final = b"\x7fELF\x02\x01\x01" + bytes(9)  # 64 bits, little endian, version 1
_ET_CORE: Final = 4
_EM_RISCV: Final = 243

# p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align.
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_PT_LOAD: Final = 1
_PT_NOTE: Final = 4
_READ_WRITE_EXECUTE: Final = 7

# Size of the name with its zero, size of the contents, type; the name, padded to 4 bytes.
_NOTE: Final = struct.Struct("<III8s")
_NT_PRSTATUS: Final = 1

# struct elf_prstatus: what a dump of a machine has of it is the pid; 32 registers, pc in the place of x0; pr_fpvalid.
_STATUS: Final = struct.Struct("<32xI76x32QI4x")

#: Memory begins at a multiple of this in the file, so that it can be mapped; bytes.
ALIGNMENT: Final = 4096


def prologue(ranges: Sequence[tuple[int, int]], harts: Sequence[Mapping[str, int]]) -> bytes:
    """Everything before the memory: ``ranges`` (physical address, bytes) follow one behind the other.

    ``harts``: the registers of each, pc and x1 to x31 by name.
    """
    notes = b"".join(_note(number, registers) for number, registers in enumerate(harts, 1))
    note_offset = _HEADER.size + _SEGMENT.size * (1 + len(ranges))
    memory_offset = -(-(note_offset + len(notes)) // ALIGNMENT) * ALIGNMENT
    header = _HEADER.pack(
        _IDENT, _ET_CORE, _EM_RISCV, 1, 0, _HEADER.size, 0, 0, _HEADER.size, _SEGMENT.size, 1 + len(ranges), 0, 0, 0
    )
    segments = [_SEGMENT.pack(_PT_NOTE, 0, note_offset, 0, 0, len(notes), len(notes), 4)]
    offset = memory_offset
    for address, size in ranges:
        segments.append(
            _SEGMENT.pack(_PT_LOAD, _READ_WRITE_EXECUTE, offset, address, address, size, size, ALIGNMENT)
            if address % ALIGNMENT == offset % ALIGNMENT
            # p_align promises that address and offset are the same modulo it.
            else _SEGMENT.pack(_PT_LOAD, _READ_WRITE_EXECUTE, offset, address, address, size, size, 0)
        )
        offset += size
    return (header + b"".join(segments) + notes).ljust(memory_offset, b"\0")


def _note(number: int, registers: Mapping[str, int]) -> bytes:
    values = [registers["pc"], *(registers[f"x{index}"] for index in range(1, 32))]
    status = _STATUS.pack(number, *values, 0)
    return _NOTE.pack(len(b"CORE\0"), len(status), _NT_PRSTATUS, b"CORE") + status
