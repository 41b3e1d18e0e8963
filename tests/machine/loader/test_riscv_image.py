# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux's Image for RISC-V."""

from __future__ import annotations

import pytest

from asyncemu.machine.loader.detect import parse
from asyncemu.machine.loader.placement import Placement

from .builders import LOAD, RAM, efi_image, load, pe_stub, problem, riscv_image, source

AGAIN = "copy or download the file again"


def test_image_plain_goes_to_load_address() -> None:
    loaded = load(riscv_image())
    assert (loaded.entry, loaded.end, loaded.format) == (LOAD, LOAD + 8192, "riscv-image")


def test_image_data_are_the_whole_file_and_bss_follows() -> None:
    data = riscv_image()
    (segment,) = load(data).segments
    assert (segment.address, bytes(segment.data), segment.memory_size) == (LOAD, data, 8192)


def test_image_data_are_not_copied() -> None:
    data = riscv_image()
    assert load(data).segments[0].data.obj is data


def test_image_longer_than_image_size_keeps_its_tail() -> None:
    assert load(riscv_image(size=4096, image_size=100)).end == LOAD + 4096


def test_image_text_offset_above_load_address_wins() -> None:
    assert load(riscv_image(text_offset=0x40_0000)).entry == 0x8040_0000


def test_image_text_offset_0_goes_to_load_address() -> None:
    image = parse(source(riscv_image(text_offset=0)), Placement(RAM.start, RAM))
    assert image.entry == RAM.start


def test_image_odd_load_address_is_raised_to_2_mib() -> None:
    image = parse(source(riscv_image(text_offset=0)), Placement(RAM.start + 0x8_0000, RAM))
    assert image.entry == 0x8020_0000


@pytest.mark.parametrize("magics", [(b"RISCV\0\0\0", b"\0\0\0\0"), (b"\0" * 8, b"RSC\x05")])
def test_image_either_magic_is_enough(magics: tuple[bytes, bytes]) -> None:
    assert load(riscv_image(magic=magics[0], magic2=magics[1])).format == "riscv-image"


def test_image_with_efi_stub_is_accepted() -> None:
    assert load(efi_image()).format == "riscv-image"


def test_image_with_efi_stub_one_byte_short_is_truncated() -> None:
    assert problem(efi_image()[:-1]) == (
        f"machine.kernel: vmlinux: truncated: ends at byte 4095, its sections at byte 4096; {AGAIN}"
    )


def test_image_cut_in_header_is_truncated() -> None:
    assert problem(riscv_image()[:60]) == (
        f"machine.kernel: vmlinux: truncated: ends at byte 60, its Image header at byte 64; {AGAIN}"
    )


def test_image_cut_in_pe_header_is_truncated() -> None:
    assert problem(efi_image()[:70]) == (
        f"machine.kernel: vmlinux: truncated: ends at byte 70, its EFI application's PE header at byte 88; {AGAIN}"
    )


def test_image_cut_in_section_table_is_truncated() -> None:
    assert problem(efi_image()[:150]) == (
        "machine.kernel: vmlinux: truncated: ends at byte 150, its EFI application's section table at byte 184; "
        + AGAIN
    )


def test_image_with_damaged_pe_signature_is_refused() -> None:
    assert problem(riscv_image(pe=b"XE\0\0" + pe_stub()[4:])) == (
        "machine.kernel: vmlinux: no PE signature at byte 64; give a kernel for riscv64"
    )


def test_image_for_riscv32_is_refused() -> None:
    assert problem(efi_image(machine=0x5032)) == (
        "machine.kernel: vmlinux: is an Image for riscv32; give a kernel for riscv64"
    )


def test_image_big_endian_is_refused() -> None:
    assert problem(riscv_image(flags=1)) == (
        "machine.kernel: vmlinux: is a big-endian Image (flags at byte 24); give a little-endian kernel"
    )


def test_image_without_image_size_is_refused() -> None:
    assert problem(riscv_image(image_size=0)) == (
        "machine.kernel: vmlinux: has no image_size (byte 16), which booting needs; give a kernel of Linux 5.3 or later"
    )


def test_image_larger_than_ram_says_how_much_is_needed() -> None:
    assert problem(riscv_image(image_size=38 << 20)) == (
        "machine.kernel: vmlinux: the kernel needs 38MiB at 0x80200000, but RAM ends at 0x81000000; "
        "raise machine.memory to 40MiB or more"
    )


def test_image_that_fills_ram_is_accepted() -> None:
    assert load(riscv_image(image_size=14 << 20)).end == RAM.stop
