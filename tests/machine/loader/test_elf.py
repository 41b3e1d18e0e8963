# SPDX-License-Identifier: GPL-2.0-or-later
"""ELF executables."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncemu.machine.loader import load_kernel

from .builders import RAM, elf, load, problem, program_header

OPENSBI = Path("/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_jump.elf")  # Debian's package opensbi
AGAIN = "copy or download the file again"
ANEW = "link it anew"


def test_elf_one_segment_goes_to_its_physical_address() -> None:
    loaded = load(elf())
    assert (loaded.entry, loaded.end, loaded.format) == (0x8000_0000, 0x8000_0800, "elf")


def test_elf_segment_has_its_bytes_and_bss() -> None:
    data = elf()
    (segment,) = load(data).segments
    assert (segment.address, bytes(segment.data), segment.memory_size) == (0x8000_0000, data[1024:2048], 2048)


def test_elf_data_are_not_copied() -> None:
    data = elf()
    assert load(data).segments[0].data.obj is data


def test_elf_segments_are_sorted() -> None:
    high, low = program_header(0x8000_2000, 0, 16, 16), program_header(0x8000_0000, 0, 16, 16)
    loaded = load(elf(high, low))
    assert [segment.address for segment in loaded.segments] == [0x8000_0000, 0x8000_2000]


def test_elf_virtual_entry_becomes_physical() -> None:
    header = program_header(0x8020_0000, 1024, 1024, 1024, virtual=0xFFFF_FFFF_8000_0000)
    assert load(elf(header, entry=0xFFFF_FFFF_8000_0010)).entry == 0x8020_0010


def test_elf_other_program_headers_and_empty_segments_are_skipped() -> None:
    note = b"\x04" + program_header(0, 1 << 40, 1, 1)[1:]
    loaded = load(elf(note, program_header(0, 0, 0, 0), program_header(0x8000_0000, 0, 16, 16)))
    assert len(loaded.segments) == 1


def test_elf_position_independent_is_accepted() -> None:
    assert load(elf(kind=3)).format == "elf"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (elf(machine=62), "64-bit little-endian ELF file for EM_X86_64"),
        (elf(machine=243, ident=b"\x7fELF\x01\x01\x01"), "32-bit little-endian ELF file for EM_RISCV"),
        (elf(machine=0x1500, ident=b"\x7fELF\x02\x02\x01"), "64-bit big-endian ELF file for EM_PPC64"),
        (elf(machine=0xF00D), "64-bit little-endian ELF file for 61453"),
    ],
)
def test_elf_for_another_machine_is_refused(data: bytes, kind: str) -> None:
    assert problem(data) == f"machine.kernel: vmlinux: is a {kind}; build it for riscv64"


def test_elf_object_file_is_refused() -> None:
    assert problem(elf(kind=1)) == (
        "machine.kernel: vmlinux: is of type ET_REL, not an executable; give a linked executable"
    )


def test_elf_cut_in_header_is_truncated() -> None:
    assert problem(elf()[:63]) == (
        f"machine.kernel: vmlinux: truncated: ends at byte 63, its ELF header at byte 64; {AGAIN}"
    )


def test_elf_cut_in_program_headers_is_truncated() -> None:
    assert problem(elf()[:119]) == (
        f"machine.kernel: vmlinux: truncated: ends at byte 119, its program headers at byte 120; {AGAIN}"
    )


def test_elf_cut_in_segment_is_truncated() -> None:
    assert problem(elf()[:2047]) == (
        f"machine.kernel: vmlinux: truncated: ends at byte 2047, its segment for 0x80000000 at byte 2048; {AGAIN}"
    )


def test_elf_cut_behind_segments_is_accepted() -> None:
    assert load(elf()[:2048]).format == "elf"


def test_elf_without_segments_is_refused() -> None:
    assert problem(elf(count=0)) == ("machine.kernel: vmlinux: has no segment to load; give a linked executable")


def test_elf_too_many_program_headers_are_refused() -> None:
    assert problem(elf(count=129)) == f"machine.kernel: vmlinux: has 129 program headers, more than 128; {ANEW}"


def test_elf_odd_program_header_size_is_refused() -> None:
    assert problem(elf(entry_size=32)) == f"machine.kernel: vmlinux: has program headers of 32 bytes, not 56; {ANEW}"


def test_elf_segment_larger_in_file_is_refused() -> None:
    assert problem(elf(program_header(0x8000_0000, 0, 16, 8))) == (
        f"machine.kernel: vmlinux: its segment for 0x80000000 is larger in the file than in memory; {ANEW}"
    )


def test_elf_overlapping_segments_are_refused() -> None:
    data = elf(program_header(0x8000_0000, 0, 16, 17), program_header(0x8000_0010, 0, 16, 16))
    assert problem(data) == f"machine.kernel: vmlinux: two of its segments overlap at 0x80000010; {ANEW}"


def test_elf_entry_outside_is_refused() -> None:
    assert problem(elf(entry=0x8000_0800)) == (
        "machine.kernel: vmlinux: its entry 0x80000800 lies in none of its segments; link it with an entry point"
    )


def test_elf_below_ram_is_refused() -> None:
    assert problem(elf(program_header(0x10000, 0, 16, 16))) == (
        "machine.kernel: vmlinux: a segment wants to be at 0x10000, below the RAM at 0x80000000; "
        "link it for this machine, or give a Linux Image"
    )


def test_elf_past_ram_says_how_much_is_needed() -> None:
    assert problem(elf(program_header(RAM.stop - 16, 0, 16, 17))) == (
        "machine.kernel: vmlinux: a segment needs 1MiB at 0x80fffff0, but RAM ends at 0x81000000; "
        "raise machine.memory to 17MiB or more"
    )


@pytest.mark.skipif(not OPENSBI.exists(), reason="needs opensbi")
def test_elf_opensbi_equals_its_flat_binary() -> None:
    (segment,) = load_kernel(OPENSBI, load_address=RAM.start, memory=RAM).segments
    assert bytes(segment.data) == OPENSBI.with_suffix(".bin").read_bytes()
