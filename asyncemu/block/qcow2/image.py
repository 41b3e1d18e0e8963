# SPDX-License-Identifier: GPL-2.0-or-later
"""Image: what the parts of the driver share: the header, the tables, the lock; and what becomes of a damaged image.

    header_area     header, extensions, names          written as a whole: update_area
    l1, l2_tables   guest offset → L2 slice            mapping: slice → what is there
    refcounts       which clusters are in use          allocator: new clusters for a write
    metadata        writes changed tables in order     overlap: is that write meant for these bytes?

The lock is held by whoever changes the mapping or refcounts, from the first look to the last change; requests to
clusters that are mapped already need none. It is never waited for by who writes tables (metadata.py).
"""

from __future__ import annotations

import errno
import struct
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from asyncemu.block.child import BlockChild
from asyncemu.block.qcow2 import features
from asyncemu.block.qcow2.cache_sizes import CacheSizes
from asyncemu.block.qcow2.entries import COMPRESSED_FLAG
from asyncemu.block.qcow2.freed import DISCARD_ALWAYS
from asyncemu.block.qcow2.geometry import OFFSET_MASK, Geometry
from asyncemu.block.qcow2.header import INCOMPATIBLE_OFFSET, Header
from asyncemu.block.qcow2.header_area import HeaderArea, area_bytes
from asyncemu.block.qcow2.l1_table import L1Table
from asyncemu.block.qcow2.l2_tables import L2Tables
from asyncemu.block.qcow2.mapping import Mapping
from asyncemu.block.qcow2.metadata import MetadataWriter
from asyncemu.block.qcow2.overlap import OverlapChecks
from asyncemu.block.qcow2.refcount import Refcounts
from asyncemu.block.qcow2.snapshot_table import SnapshotTable
from asyncemu.block.qcow2.table_cache import TableCache
from asyncemu.block.qcow2.words import WordCodec
from asyncemu.coroutines import CoMutex
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import home
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from array import array

    from asyncemu.block.qcow2.allocation import Allocator
    from asyncemu.block.qcow2.reader import Reader
    from asyncemu.block.qcow2.writer import Writer
    from asyncemu.loop import AioContext


class ImageOwner(Protocol):
    """Whose image it is: the driver."""

    context: AioContext
    node_name: str
    read_only: bool
    backing: BlockChild | None

    @home
    def image_corrupted(self, problem: str, *, offset: int | None, size: int | None, fatal: bool) -> None:
        """It is damaged; the first time that this is found."""


