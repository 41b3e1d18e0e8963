# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux's EFI zboot image."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from .builders import elf, gzip_pack, load, problem, riscv_image, zboot, zstd_pack

AGAIN = "copy or download the file again"


@pytest.mark.parametrize(
    ("compression", "pack"),
    [(b"gzip", gzip_pack), (b"zstd", zstd_pack), (b"zstd22", zstd_pack)],
)
def test_zboot_payload_is_unpacked(compression: bytes, pack: Callable[[bytes], bytes]) -> None:
    loaded = load(zboot(pack(riscv_image()), compression))
    assert (loaded.format, bytes(loaded.segments[0].data)) == ("riscv-image in efi-zboot", riscv_image())


def test_zboot_bytes_behind_payload_are_ignored() -> None:
    assert load(zboot(zstd_pack(riscv_image()), b"zstd") + bytes(600)).format == "riscv-image in efi-zboot"


def test_zboot_elf_payload_is_loaded() -> None:
    assert load(zboot(gzip_pack(elf()))).format == "elf in efi-zboot"


def test_zboot_one_byte_short_is_truncated() -> None:
    data = zboot(gzip_pack(riscv_image()))
    assert problem(data[:-1]) == (
        f"machine.kernel: vmlinux: truncated: ends at byte {len(data) - 1}, its gzip payload at byte {len(data)}; "
        + AGAIN
    )


def test_zboot_cut_in_header_is_truncated() -> None:
    assert problem(zboot(b"")[:63]) == (
        f"machine.kernel: vmlinux: truncated: ends at byte 63, its EFI zboot header at byte 64; {AGAIN}"
    )


def test_zboot_payload_size_too_small_is_truncated() -> None:
    payload = gzip_pack(riscv_image())
    assert problem(zboot(payload, size=len(payload) - 3)) == (
        f"machine.kernel: vmlinux: truncated: its gzip data do not end by byte {512 + len(payload) - 3}; {AGAIN}"
    )


def test_zboot_damaged_payload_names_the_offset_in_the_file() -> None:
    # Where between 512 and 520 depends on how far ahead Python's gzip reads.
    assert re.fullmatch(
        rf"machine.kernel: vmlinux: damaged gzip data before byte 5[12]\d: Not a gzipped file \(b'no'\); {AGAIN}",
        problem(zboot(b"not gzip")),
    )


@pytest.mark.parametrize(("compression", "shown"), [(b"xzkern", "xzkern"), (b"\xff\n", r"\\xff\n"), (b"", "")])
def test_zboot_other_compression_is_refused(compression: bytes, shown: str) -> None:
    assert problem(zboot(b"payload", compression)) == (
        f"machine.kernel: vmlinux: is compressed with '{shown}' (byte 24), not gzip or zstd; give the unpacked Image"
    )


def test_zboot_in_zboot_is_refused() -> None:
    inner = zboot(gzip_pack(riscv_image()))
    assert problem(zboot(gzip_pack(inner))) == "machine.kernel: vmlinux: is compressed twice; unpack it first"


def test_zboot_for_arm64_is_refused() -> None:
    payload = riscv_image(magic=bytes(8), magic2=b"ARM\x64")
    assert problem(zboot(gzip_pack(payload))) == (
        "machine.kernel: vmlinux: is an Image for arm64; give a kernel for riscv64"
    )
