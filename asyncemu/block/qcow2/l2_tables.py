# SPDX-License-Identifier: GPL-2.0-or-later
"""L2Tables: the way from a guest offset to the L2 slice that maps it, for reading and for changing.

A slice is the part of an L2 table that the cache keeps as one (``l2-cache-entry-size``). A table that is shared with a
snapshot is copied before it changes, a missing one is made; either is written at once, and the L1 entry that names it
later, behind a flush (metadata.py). QEMU: get_cluster_table, l2_allocate, qcow2_grow_l1_table.
"""

from __future__ import annotations

import errno
import os
import struct
from array import array
from typing import TYPE_CHECKING

from asyncemu.block.qcow2.constants import ENTRY_SIZE, MAX_L1_SIZE
from asyncemu.block.qcow2.entries import COPIED
from asyncemu.block.qcow2.errors import c_hex
from asyncemu.block.qcow2.freed import DISCARD_OTHER
from asyncemu.block.qcow2.geometry import OFFSET_MASK
from asyncemu.block.qcow2.header import L1_FIELDS_OFFSET
from asyncemu.block.qcow2.l1_table import L1Table
from asyncemu.block.qcow2.table_cache import Table
from asyncemu.block.qcow2.words import words_bytes, words_from, zero_words
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image


class L2Tables:
    """Home context of the node."""

    def __init__(self, image: Image, slice_size: int) -> None:
        self._image = image
        geometry = self._geometry = image.geometry
        #: Bytes of a slice, words of 64 bits in it, entries.
        self.slice_size = slice_size
        self.slice_words = slice_size // 8
        self.slice_entries = self.slice_words // geometry.entry_words
        self.slice_mask = self.slice_entries - 1
        #: Guest offset to index of a slice.
        self.slice_shift = geometry.cluster_bits + self.slice_entries.bit_length() - 1
        self._slices_mask = geometry.cluster_size // slice_size - 1

    def table_offset(self, guest: int) -> int:
        """Where the L2 table that maps ``guest`` is; 0: there is none."""
        entries = self._image.l1.entries
        index = guest >> self._geometry.l1_shift
        return entries[index] & OFFSET_MASK if index < len(entries) else 0

    def slice_offset(self, table: int, guest: int) -> int:
        """Where the slice that maps ``guest`` is, in an L2 table."""
        return table + (guest >> self.slice_shift & self._slices_mask) * self.slice_size

    def index(self, guest: int) -> int:
        """Which entry of its slice maps ``guest``."""
        return guest >> self._geometry.cluster_bits & self.slice_mask

    def slice_end(self, guest: int) -> int:
        """The first guest offset that the slice of ``guest`` does not map."""
        return (guest >> self.slice_shift) + 1 << self.slice_shift

    async def load(self, guest: int) -> Table[array[int]] | None:
        """The slice that maps ``guest``; None: there is no L2 table."""
        table = self.table_offset(guest)
        if not table:
            return None
        if table & self._geometry.misaligned:
            raise await self._unaligned(table, guest)
        cache = self._image.l2_cache
        offset = self.slice_offset(table, guest)
        return cache.tables.get(offset) or await cache.load(offset)

    async def _unaligned(self, table: int, guest: int) -> BlockError:
        index = guest >> self._geometry.l1_shift
        return await self._image.corruption(f"L2 table offset {c_hex(table)} unaligned (L1 index: {c_hex(index)})")

    # ---- with the image's lock held

    async def load_for_change(self, guest: int) -> Table[array[int]]:
        """The slice that maps ``guest``, in a table that only the active L1 table names. No await before the change."""
        image, geometry = self._image, self._geometry
        index = guest >> geometry.l1_shift
        if index >= len(image.l1.entries):
            await self.grow_l1(index + 1, exact=False)
        entry = image.l1.entries[index]
        table = entry & OFFSET_MASK
        if table & geometry.misaligned:
            raise await self._unaligned(table, guest)
        if not entry & COPIED:
            table = await self._own_table(index, table)
        cache = image.l2_cache
        offset = self.slice_offset(table, guest)
        return cache.tables.get(offset) or await cache.load(offset)

    async def _own_table(self, index: int, old: int) -> int:
        """An L2 table for L1 index ``index``: a copy of that at ``old``, or, when that is 0, an empty one."""
        image, geometry = self._image, self._geometry
        size = geometry.cluster_size
        new = await image.refcounts.allocate(size)
        if not new:
            raise await image.corruption("Preventing invalid allocation of L2 table at offset 0")
        try:
            words = zero_words(size // 8)
            if old:
                if image.file.debugged:
                    await image.file.debug_event("l2_alloc_cow_read")
                words = words_from(await image.file.pread(old, size))
                # What the cache knows better.
                for number in range(size // self.slice_size):
                    cached = image.l2_cache.tables.get(old + number * self.slice_size)
                    if cached is not None:
                        start = number * self.slice_words
                        words[start : start + self.slice_words] = cached.payload
            await image.write_metadata(new, words_bytes(words), 0, "l2_alloc_write")
        except BaseException:
            await image.refcounts.release(new, size)
            raise
        image.l2_cache.forget(new, size)
        image.l1.set(index, new | COPIED)
        image.overlap.l2_moved(old, new)
        if old:
            image.refcounts.free(old, size, DISCARD_OTHER)
        return new

    async def grow_l1(self, entries: int, *, exact: bool) -> None:
        """Make the L1 table at least ``entries`` long, not ``exact``: and with room for more. OSError with EFBIG.

        QEMU: qcow2_grow_l1_table.
        """
        image = self._image
        if entries <= len(image.l1.entries):
            return
        count = entries
        if not exact:
            count = max(1, len(image.l1.entries))
            while count < entries:
                count = -(-count * 3 // 2)
        length = count * ENTRY_SIZE
        if length > MAX_L1_SIZE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if image.file.debugged:
            await image.file.debug_event("l1_grow_alloc_table")
        offset = await image.refcounts.allocate(length)
        try:
            # The new table may name only what is on disk.
            await image.metadata.write(refcounts_too=True)
            table = L1Table(offset, image.l1.entries + zero_words(count - len(image.l1.entries)))
            await image.write_metadata(offset, words_bytes(table.entries), 0, "l1_grow_write_table")
            await image.file.flush()
        except BaseException:
            await image.refcounts.release(offset, length)
            raise
        await self.switch_l1(table)

    async def switch_l1(self, table: L1Table) -> None:
        """The header points to ``table``, which is on disk, from now on; the old one is freed."""
        image = self._image
        if image.file.debugged:
            await image.file.debug_event("l1_grow_activate_table")
        fields = struct.pack(">IQ", len(table.entries), table.offset)
        await image.file.pwrite(L1_FIELDS_OFFSET, fields)
        # From here on, whether it is flushed or not: the file says so.
        old, image.l1 = image.l1, table
        image.set_header(l1_size=len(table.entries), l1_table_offset=table.offset)
        await image.file.flush()
        if len(old.entries):
            # Nothing names it any more, not on disk either.
            await image.refcounts.release(old.offset, len(old.entries) * ENTRY_SIZE)