class Image:
    """An open image. Home context of the node."""

    def __init__(self, owner: ImageOwner, file: BlockChild, data_file: BlockChild, area: HeaderArea) -> None:
        self.owner = owner
        self.file = file
        #: Where guest data is: ``file``, unless there is an external data file.
        self.data_file = data_file
        self.area = area
        self.header: Header = area.header
        self.geometry = Geometry(area.header)
        self.lock = CoMutex()
        #: Fatal damage was found: nothing works any more. QEMU: bs->drv is NULL.
        self.broken = False
        #: What must be done before the first change has been done.
        self.ready_to_write = False
        self.lazy_refcounts = False
        #: A change was given up half way: only a repair makes the image clean.
        self.must_stay_dirty = False
        #: DISCARD_* whose clusters the file below hears of.
        self.discard_reasons = frozenset({DISCARD_ALWAYS})
        self.snapshots = SnapshotTable()
        #: Nothing was repaired when it was opened, as it should not be changed; a reopen may change that.
        self.opened_read_only = False
        self._beginning = CoMutex()
        self._features = CoMutex()
        self._reported = False

    @home
    def make_parts(self, l1_entries: array[int], sizes: CacheSizes, overlap_checks: int) -> None:
        """The parts, once the L1 table has been read and options are known."""
        self.l1 = L1Table(self.header.l1_table_offset, l1_entries)
        self.l2_cache_bytes = sizes.l2_bytes
        self.metadata = MetadataWriter(self)
        self.l2_cache: TableCache[array[int]] = TableCache(
            self.file, WordCodec(sizes.l2_entry_size), sizes.l2_tables, "l2_load", self.metadata.write
        )
        self.l2_tables = L2Tables(self, sizes.l2_entry_size)
        self.refcounts = Refcounts(self, sizes.refcount_tables)
        self.overlap = OverlapChecks(self, overlap_checks)
        self.mapping = Mapping(self)

    @home
    def set_cache_sizes(self, sizes: CacheSizes) -> None:
        """Other sizes for the caches, in which nothing has changed. Drained."""
        self.l2_cache_bytes = sizes.l2_bytes
        self.refcounts.cache.resize(sizes.refcount_tables)
        if sizes.l2_entry_size == self.l2_tables.slice_size:
            self.l2_cache.resize(sizes.l2_tables)
            return
        self.l2_cache = TableCache(
            self.file, WordCodec(sizes.l2_entry_size), sizes.l2_tables, "l2_load", self.metadata.write
        )
        self.l2_tables = L2Tables(self, sizes.l2_entry_size)
        vars(self).pop("reader", None)  # it knows the tables

    # These wait for the first request: who only asks what an image is does not wait for their import.

    @cached_property
    def reader(self) -> Reader:
        """Reads guest data."""
        from asyncemu.block.qcow2.reader import Reader

        return Reader(self)

    @cached_property
    def allocator(self) -> Allocator:
        """New clusters for writes."""
        from asyncemu.block.qcow2.allocation import Allocator

        return Allocator(self)

    @cached_property
    def writer(self) -> Writer:
        """Writes guest data."""
        from asyncemu.block.qcow2.writer import Writer

        return Writer(self)

    @home
    def size_changed(self) -> None:
        """The disk has another size: so may the L2 cache, which need not hold more tables than there are."""
        size = self.geometry.round_up(self.geometry.clusters(self.header.size) * 8 * self.geometry.entry_words)
        self.l2_cache.resize(max(2, min(self.l2_cache_bytes, size) // self.l2_tables.slice_size))

    @property
    def external_data(self) -> BlockChild | None:
        """The external data file; None: there is none, or it is not open (a new image, or only its information)."""
        return self.data_file if self.data_file is not self.file else None

    @property
    def vm_state_offset(self) -> int:
        """Where VM state begins, as if it were guest data behind the end of the disk."""
        return self.geometry.l1_entries(self.header.size) << self.geometry.l1_shift

    @property
    def context(self) -> AioContext:
        """The node's home."""
        return self.owner.context

    @property
    def name(self) -> str:
        """Of the node."""
        return self.owner.node_name

    @property
    def backing(self) -> BlockChild | None:
        """What is read where nothing is allocated."""
        return self.owner.backing

    # ---- the header

    @home
    def set_header(self, **changes: Any) -> None:
        """These fields have been written."""
        self.area = self.area.replaced(**changes)
        self.header = self.area.header

    @home
    async def update_area(self, area: HeaderArea) -> None:
        """Write header, extensions and backing file's name anew. OSError with ENOSPC: they don't fit.

        QEMU: qcow2_update_header.
        """
        stored, data = area_bytes(area)
        await self.file.pwritev(0, Buffers.of(data))
        self.area, self.header = stored, stored.header

    @home
    async def change_features(self, add: int = 0, remove: int = 0) -> None:
        """Write and flush other incompatible feature bits."""
        # Damage is found by requests that hold no lock, also while the image is being marked dirty.
        async with self._features:
            bits = (self.header.incompatible_features | add) & ~remove
            await self.file.pwrite_sync(INCOMPATIBLE_OFFSET, struct.pack(">Q", bits))
            self.set_header(incompatible_features=bits)

    @home
    async def mark_dirty(self) -> None:
        """Refcounts on disk may be wrong from now on; with the lock held. QEMU: qcow2_mark_dirty."""
        if not self.header.dirty:
            await self.change_features(add=features.DIRTY)

    @home
    async def mark_clean(self) -> None:
        """Write all, and say that refcounts are right. QEMU: qcow2_mark_clean."""
        if self.header.dirty and not self.must_stay_dirty:
            await self.metadata.write(refcounts_too=True)
            await self.file.flush()
            await self.change_features(remove=features.DIRTY)

    # ---- before changes

    @home
    async def begin_write(self) -> None:
        """Before any change of the image. BlockError: it can't be changed."""
        if self.ready_to_write:
            return
        self.check_usable()
        async with self._beginning:
            if self.ready_to_write:
                return
            if self.opened_read_only:
                await self._prepare_for_writing()
            if self.area.extensions.bitmaps is not None:
                from asyncemu.block.qcow2.bitmaps import mark_bitmaps

                await mark_bitmaps(self, all_of_them=False)
            await self.overlap.prepare()
            self.ready_to_write = True

    async def _prepare_for_writing(self) -> None:
        """QEMU writes to an image that it opened read-only as if its refcounts were right."""
        from asyncemu.block.qcow2.opening import prepare_for_writing

        try:
            await prepare_for_writing(self)
        except ConfigError as error:
            raise BlockError(self.name, errno.EIO, error.problem) from error
        self.opened_read_only = False

    @home
    async def before_link(self) -> None:
        """New clusters will be named; with the lock held."""
        if self.lazy_refcounts:
            await self.mark_dirty()

    @home
    def check_usable(self) -> None:
        """BlockError, ENOMEDIUM, when fatal damage was found."""
        if self.broken:
            raise BlockError(self.name, errno.ENOMEDIUM, "the image is corrupt")

    # ---- writes to the file

    @home
    async def write_metadata(
        self, offset: int, data: bytes | bytearray | Buffers, own_kind: int, event: str = ""
    ) -> None:
        """Write tables. ``own_kind``: of overlap.py, what the bytes are known to be. BlockError (EIO): hits others."""
        buffers = data if isinstance(data, Buffers) else Buffers.of(data)
        length = buffers.nbytes
        if hit := self.overlap.hit(offset, length, own_kind):
            raise await self.overlap_corruption(hit, offset, buffers.nbytes)
        if event and self.file.debugged:
            await self.file.debug_event(event)
        await self.file.pwritev(offset, buffers)

    @home
    async def check_data_overlap(self, host: int, length: int) -> None:
        """Before guest data is written to these bytes of the data file. BlockError (EIO): metadata is there."""
        if self.data_file is self.file and (hit := self.overlap.hit(host, length, 0)):
            raise await self.overlap_corruption(hit, host, length)

    @home
    async def overlap_corruption(self, hit: str, offset: int, length: int) -> BlockError:
        """What to raise when a write to these bytes of the file would hit the metadata called ``hit``."""
        return await self.corruption(f"Preventing invalid write on metadata (overlaps with {hit})", offset, length)

    @home
    def forget_tables(self, offset: int, length: int) -> None:
        """These clusters are free: whatever tables were there are none any more."""
        self.l2_cache.forget(offset, length)
        self.refcounts.cache.forget(offset, length)

    @home
    async def discard_clusters(self, offset: int, length: int) -> None:
        """Free clusters: the file below may give their storage back. It is a hint, and errors do not matter."""
        try:
            await self.file.discard(offset, length)
        except (OSError, BlockError):
            pass

    @home
    def free_cluster(self, entry: int, reason: int) -> None:
        """No table in memory has the L2 entry ``entry`` any more: its host cluster, if any, loses a reference.

        QEMU: qcow2_free_any_cluster.
        """
        geometry = self.geometry
        if entry & COMPRESSED_FLAG:
            if not geometry.has_data_file:
                self.refcounts.free(*geometry.compressed_range(entry), reason)
            return
        host = entry & OFFSET_MASK
        if geometry.has_data_file or not host:
            return
        if host & geometry.misaligned:
            self._report(f"Cannot free unaligned cluster {host:#x}", fatal=False)
            return
        self.refcounts.free(host, geometry.cluster_size, reason)

    # ---- damage

    @home
    async def corruption(self, problem: str, offset: int | None = None, size: int | None = None) -> BlockError:
        """The image is damaged, here (bytes of the file): report it, and mark it when it can be written. What to raise.

        QEMU: qcow2_signal_corruption; nothing works behind it.
        """
        writable = not self.owner.read_only
        if not self._reported or (writable and not self.header.corrupt):
            self._report(problem, fatal=writable)
            self.owner.image_corrupted(problem, offset=offset, size=size, fatal=writable)
            if writable:
                self.broken = True
                self.ready_to_write = False
                if self.header.version >= 3:
                    try:
                        await self.change_features(add=features.CORRUPT)
                    except (OSError, BlockError):
                        pass  # the image can't be written: it stays as it is
        return BlockError(self.name, errno.EIO, problem)

    def _report(self, problem: str, *, fatal: bool) -> None:
        if fatal:
            self.say(f"qcow2: Marking image as corrupt: {problem}; further corruption events will be suppressed")
        elif not self._reported:
            self.say(f"qcow2: Image is corrupt: {problem}; further non-fatal corruption events will be suppressed")
        self._reported = True

    @home
    def say(self, line: str) -> None:
        """Tell whoever runs this, with nothing before it: QEMU prints these to its standard error."""
        import logging

        logging.getLogger("asyncemu.block.qcow2.lines").warning("%s", line)

    @home
    def warn(self, message: str) -> None:
        """Tell whoever runs this."""
        import logging

        logging.getLogger("asyncemu.block.qcow2").warning("%s", message)

    @home
    async def write_caches(self) -> None:
        """What has changed is in the file, in order; freed clusters may be used again. QEMU: qcow2_write_caches."""
        await self.metadata.write()
        if self.refcounts.freed.any_stable:
            async with self.lock:
                await self.refcounts.settle()

    # ---- the end

    @home
    async def finish(self) -> None:
        """Before the file is closed: nothing is left in memory, and the image is not dirty. QEMU: qcow2_inactivate."""
        if self.broken:
            return
        if self.metadata.needed or self.refcounts.freed.any_stable:
            await self.flush_caches()
        await self.mark_clean()

    @home
    async def flush_caches(self) -> None:
        """All that has changed is in the file, and flushed; freed clusters are free. QEMU: qcow2_flush_caches."""
        await self.metadata.write(refcounts_too=True)
        async with self.lock:
            await self.refcounts.settle()
        await self.metadata.write(refcounts_too=True)
        await self.file.flush()

    @home
    async def with_bitmaps_dropped(self) -> None:
        """The bitmaps extension can't be used: say so, the spec's way."""
        area = self.area._replace(extensions=self.area.extensions._replace(bitmaps=None))
        await self.update_area(area)
