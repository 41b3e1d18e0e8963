# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are known and can't be booted."""

from __future__ import annotations

import bz2
import lzma

import pytest

from .builders import pe_stub, problem, riscv_image

RISCV = "give a kernel for riscv64"
BZIMAGE = riscv_image(magic=bytes(8), magic2=bytes(4), pe=pe_stub(0x8664))[:0x202] + b"HdrS" + bytes(100)
ARM64 = riscv_image(magic=bytes(8), magic2=b"ARM\x64", pe=pe_stub(0xAA64))
EFI = riscv_image(magic=bytes(8), magic2=bytes(4), pe=pe_stub(0x5064))
EFI_ODD = riscv_image(magic=bytes(8), magic2=bytes(4), pe=pe_stub(0x1234))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (BZIMAGE, f"is a bzImage for x86; {RISCV}"),
        (ARM64, f"is an Image for arm64; {RISCV}"),
        (EFI, f"is an EFI application for riscv64, not a Linux Image; {RISCV}"),
        (EFI_ODD, f"is an EFI application for machine 0x1234, not a Linux Image; {RISCV}"),
        (b"\xd0\x0d\xfe\xed" + bytes(36), "is a device tree or FIT image; give the kernel that is in it"),
        (b"\x27\x05\x19\x56" + bytes(60), "is a U-Boot uImage; give the kernel that is in it"),
        (lzma.compress(b"x"), "is compressed with xz; unpack it first"),
        (bz2.compress(b"x"), "is compressed with bzip2; unpack it first"),
        (b"\x02\x21\x4c\x18", "is compressed with lz4; unpack it first"),
        (b"\x04\x22\x4d\x18", "is compressed with lz4; unpack it first"),
        (b"\x89LZO\0\r\n\x1a\n", "is compressed with lzop; unpack it first"),
        (b"070701" + bytes(104), "is a cpio archive; give it as machine.initrd"),
    ],
)
def test_foreign_file_is_named(data: bytes, told: str) -> None:
    assert problem(data) == f"machine.kernel: vmlinux: {told}"


def test_foreign_efi_application_cut_short_is_truncated() -> None:
    assert problem(b"MZ") == (
        "machine.kernel: vmlinux: truncated: ends at byte 2, its EFI application's DOS header at byte 64; "
        "copy or download the file again"
    )
