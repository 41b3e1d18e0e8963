# SPDX-License-Identifier: GPL-2.0-or-later
"""Small valid files of each format, and the few lines that every test of a loader needs."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from backports import zstd

from asyncemu.errors import ConfigError
from asyncemu.machine.loader.detect import parse
from asyncemu.machine.loader.placement import LoadedImage, Placement
from asyncemu.machine.loader.source import Source

MIB = 1 << 20
RAM = range(0x8000_0000, 0x8000_0000 + 16 * MIB)
LOAD = 0x8020_0000
PATH = Path("vmlinux")


def source(data: bytes) -> Source:
    return Source("machine.kernel", PATH, memoryview(data))


def load(data: bytes) -> LoadedImage:
    return parse(source(data), Placement(LOAD, RAM))


def problem(data: bytes) -> str:
    """The one line that ``data`` is refused with."""
    with pytest.raises(ConfigError) as caught:
        load(data)
    text = str(caught.value)
    assert "\n" not in text
    return text


def pe_stub(machine: int = 0x5064, sections: list[tuple[int, int]] | None = None) -> bytes:
    """A PE header for byte 64 on; ``sections`` are (pointer, size) of raw data."""
    table = b"".join(struct.pack("<16xII16x", size, pointer) for pointer, size in sections or [])
    return struct.pack("<4sHH12xH2x", b"PE\0\0", machine, len(sections or []), 16) + bytes(16) + table


def riscv_image(
    *,
    size: int = 4096,
    text_offset: int = 0x20_0000,
    image_size: int = 8192,
    flags: int = 0,
    magic: bytes = b"RISCV\0\0\0",
    magic2: bytes = b"RSC\x05",
    pe: bytes = b"",
) -> bytes:
    """An Image of ``size`` bytes; with ``pe``, an EFI application."""
    start = b"MZ\0\0" if pe else b"\x6f\0\0\0"
    header = struct.pack(
        "<4s4xQQQIIQ8s4sI", start, text_offset, image_size, flags, 2, 0, 0, magic, magic2, 64 if pe else 0
    )
    return (header + pe).ljust(size, b"\xa5")


def efi_image(size: int = 4096, machine: int = 0x5064) -> bytes:
    return riscv_image(size=size, pe=pe_stub(machine, [(1024, 1024), (2048, size - 2048)]))


def zboot(payload: bytes, compression: bytes = b"gzip", offset: int = 512, size: int | None = None) -> bytes:
    size = len(payload) if size is None else size
    return struct.pack("<4s4sII8x32sII", b"MZ\0\0", b"zimg", offset, size, compression, 0, 64).ljust(offset) + payload


def zstd_pack(data: bytes) -> bytes:
    return zstd.compress(data)


def gzip_pack(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def program_header(address: int, offset: int, filesz: int, memsz: int, *, virtual: int | None = None) -> bytes:
    virtual = address if virtual is None else virtual
    return struct.pack("<IIQQQQQQ", 1, 7, offset, virtual, address, filesz, memsz, 8)


def elf(
    *program_headers: bytes,
    entry: int = 0x8000_0000,
    machine: int = 243,
    kind: int = 2,
    ident: bytes = b"\x7fELF\x02\x01\x01",
    count: int | None = None,
    table: int = 64,
    entry_size: int = 56,
    size: int = 4096,
) -> bytes:
    """An ELF file of ``size`` bytes; without program headers it gets one for the bytes from 1024 to 2048."""
    headers = program_headers or (program_header(0x8000_0000, 1024, 1024, 2048),)
    count = len(headers) if count is None else count
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, kind, machine, 1, entry, table, 0, 0, 64, entry_size, count, 64, 0, 0
    )
    return (header + b"".join(headers)).ljust(size, b"\xa5")
