# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux's Image for RISC-V, with or without an EFI stub.

Source: Linux, Documentation/arch/riscv/boot-image-header.rst and boot.rst.
"""

from __future__ import annotations

import struct

from asyncemu.machine.loader.pe import MZ, parse_pe
from asyncemu.machine.loader.placement import LoadedImage, Placement, Segment, align_up
from asyncemu.machine.loader.source import Source

FORMAT = "riscv-image"
# boot.rst, "Kernel location": a PMD boundary, 2 MiB on rv64.
ALIGNMENT = 2 << 20

# (code0, code1), text_offset, image_size, flags, (version, res1, res2, magic, magic2, res3)
_HEADER = struct.Struct("<8xQQQ32x")
_MAGIC = b"RISCV\0\0\0"  # deprecated by header version 0.2, and all that version 0.1 has
_MAGIC_AT = 48
_MAGIC2 = b"RSC\x05"
_MAGIC2_AT = 56
_BIG_ENDIAN = 1 << 0


def matches(data: memoryview) -> bool:
    return data[_MAGIC2_AT : _MAGIC2_AT + 4] == _MAGIC2 or data[_MAGIC_AT : _MAGIC_AT + 8] == _MAGIC


def parse(source: Source, placement: Placement) -> LoadedImage:
    """The Image goes ``text_offset`` above the start of RAM, or to the load address where that is higher.

    That a file is truncated shows in the section table of its EFI stub; without a stub nothing in it tells its length,
    since ``image_size`` counts the bss.
    Raises ConfigError for a truncated, big-endian, 32-bit or sizeless Image and for one that does not fit into RAM.
    """
    data = source.data
    if len(data) < _HEADER.size:
        raise source.truncated(_HEADER.size, "Image header")
    text_offset, image_size, flags = _HEADER.unpack_from(data)
    if data[:2] == MZ:
        pe = parse_pe(source)
        if pe.machine != "riscv64":
            raise source.error(f"is an Image for {pe.machine}", "give a kernel for riscv64")
        if pe.raw_end > len(data):
            raise source.truncated(pe.raw_end, "sections")
    if flags & _BIG_ENDIAN:
        raise source.error("is a big-endian Image (flags at byte 24)", "give a little-endian kernel")
    if image_size == 0:
        raise source.error("has no image_size (byte 16), which booting needs", "give a kernel of Linux 5.3 or later")
    address = align_up(max(placement.load_address, placement.memory.start + text_offset), ALIGNMENT)
    memory_size = max(image_size, len(data))
    placement.check(source, address, memory_size, "the kernel")
    segment = Segment(address, data, memory_size)
    return LoadedImage(address, (segment,), segment.end, FORMAT)
