# SPDX-License-Identifier: GPL-2.0-or-later
"""Page tables made by hand, and what is found through them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.vcpu.page_walk import PAGE, Mapping, TooManyTables, is_paged, mappings, translate

#: Entry bits: readable, writable and valid; a pointer is valid only.
RW, POINTER = 0b111, 0b001
ROOT = 0x10000


class Tables:
    """Memory that holds nothing but page tables."""

    def __init__(self, mode: int = 8) -> None:
        self.entries: dict[int, int] = {}
        self.satp = mode << 60 | ROOT // PAGE

    def set(self, table: int, index: int, target: int, bits: int) -> None:
        self.entries[table + 8 * index] = (target // PAGE) << 10 | bits

    def read(self, address: int) -> int | None:
        return self.entries.get(address, 0) if address < 1 << 40 else None

    def read_table(self, address: int) -> Sequence[int]:
        return [self.entries.get(address + 8 * index, 0) for index in range(512)]

    def translate(self, address: int) -> int | None:
        return translate(self.read, self.satp, address)

    def mappings(self, max_tables: int = 100) -> list[Mapping]:
        return list(mappings(self.read_table, self.satp, max_tables))


@pytest.fixture
def tables() -> Tables:
    """Sv39: two pages at 0x1000, a page at the top of all, 2 MiB at 0x400000, 1 GiB at 0x80000000."""
    tables = Tables()
    tables.set(ROOT, 0, 0x20000, POINTER)
    tables.set(0x20000, 0, 0x30000, POINTER)
    tables.set(0x30000, 1, 0x5000, RW)
    tables.set(0x30000, 2, 0x6000, RW)
    tables.set(0x20000, 2, 0xA00000, RW)
    tables.set(ROOT, 2, 0x80000000, RW)
    tables.set(ROOT, 511, 0x40000, POINTER)
    tables.set(0x40000, 511, 0x50000, POINTER)
    tables.set(0x50000, 511, 0x7000, RW)
    return tables


@pytest.mark.parametrize(
    ("virtual", "physical"),
    [
        (0x1234, 0x5234),
        (0x2FFF, 0x6FFF),
        (0x400123, 0xA00123),
        (0x80123456, 0x80123456),
        (0xFFFF_FFFF_FFFF_F008, 0x7008),
        (0x3000, None),
        (0x0, None),
        (0x7F_FFFF_F008, None),
        (0x40_0000_0000, None),
    ],
)
def test_translate_finds_the_page_or_nothing(tables: Tables, virtual: int, physical: int | None) -> None:
    assert tables.translate(virtual) == physical


def test_translate_superpage_that_is_not_aligned_is_nothing(tables: Tables) -> None:
    tables.set(ROOT, 3, 0xC0001000, RW)

    assert tables.translate(0xC0000000) is None


def test_translate_pointer_to_nowhere_is_nothing(tables: Tables) -> None:
    tables.set(ROOT, 3, 1 << 45, POINTER)

    assert tables.translate(0xC0000000) is None


@pytest.mark.parametrize(("mode", "levels"), [(8, 3), (9, 4), (10, 5)])
def test_translate_walks_as_many_levels_as_the_mode_has(mode: int, levels: int) -> None:
    tables = Tables(mode)
    for level in range(levels):
        bits = RW if level == levels - 1 else POINTER
        tables.set(ROOT + level * PAGE, 1, ROOT + (level + 1) * PAGE, bits)

    address = sum(1 << (12 + 9 * level) for level in range(levels))

    assert tables.translate(address) == ROOT + levels * PAGE


def test_mappings_joins_what_follows_each_other(tables: Tables) -> None:
    assert [(each.virtual, each.physical, each.size) for each in tables.mappings()] == [
        (0x1000, 0x5000, 0x2000),
        (0x400000, 0xA00000, 0x200000),
        (0x80000000, 0x80000000, 0x40000000),
        (0xFFFF_FFFF_FFFF_F000, 0x7000, 0x1000),
    ]


def test_mappings_tables_that_refer_to_themselves_end() -> None:
    tables = Tables(mode=10)
    for index in range(512):
        tables.set(ROOT, index, ROOT, POINTER)

    with pytest.raises(TooManyTables):
        tables.mappings()


@pytest.mark.parametrize(
    ("satp", "privilege", "paged"), [(8 << 60, 1, True), (8 << 60, 0, True), (8 << 60, 3, False), (0, 1, False)]
)
def test_is_paged_with_a_mode_below_machine_privilege(satp: int, privilege: int, paged: bool) -> None:
    assert is_paged(satp, privilege) is paged


@given(st.dictionaries(st.integers(0, 4095), st.integers(0, (1 << 64) - 1)), st.integers(0, (1 << 64) - 1))
def test_translate_any_tables_give_an_address_or_nothing(entries: dict[int, int], address: int) -> None:
    found = translate(lambda at: entries.get(at // 8 % 4096, 0xFFFF), 10 << 60, address)

    assert found is None or 0 <= found < 1 << 57
