# SPDX-License-Identifier: GPL-2.0-or-later
"""ELF executables: firmware, bare-metal programs, kernels linked at physical addresses.

Source: System V ABI, "ELF Header" and "Program Header"; RISC-V ELF psABI. The layout of both headers is pyelftools'.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from asyncemu.machine.loader.placement import LoadedImage, Placement, Segment
from asyncemu.machine.loader.source import Source

FORMAT = "elf"
# Linkers write under ten. Arbitrary, but keeps a hostile file from having 65,535 pieces copied.
MAX_PROGRAM_HEADERS = 128

_MAGIC = b"\x7fELF"
_HEADER_SIZE = 64
_PROGRAM_HEADER_SIZE = 56
_CLASS_AT, _CLASS_64 = 4, 2
_DATA_AT, _DATA_LITTLE_ENDIAN = 5, 1


def matches(data: memoryview) -> bool:
    return data[:4] == _MAGIC


def parse(source: Source, placement: Placement) -> LoadedImage:
    """Each PT_LOAD segment goes to its p_paddr, wherever the load address is.

    The entry is e_entry, moved along with its segment where that has different virtual and physical addresses.
    Raises ConfigError for a truncated or malformed file, one for another machine, and one that does not fit into RAM.
    """
    header, program_headers = _read_headers(source)
    loaded = [(ph, _load(source, placement, ph)) for ph in program_headers if ph.p_type == "PT_LOAD" and ph.p_memsz]
    if not loaded:
        raise source.error("has no segment to load", "give a linked executable")
    segments = sorted((segment for _, segment in loaded), key=lambda segment: segment.address)
    for low, high in pairwise(segments):
        if low.end > high.address:
            raise source.error(f"two of its segments overlap at {high.address:#x}", "link it anew")
    entry = _physical_entry(source, header.e_entry, loaded)
    return LoadedImage(entry, tuple(segments), segments[-1].end, FORMAT)


def _read_headers(source: Source) -> tuple[Any, Sequence[Any]]:
    # Imported here: 20 ms that only the reader of an ELF should pay.
    from elftools.common.exceptions import ELFError
    from elftools.common.utils import struct_parse
    from elftools.elf.structs import ELFStructs

    data = source.data
    if len(data) < _HEADER_SIZE:
        raise source.truncated(_HEADER_SIZE, "ELF header")
    bits = 64 if data[_CLASS_AT] == _CLASS_64 else 32
    little_endian = data[_DATA_AT] == _DATA_LITTLE_ENDIAN
    # The class only matters behind e_type and e_machine.
    structs = ELFStructs(little_endian=little_endian, elfclass=64)
    structs.create_basic_structs()
    try:
        header: Any = struct_parse(structs.Elf_Ehdr, io.BytesIO(data[:_HEADER_SIZE]))
        if (header.e_machine, bits, little_endian) != ("EM_RISCV", 64, True):
            kind = f"{bits}-bit {'little' if little_endian else 'big'}-endian"
            raise source.error(f"is a {kind} ELF file for {header.e_machine}", "build it for riscv64")
        if header.e_type not in ("ET_EXEC", "ET_DYN"):
            raise source.error(f"is of type {header.e_type}, not an executable", "give a linked executable")
        count, table = header.e_phnum, header.e_phoff
        if count > MAX_PROGRAM_HEADERS:
            raise source.error(f"has {count} program headers, more than {MAX_PROGRAM_HEADERS}", "link it anew")
        if count and header.e_phentsize != _PROGRAM_HEADER_SIZE:
            raise source.error(
                f"has program headers of {header.e_phentsize} bytes, not {_PROGRAM_HEADER_SIZE}", "link it anew"
            )
        table_end = table + count * _PROGRAM_HEADER_SIZE
        if table_end > len(data):
            raise source.truncated(table_end, "program headers")
        structs.create_advanced_structs(header.e_type, header.e_machine, header.e_ident.EI_OSABI)
        stream = io.BytesIO(data[table:table_end])
        return header, [struct_parse(structs.Elf_Phdr, stream) for _ in range(count)]
    except ELFError as error:
        raise source.error(f"has a malformed ELF header: {error}", "link it anew") from error


def _load(source: Source, placement: Placement, ph: Any) -> Segment:
    file_end = ph.p_offset + ph.p_filesz
    if file_end > len(source.data):
        raise source.truncated(file_end, f"segment for {ph.p_paddr:#x}")
    if ph.p_filesz > ph.p_memsz:
        raise source.error(f"its segment for {ph.p_paddr:#x} is larger in the file than in memory", "link it anew")
    placement.check(source, ph.p_paddr, ph.p_memsz, "a segment")
    return Segment(ph.p_paddr, source.data[ph.p_offset : file_end], ph.p_memsz)


def _physical_entry(source: Source, entry: int, loaded: Sequence[tuple[Any, Segment]]) -> int:
    for ph, segment in loaded:
        if ph.p_vaddr <= entry < ph.p_vaddr + ph.p_memsz:
            return int(entry - ph.p_vaddr + segment.address)
    raise source.error(f"its entry {entry:#x} lies in none of its segments", "link it with an entry point")
