# SPDX-License-Identifier: GPL-2.0-or-later
"""L1Table: the active L1 table, all of it in memory.

qcow2.txt, "Cluster mapping". An entry may reach the disk only when the L2 table that it names is there (metadata.py).
"""

from __future__ import annotations

from array import array

from asyncemu.block.qcow2.constants import ENTRY_SIZE
from asyncemu.block.qcow2.words import words_bytes


class L1Table:
    """Entries in native order; ``entries[i] = ...`` is followed by ``mark(i)``."""

    __slots__ = ("changed_end", "changed_start", "entries", "offset")

    def __init__(self, offset: int, entries: array[int]) -> None:
        #: Bytes of the file.
        self.offset = offset
        self.entries = entries
        #: Indexes whose entries differ from the file: [start, end).
        self.changed_start = self.changed_end = 0

    def set(self, index: int, entry: int) -> None:
        """Change one entry."""
        self.entries[index] = entry
        self.mark(index, index + 1)

    def mark(self, start: int, end: int) -> None:
        """The entries [start, end) have changed."""
        if self.changed_start == self.changed_end:
            self.changed_start, self.changed_end = start, end
        else:
            self.changed_start = min(self.changed_start, start)
            self.changed_end = max(self.changed_end, end)

    def take_changed(self) -> tuple[int, int, bytes]:
        """First index, offset in the file and bytes of what has changed; the table counts as unchanged."""
        start, end = self.changed_start, self.changed_end
        self.changed_start = self.changed_end = 0
        return start, self.offset + start * ENTRY_SIZE, words_bytes(self.entries[start:end])
