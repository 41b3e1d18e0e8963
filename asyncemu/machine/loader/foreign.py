# SPDX-License-Identifier: GPL-2.0-or-later
"""What users are likely to give as a kernel and can't be booted: to be named, rather than run as a raw binary."""

from __future__ import annotations

from dataclasses import dataclass

from asyncemu.machine.loader.pe import MZ, parse_pe
from asyncemu.machine.loader.source import Source

_GIVE_RISCV = "give a kernel for riscv64"


@dataclass(frozen=True, slots=True)
class _Known:
    offset: int
    magic: bytes
    problem: str
    remedy: str


# Sources: Linux, Documentation/arch/x86/boot.rst and Documentation/arch/arm64/booting.rst;
# Devicetree Specification 5.2; U-Boot, include/image.h; XZ file format 2.1.1.1; bzip2, LZ4 and LZOP by their magic.
_KNOWN = (
    _Known(0x202, b"HdrS", "is a bzImage for x86", _GIVE_RISCV),
    _Known(56, b"ARM\x64", "is an Image for arm64", _GIVE_RISCV),
    _Known(0, b"\xd0\x0d\xfe\xed", "is a device tree or FIT image", "give the kernel that is in it"),
    _Known(0, b"\x27\x05\x19\x56", "is a U-Boot uImage", "give the kernel that is in it"),
    _Known(0, b"\xfd7zXZ\0", "is compressed with xz", "unpack it first"),
    _Known(0, b"BZh", "is compressed with bzip2", "unpack it first"),
    _Known(0, b"\x02\x21\x4c\x18", "is compressed with lz4", "unpack it first"),
    _Known(0, b"\x04\x22\x4d\x18", "is compressed with lz4", "unpack it first"),
    _Known(0, b"\x89LZO", "is compressed with lzop", "unpack it first"),
    _Known(0, b"070701", "is a cpio archive", "give it as machine.initrd"),
)


def refuse(source: Source) -> None:
    """Raises ConfigError if the file is one of those; returns otherwise."""
    for known in _KNOWN:
        if source.data[known.offset : known.offset + len(known.magic)] == known.magic:
            raise source.error(known.problem, known.remedy)
    if source.data[:2] == MZ:
        raise source.error(f"is an EFI application for {parse_pe(source).machine}, not a Linux Image", _GIVE_RISCV)
