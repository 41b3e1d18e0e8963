# SPDX-License-Identifier: GPL-2.0-or-later
"""ReferenceCounts: how often the tables name each cluster of the file.

Kept in the form of refcount blocks, so that comparing them with those of the image, or making new ones, is a matter of
whole blocks. Only blocks that count anything exist. QEMU: the in-memory refcount table, "IMRT".
"""

from __future__ import annotations

import errno
from typing import Any, Final

from asyncemu.block.qcow2.check_report import CheckStopped, Report
from asyncemu.block.qcow2.geometry import Geometry
from asyncemu.block.qcow2.refcount_codec import RefcountCodec, RefcountRange

#: Bytes of all blocks: a sparse file could ask for any number.
_MAX_BYTES: Final = 1 << 30

#: Clusters of a file that can be checked. QEMU: INT_MAX.
MAX_CLUSTERS: Final = 0x7FFF_FFFF

_OVERFLOW_ADVICE: Final = (
    "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image "
    "cannot be opened for writing"
)


class ReferenceCounts:
    """``clusters``: of the file; ``file_size`` in bytes."""

    def __init__(self, geometry: Geometry, codec: RefcountCodec, file_size: int, report: Report) -> None:
        self.geometry = geometry
        self.codec = codec
        self.file_size = file_size
        self.clusters = geometry.clusters(file_size)
        self._entries = geometry.refcount_block_entries
        self._bits = geometry.refcount_block_bits
        self._report = report
        #: By index: what a refcount block there would have.
        self.blocks: dict[int, Any] = {}

    def clear(self) -> None:
        """Count from the beginning."""
        self.blocks.clear()

    def get(self, cluster: int) -> int:
        """References of a cluster."""
        block = self.blocks.get(cluster >> self.geometry.refcount_block_bits)
        return 0 if block is None else self.codec.get(block, cluster & self.geometry.refcount_block_entries - 1)

    def count(self, offset: int, length: int, times: int = 1) -> bool:
        """The clusters of these bytes are named. False: they are behind the end of the file; that is a corruption.

        QEMU: qcow2_inc_refcounts_imrt.
        """
        if length <= 0:
            return True
        # The last cluster of a file may be cut off.
        if offset + length - self.file_size >= self.geometry.cluster_size:
            self._report.corruption(
                "ERROR: counting reference for region exceeding the end of the file by one cluster or more: "
                f"offset {offset:#x} size {length:#x}"
            )
            return False
        bits = self.geometry.cluster_bits
        first = offset >> bits
        self.add(first, (offset + length - 1 >> bits) - first + 1, times)
        return True

    def add(self, first: int, count: int, times: int = 1) -> None:
        """``count`` clusters in a row are named ``times`` times more."""
        codec, entries = self.codec, self._entries
        end = first + count
        if end > self.clusters:
            self.clusters = end
        if count == 1:
            block = self.blocks.get(first >> self._bits) or self._block(first >> self._bits)
            index = first & entries - 1
            value = codec.get(block, index) + times
            if value <= codec.maximum:
                codec.put(block, index, value)
            else:
                self._add_or_overflow(block, index, first, times)
            return
        while first < end:
            block = self._block(first >> self.geometry.refcount_block_bits)
            start = first & entries - 1
            stop = min(entries, start + end - first)
            try:
                codec.add(block, start, stop, times)
            except RefcountRange:
                for index in range(start, stop):
                    self._add_or_overflow(block, index, first - start + index, times)
            first += stop - start

    def _add_or_overflow(self, block: Any, index: int, cluster: int, times: int) -> None:
        value = self.codec.get(block, index) + times
        maximum = self.codec.maximum
        self.codec.put(block, index, min(value, maximum))
        muted, self._report.muted = self._report.muted, False
        for _ in range(min(value - maximum, 1 << 20)):
            self._report.corruption(f"ERROR: overflow cluster offset={cluster << self.geometry.cluster_bits:#x}")
            self._report.say(_OVERFLOW_ADVICE)
        self._report.muted = muted

    def _block(self, index: int) -> Any:
        block = self.blocks.get(index)
        if block is None:
            if (len(self.blocks) + 1) * self.codec.size > _MAX_BYTES:
                self._report.error()
                raise CheckStopped(errno.ENOMEM)
            block = self.blocks[index] = self.codec.empty()
        return block

    # ---- making a new refcount table

    def allocate(self, count: int, first: int = 0) -> int:
        """The first of ``count`` free clusters in a row, not before ``first``; they have one reference now."""
        codec, entries = self.codec, self.geometry.refcount_block_entries
        start = position = first
        while position < start + count:
            base = position & ~(entries - 1)
            stop = min(start + count, base + entries)
            block = self.blocks.get(position >> self.geometry.refcount_block_bits)
            if block is not None:
                used = base + codec.first_used(block, position - base, stop - base)
                if used < stop:
                    start = position = base + codec.first_free(block, used - base, entries)
                    continue
            position = stop
        self.add(start, count)
        return start

    def release(self, first: int, count: int) -> None:
        """They have one reference less."""
        for cluster in range(first, first + count):
            block = self.blocks[cluster >> self.geometry.refcount_block_bits]
            index = cluster & self.geometry.refcount_block_entries - 1
            self.codec.put(block, index, self.codec.get(block, index) - 1)
