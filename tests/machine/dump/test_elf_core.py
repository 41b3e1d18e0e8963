# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands before the memory in a core file, read by pyelftools."""

from __future__ import annotations

import struct
from io import BytesIO

from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.machine.dump.elf_core import ALIGNMENT, prologue

#: Registers with values that tell where they are.
HART = {"pc": 0x8020_0000, **{f"x{number}": 0x100 + number for number in range(32)}}

ranges_of_memory = st.lists(st.tuples(st.integers(0, (1 << 56) - 1), st.integers(1, 1 << 40)), min_size=1, max_size=8)


@given(ranges=ranges_of_memory, harts=st.integers(0, 4))
def test_prologue_memory_is_where_the_segments_say(ranges: list[tuple[int, int]], harts: int) -> None:
    begin = prologue(ranges, [HART] * harts)
    core = ELFFile(BytesIO(begin))
    offset = len(begin)

    assert (core["e_type"], core["e_machine"], offset % ALIGNMENT) == ("ET_CORE", "EM_RISCV", 0)
    for segment, (address, size) in zip(core.iter_segments("PT_LOAD"), ranges, strict=True):
        assert (segment["p_paddr"], segment["p_filesz"], segment["p_memsz"]) == (address, size, size)
        assert segment["p_offset"] == offset
        assert segment["p_align"] == 0 or segment["p_offset"] % segment["p_align"] == address % segment["p_align"]
        offset += size


def test_prologue_has_a_status_note_for_each_hart() -> None:
    core = ELFFile(BytesIO(prologue([(0, 1)], [HART, {**HART, "pc": 7}])))
    (segment,) = core.iter_segments("PT_NOTE")
    assert isinstance(segment, NoteSegment)
    notes = list(segment.iter_notes())

    assert [(note["n_name"], note["n_type"], note["n_descsz"]) for note in notes] == [("CORE", "NT_PRSTATUS", 376)] * 2
    statuses = [note["n_descdata"] for note in notes]
    assert [struct.unpack_from("<I", status, 32)[0] for status in statuses] == [1, 2]
    assert struct.unpack_from("<32Q", statuses[0], 112) == (0x8020_0000, *range(0x101, 0x120))
    assert struct.unpack_from("<Q", statuses[1], 112) == (7,)
