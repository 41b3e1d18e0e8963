# SPDX-License-Identifier: GPL-2.0-or-later
"""The walk through a riscv64 guest's page tables, as a function that does no I/O: Sv39, Sv48, Sv57.

For those who look at a guest from outside: permissions and the accessed bit do not matter to them, and nothing is
written. Source: RISC-V privileged architecture 1.12, 4.3.2 "Virtual Address Translation Process" and 4.4 to 4.6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

#: Bytes.
PAGE: Final = 4096

#: satp's MODE (bits 63 to 60): levels of page tables.
_LEVELS: Final = {8: 3, 9: 4, 10: 5}
_PPN_MASK: Final = (1 << 44) - 1

# Bits of an entry.
VALID: Final = 1 << 0
READ: Final = 1 << 1
WRITE: Final = 1 << 2
EXECUTE: Final = 1 << 3
_LEAF: Final = READ | EXECUTE

#: The 64 bits at a guest physical address; None: nothing is there.
ReadEntry = Callable[[int], int | None]
#: The 512 entries of the table at a guest physical address; None: nothing is there.
ReadTable = Callable[[int], Sequence[int] | None]


def is_paged(satp: int, privilege: int) -> bool:
    """Are addresses translated? Not in M-mode (3), and not with MODE Bare."""
    return privilege < 3 and satp >> 60 in _LEVELS


def translate(read: ReadEntry, satp: int, address: int) -> int | None:
    """The physical address of a virtual ``address``; None: it is not mapped."""
    levels = _LEVELS[satp >> 60]
    bits = 12 + 9 * levels
    # 4.4.1: the bits above are copies of the highest one that is translated.
    if address >> (bits - 1) not in (0, (1 << (65 - bits)) - 1):
        return None
    table = (satp & _PPN_MASK) * PAGE
    for level in reversed(range(levels)):
        shift = 12 + 9 * level
        entry = read(table + (address >> shift & 511) * 8)
        if entry is None or not entry & VALID:
            return None
        target = (entry >> 10 & _PPN_MASK) * PAGE
        if entry & _LEAF:
            offset = address & ((1 << shift) - 1)
            # 4.3.2, step 6: a superpage that is not aligned is none.
            return target + offset if not target & ((1 << shift) - 1) else None
        table = target
    return None


class Mapping(NamedTuple):
    """Virtual addresses that are mapped one behind the other, with the same attributes."""

    virtual: int
    physical: int
    #: Bytes.
    size: int
    #: The lower 8 bits of their entries: D A G U X W R V.
    attributes: int


class TooManyTables(Exception):
    """The guest's tables are more than the caller wants to look at, or refer to each other without end."""


def mappings(read_table: ReadTable, satp: int, max_tables: int) -> Iterator[Mapping]:
    """All that is mapped, by address. Raises TooManyTables where it would read more than ``max_tables``."""
    levels = _LEVELS[satp >> 60]
    current: Mapping | None = None
    for leaf in _Leaves(read_table, levels, max_tables).below((satp & _PPN_MASK) * PAGE, levels - 1, 0):
        if (
            current is not None
            and leaf.attributes == current.attributes
            and leaf.virtual == current.virtual + current.size
            and leaf.physical == current.physical + current.size
        ):
            current = current._replace(size=current.size + leaf.size)
            continue
        if current is not None:
            yield current
        current = leaf
    if current is not None:
        yield current


class _Leaves:
    def __init__(self, read_table: ReadTable, levels: int, max_tables: int) -> None:
        self._read_table = read_table
        self._left = max_tables
        #: Of virtual addresses; those above are copies of the highest.
        self._bits = 12 + 9 * levels

    def below(self, table: int, level: int, prefix: int) -> Iterator[Mapping]:
        if not self._left:
            raise TooManyTables
        self._left -= 1
        shift = 12 + 9 * level
        for index, entry in enumerate(self._read_table(table) or ()):
            if not entry & VALID:
                continue
            virtual = prefix | index << shift
            target = (entry >> 10 & _PPN_MASK) * PAGE
            if entry & _LEAF:
                sign = -1 << self._bits if virtual >> (self._bits - 1) & 1 else 0
                yield Mapping((virtual | sign) & ((1 << 64) - 1), target, 1 << shift, entry & 0xFF)
            elif level:
                yield from self.below(target, level - 1, virtual)
