# SPDX-License-Identifier: GPL-2.0-or-later
"""The flag COPIED of active L1 and L2 entries: it must be set where the refcount is exactly one, and nowhere else.

qcow2.txt, "Standard Cluster Descriptor". QEMU: check_oflag_copied.
"""

from __future__ import annotations

import asyncio
import errno
import os
import struct
from array import array
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.qcow2 import overlap
from asyncemu.block.qcow2.check_report import CheckStopped, Report
from asyncemu.block.qcow2.constants import ENTRY_SIZE
from asyncemu.block.qcow2.entries import COPIED, NORMAL, ZERO_ALLOC, cluster_kind
from asyncemu.block.qcow2.geometry import OFFSET_MASK
from asyncemu.block.qcow2.words import words_bytes, words_from
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: As in check_tables.py.
_FURTHER_BYTES: Final = 16 << 20


class CopiedFlags:
    """Of one check."""

    def __init__(self, image: Image, report: Report, *, repair: bool) -> None:
        self._image = image
        self._geometry = image.geometry
        self._report = report
        self._repair = repair
        self._allowance = 3 * image.file.size + _FURTHER_BYTES
        # The block whose refcounts were asked for last.
        self._block_index = -1
        self._payload: Any = None

    async def check(self) -> None:
        """Of all tables that the active L1 table names. Raises CheckStopped."""
        image, geometry = self._image, self._geometry
        for index, entry in enumerate(image.l1.entries):
            offset = entry & OFFSET_MASK
            if not offset:
                continue
            refcount = await self._refcount(offset >> geometry.cluster_bits)
            if refcount is None:
                continue
            if (refcount == 1) != bool(entry & COPIED):
                self._report.corruption(
                    f"{self._verb} OFLAG_COPIED L2 cluster: l1_index={index} l1_entry={entry:x} refcount={refcount}"
                )
                if self._repair:
                    await self._write_l1(index, entry ^ COPIED)
                    self._report.fixed()
            await self._check_l2(offset)

    @property
    def _verb(self) -> str:
        return "Repairing" if self._repair else "ERROR"

    async def _refcount(self, cluster: int) -> int | None:
        """None: it can't be read, which has been said before."""
        geometry = self._geometry
        await self._load(cluster >> geometry.refcount_block_bits)
        if self._payload is None:
            return None
        return self._image.refcounts.codec.get(self._payload, cluster & geometry.refcount_block_entries - 1)

    async def _load(self, index: int) -> None:
        """``_payload`` is refcount block ``index``, None when it can't be read."""
        if index == self._block_index:
            return
        self._block_index = index
        try:
            block = await self._image.refcounts.block_of(index << self._geometry.refcount_block_bits)
        except (OSError, BlockError):
            self._payload = None
        else:
            codec = self._image.refcounts.codec
            self._payload = codec.empty() if block is None else block.payload

    async def _write_l1(self, index: int, entry: int) -> None:
        l1 = self._image.l1
        try:
            await self._image.write_metadata(
                l1.offset + index * ENTRY_SIZE, struct.pack(">Q", entry), overlap.ACTIVE_L1, "l1_update"
            )
        except (OSError, BlockError) as error:
            self._report.error()
            raise CheckStopped(error.errno or errno.EIO) from error
        l1.entries[index] = entry

    async def _check_l2(self, offset: int) -> None:
        image, geometry = self._image, self._geometry
        length = max(min(geometry.cluster_size, image.file.size - offset), 0) // 8 * 8
        self._allowance -= length
        if self._allowance < 0:
            self._report.error("ERROR: L1 and L2 tables overlap too often to be checked")
            raise CheckStopped(errno.EFBIG)
        if not length:
            return
        try:
            words = words_from(await image.file.pread(offset, length))
        except (OSError, BlockError) as error:
            number = error.errno or errno.EIO
            self._report.error(f"ERROR: Could not read L2 table: {os.strerror(number)}")
            raise CheckStopped(number) from error
        changed = await self._check_entries(words) if words.count(0) < len(words) else 0
        if changed:
            await self._write_l2(offset, words)
            self._report.fixed(changed)
        await asyncio.sleep(0)

    async def _check_entries(self, words: array[int]) -> int:
        """How many are changed."""
        geometry, get = self._geometry, self._image.refcounts.codec.get
        bits, block_bits = geometry.cluster_bits, geometry.refcount_block_bits
        mask, index = geometry.refcount_block_entries - 1, -1
        changed, step, external = 0, geometry.entry_words, geometry.has_data_file
        plain = ~(OFFSET_MASK & ~geometry.misaligned)
        for at, entry in enumerate(words[::step]):
            # The usual case, for speed: an aligned data cluster that is said to have one user, and has.
            if entry & plain == COPIED and not external:
                cluster = (entry & OFFSET_MASK) >> bits
                known = cluster >> block_bits == index and self._payload is not None
                if known and get(self._payload, cluster & mask) == 1:
                    continue
            if not entry & OFFSET_MASK and not external:
                continue
            if cluster_kind(geometry, entry) not in (NORMAL, ZERO_ALLOC):
                continue
            refcount = 1
            if not external:
                cluster = (entry & OFFSET_MASK) >> bits
                if cluster >> block_bits != index:
                    index = cluster >> block_bits
                    await self._load(index)
                if self._payload is None:
                    continue
                refcount = get(self._payload, cluster & mask)
            if (refcount == 1) == (entry >> 63):
                continue
            self._report.corruption(f"{self._verb} OFLAG_COPIED data cluster: l2_entry={entry:x} refcount={refcount}")
            if self._repair:
                words[at * step] = entry ^ COPIED
                changed += 1
        return changed

    async def _write_l2(self, offset: int, words: array[int]) -> None:
        image = self._image
        try:
            if image.overlap.hit(offset, self._geometry.cluster_size, overlap.ACTIVE_L2):
                what = "ERROR: Could not write L2 table; metadata overlap check failed"
            else:
                what = "ERROR: Could not write L2 table"
            await image.write_metadata(offset, words_bytes(words), overlap.ACTIVE_L2)
        except (OSError, BlockError) as error:
            number = error.errno or errno.EIO
            self._report.error(f"{what}: {os.strerror(number)}")
            raise CheckStopped(number) from error
