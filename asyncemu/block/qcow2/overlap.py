# SPDX-License-Identifier: GPL-2.0-or-later
"""Overlap checks: before each write to the file, whether it would hit metadata that it is not meant for.

An image whose refcounts are wrong gives out clusters that are in use; with these checks it is marked corrupt before
anything is lost. One search in sorted offsets answers for all L2 tables, or all refcount blocks, at once.
QEMU: qcow2_check_metadata_overlap, option ``overlap-check``.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Final

from asyncemu.block.qcow2.constants import ENTRY_SIZE, MAX_L1_SIZE
from asyncemu.block.qcow2.geometry import OFFSET_MASK, REFCOUNT_OFFSET_MASK
from asyncemu.block.qcow2.table_budget import TableBudget
from asyncemu.block.qcow2.words import words_from

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

MAIN_HEADER: Final = 1 << 0
ACTIVE_L1: Final = 1 << 1
ACTIVE_L2: Final = 1 << 2
REFCOUNT_BLOCK: Final = 1 << 3
REFCOUNT_TABLE: Final = 1 << 4
SNAPSHOT_TABLE: Final = 1 << 5
INACTIVE_L1: Final = 1 << 6
INACTIVE_L2: Final = 1 << 7
BITMAP_DIRECTORY: Final = 1 << 8

#: Templates of the option. "constant" takes no table lookup, "cached" no I/O.
CONSTANT: Final = MAIN_HEADER | ACTIVE_L1 | REFCOUNT_TABLE | SNAPSHOT_TABLE | BITMAP_DIRECTORY
CACHED: Final = CONSTANT | ACTIVE_L2 | REFCOUNT_BLOCK | INACTIVE_L1
ALL: Final = CACHED | INACTIVE_L2
TEMPLATES: Final[Mapping[str, int]] = {"none": 0, "constant": CONSTANT, "cached": CACHED, "all": ALL}

#: The single flags of the option, under QEMU's names.
FLAGS: Final[Mapping[str, int]] = {
    "main-header": MAIN_HEADER,
    "active-l1": ACTIVE_L1,
    "active-l2": ACTIVE_L2,
    "refcount-table": REFCOUNT_TABLE,
    "refcount-block": REFCOUNT_BLOCK,
    "snapshot-table": SNAPSHOT_TABLE,
    "inactive-l1": INACTIVE_L1,
    "inactive-l2": INACTIVE_L2,
    "bitmap-directory": BITMAP_DIRECTORY,
}

#: Entries that are sorted at once (arbitrary).
_PIECE: Final = 1 << 16

#: QEMU's words in the message.
_WORDS: Final[Mapping[int, str]] = {
    MAIN_HEADER: "qcow2_header",
    ACTIVE_L1: "active L1 table",
    ACTIVE_L2: "active L2 table",
    REFCOUNT_BLOCK: "refcount block",
    REFCOUNT_TABLE: "refcount table",
    SNAPSHOT_TABLE: "snapshot table",
    INACTIVE_L1: "inactive L1 table",
    INACTIVE_L2: "inactive L2 table",
    BITMAP_DIRECTORY: "bitmap directory",
}


def _sorted_words(values: Iterable[int]) -> array[int]:
    """In pieces: a damaged table may have millions of entries, each of which would be an object otherwise."""
    remaining = iter(values)
    pieces: list[array[int]] = []
    while piece := sorted(islice(remaining, _PIECE)):
        pieces.append(array("Q", piece))
    if len(pieces) == 1:
        return pieces[0]
    return array("Q", merge(*pieces))


class OffsetIndex:
    """Offsets of clusters, sorted, as 64-bit words. One may be in it more than once."""

    __slots__ = ("_cluster_size", "_offsets")

    def __init__(self, cluster_size: int, offsets: Iterable[int]) -> None:
        self._cluster_size = cluster_size
        self._offsets = _sorted_words(offsets)

    def hits(self, start: int, end: int) -> bool:
        """Does one of the clusters have a byte in [start, end)?"""
        offsets = self._offsets
        index = bisect_left(offsets, max(0, start - self._cluster_size + 1))
        return index < len(offsets) and offsets[index] < end

    def add(self, offset: int) -> None:
        """One more cluster."""
        insort(self._offsets, offset)

    def remove(self, offset: int) -> None:
        """One less; nothing when it is not there."""
        index = bisect_left(self._offsets, offset)
        if index < len(self._offsets) and self._offsets[index] == offset:
            del self._offsets[index]


class OverlapChecks:
    """Those of one image. Home context of the node."""

    def __init__(self, image: Image, checks: int) -> None:
        self._image = image
        self.checks = checks
        # Made when they are first needed: an image that is only read needs none.
        self._l2_tables: OffsetIndex | None = None
        self._refcount_blocks: OffsetIndex | None = None
        #: Of all snapshots; read by ``image`` when the option asks for it.
        self.inactive_l2_tables: OffsetIndex | None = None

    def hit(self, offset: int, length: int, ignored: int) -> str:
        """QEMU's word for the metadata that a write to these bytes would damage; empty: none.

        ``ignored``: kinds that the write is meant for.
        """
        checks = self.checks & ~ignored
        if not checks or not length:
            return ""
        image = self._image
        geometry = image.geometry
        start = offset & ~geometry.cluster_mask
        end = geometry.round_up(offset + length)
        kind = 0
        if checks & MAIN_HEADER and start < geometry.cluster_size:
            kind = MAIN_HEADER
        elif checks & ACTIVE_L1 and _touches(start, end, image.l1.offset, len(image.l1.entries) * ENTRY_SIZE):
            kind = ACTIVE_L1
        elif checks & ACTIVE_L2 and self.l2_tables.hits(start, end):
            kind = ACTIVE_L2
        elif checks & REFCOUNT_TABLE and _touches(
            start, end, image.refcounts.table_offset, len(image.refcounts.table) * ENTRY_SIZE
        ):
            kind = REFCOUNT_TABLE
        elif checks & REFCOUNT_BLOCK and self.refcount_blocks.hits(start, end):
            kind = REFCOUNT_BLOCK
        elif image.snapshots.snapshots and self._hits_snapshots(start, end, checks):
            kind = self._hits_snapshots(start, end, checks)
        elif checks & BITMAP_DIRECTORY and image.area.extensions.bitmaps is not None:
            bitmaps = image.area.extensions.bitmaps
            if _touches(start, end, bitmaps.directory_offset, bitmaps.directory_size):
                kind = BITMAP_DIRECTORY
        return _WORDS[kind] if kind else ""

    def _hits_snapshots(self, start: int, end: int, checks: int) -> int:
        snapshots = self._image.snapshots
        if checks & SNAPSHOT_TABLE and _touches(start, end, snapshots.offset, snapshots.size):
            return SNAPSHOT_TABLE
        if checks & INACTIVE_L1:
            for snapshot in snapshots.snapshots:
                if _touches(start, end, snapshot.l1_table_offset, snapshot.l1_size * ENTRY_SIZE):
                    return INACTIVE_L1
        if checks & INACTIVE_L2 and self.inactive_l2_tables is not None and self.inactive_l2_tables.hits(start, end):
            return INACTIVE_L2
        return 0

    async def prepare(self) -> None:
        """Before the first write: read what only a read tells, when the option asks for it."""
        if self.checks & INACTIVE_L2 and self.inactive_l2_tables is None:
            await self.read_inactive_l2()

    async def read_inactive_l2(self) -> None:
        """Find the L2 tables of all snapshots anew: the snapshots have changed. BlockError (EFBIG): too many."""
        image = self._image
        geometry = image.geometry
        offsets: set[int] = set()
        budget = TableBudget(image)
        for snapshot in image.snapshots.snapshots:
            length = snapshot.l1_size * ENTRY_SIZE
            budget.take(length)
            if length > MAX_L1_SIZE or snapshot.l1_table_offset & geometry.cluster_mask:
                continue  # damaged: check tells about it
            entries = words_from(await image.file.pread(snapshot.l1_table_offset, length))
            offsets.update(entry & OFFSET_MASK for entry in entries if entry & OFFSET_MASK)
        self.inactive_l2_tables = OffsetIndex(geometry.cluster_size, offsets)

    # ---- what changes

    @property
    def l2_tables(self) -> OffsetIndex:
        """Where the active L2 tables are."""
        if self._l2_tables is None:
            entries = self._image.l1.entries
            self._l2_tables = OffsetIndex(
                self._image.geometry.cluster_size, (entry & OFFSET_MASK for entry in entries if entry & OFFSET_MASK)
            )
        return self._l2_tables

    @property
    def refcount_blocks(self) -> OffsetIndex:
        """Where the refcount blocks are."""
        if self._refcount_blocks is None:
            entries = (entry & REFCOUNT_OFFSET_MASK for entry in self._image.refcounts.table)
            cluster_size = self._image.geometry.cluster_size
            self._refcount_blocks = OffsetIndex(cluster_size, (entry for entry in entries if entry))
        return self._refcount_blocks

    def l2_moved(self, old: int, new: int) -> None:
        """An active L2 table has another place; 0: none."""
        if self._l2_tables is not None:
            if old:
                self._l2_tables.remove(old)
            if new:
                self._l2_tables.add(new)

    def refcount_block_added(self, offset: int) -> None:
        """There is a new refcount block."""
        if self._refcount_blocks is not None:
            self._refcount_blocks.add(offset)

    def forget(self) -> None:
        """The L1 table or the refcount table is another one: look anew."""
        self._l2_tables = self._refcount_blocks = None


def _touches(start: int, end: int, table: int, length: int) -> bool:
    """Do the bytes [start, end) and those of the table have one in common?"""
    return bool(length) and start < table + length and table < end
