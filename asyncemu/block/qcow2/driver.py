# SPDX-License-Identifier: GPL-2.0-or-later
"""Qcow2Driver: QEMU's own image format, version 2 and 3.

Thin: the image itself is image.py, which lists its parts; opening.py makes it of a file, create.py a file of options.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.child import BlockChild
from asyncemu.block.drain import drained
from asyncemu.block.driver import BlockDriver, BlockDriverOptions, ChildSlot, Progress
from asyncemu.block.flags import MAY_UNMAP, NO_FALLBACK, ROLE_COW, ROLE_DATA, ROLE_IMAGE
from asyncemu.block.qcow2.constants import MAGIC
from asyncemu.block.qcow2.creation_options import Qcow2Creation
from asyncemu.block.qcow2.image import Image
from asyncemu.block.qcow2.opening import open_image
from asyncemu.block.qcow2.options import Qcow2Options
from asyncemu.block.types import (
    BlockStatus,
    CheckResult,
    ImageInfo,
    Measurement,
    Preallocation,
    Reopening,
    Repair,
    SnapshotInfo,
)
from asyncemu.loop import home
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import PlainOptions

if TYPE_CHECKING:
    from asyncemu.block.backend import BlockBackend
    from asyncemu.block.qcow2.cleaner import CacheCleaner

_MAGIC: Final = MAGIC.to_bytes(4, "big")


class Qcow2Driver(BlockDriver[Qcow2Options], name="qcow2"):
    """An image of growing size with clusters that are allocated when they are written."""

    description = "QEMU's image format: sparse, with backing files, compression and snapshots."

    is_format = True
    supports_backing = True
    creation = Qcow2Creation
    children = (
        ChildSlot("file", ROLE_IMAGE),
        ChildSlot("backing", ROLE_COW, optional=True),
        ChildSlot("data_file", ROLE_DATA, optional=True),
    )
    file: BlockChild
    backing: BlockChild | None
    data_file: BlockChild | None

    # ---- life cycle

    async def open(self) -> int:
        """The virtual size in bytes. Raises ConfigError."""
        self.read_only = self.read_only or self.file.node.read_only
        self._cleaner: CacheCleaner | None = None
        self.image: Image = await open_image(self)
        self.backing_file = self.image.area.backing_file
        self.backing_format = self.image.area.extensions.backing_format
        self._preallocated: bool | None = None
        # Version 2 has no zero clusters: its zeroes are written.
        self.zero_flags = MAY_UNMAP | NO_FALLBACK if self.image.geometry.version >= 3 else 0
        self._set_limits()
        if not self.mode.no_io:  # else hardly anything comes into the caches
            self.restart_cleaner(self.options.cache_clean_interval)
        return self.image.header.size

    def _set_limits(self) -> None:
        geometry = self.image.geometry
        self.limits.write_zeroes_alignment = geometry.subcluster_size
        self.limits.discard_alignment = geometry.cluster_size

    @home
    def restart_cleaner(self, interval: int) -> None:
        """Every ``interval`` seconds, what is not used leaves the caches; 0: never."""
        self._stop_cleaner()
        if interval:
            from asyncemu.block.qcow2.cleaner import CacheCleaner

            self._cleaner = CacheCleaner(self.image, interval)

    @home
    def image_corrupted(self, problem: str, *, offset: int | None, size: int | None, fatal: bool) -> None:
        """See ImageOwner."""
        self.node.observer.image_corrupted(self.node_name, problem, offset=offset, size=size, fatal=fatal)

    def _stop_cleaner(self) -> None:
        if self._cleaner is not None:
            self._cleaner.stop()
            self._cleaner = None

    async def close(self) -> None:
        """All is in the file, and said to be."""
        self._stop_cleaner()
        if not self.read_only:
            await self.image.finish()

    async def prepare_reopen(self, options: BlockDriverOptions) -> Reopening | None:
        """Other cache sizes, checks and so on; read-only or not."""
        from asyncemu.block.qcow2.reopening import prepare

        assert isinstance(options, Qcow2Options)
        return await prepare(self, options)

    async def detach_context(self) -> None:
        self._stop_cleaner()

    async def attach_context(self) -> None:
        self.restart_cleaner(self.options.cache_clean_interval)

    # ---- requests

    # Plain functions: a further coroutine would cost as much as the look-up.

    def preadv(self, offset: int, buffers: Buffers) -> Coroutine[Any, Any, None]:
        return self.image.reader.read(offset, buffers)

    def pwritev(self, offset: int, buffers: Buffers) -> Coroutine[Any, Any, None]:
        return self.image.writer.write(offset, buffers)

    async def pwritev_compressed(self, offset: int, buffers: Buffers) -> None:
        from asyncemu.block.qcow2.compressed_write import write_compressed

        await write_compressed(self.image, offset, buffers)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        from asyncemu.block.qcow2.zero import write_zeroes

        await write_zeroes(self.image, offset, length, flags)

    async def discard(self, offset: int, length: int) -> None:
        from asyncemu.block.qcow2.discard import discard

        await discard(self.image, offset, length)

    async def flush_to_os(self) -> None:
        # What a corrupt image has in memory is not to be trusted: it stays there, and nobody hears of it again.
        if not self.image.broken:
            await self.image.write_caches()

    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        from asyncemu.block.qcow2.block_status import block_status, metadata_preallocated

        if self._preallocated is None:
            self._preallocated = await metadata_preallocated(self.image)
        return await block_status(self.image, offset, length, self._preallocated)

    async def copy_range_from(
        self, offset: int, target: BlockChild, target_offset: int, length: int, read_flags: int, write_flags: int
    ) -> None:
        from asyncemu.block.qcow2.copying import copy_from

        await copy_from(self.image, offset, target, target_offset, length, (read_flags, write_flags))

    async def copy_range_to(
        self, source: BlockChild, source_offset: int, offset: int, length: int, read_flags: int, write_flags: int
    ) -> None:
        from asyncemu.block.qcow2.copying import copy_to

        await copy_to(self.image, source, source_offset, offset, length, (read_flags, write_flags))

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        from asyncemu.block.qcow2.resize import truncate

        return await truncate(self.image, size, exact=exact, preallocation=preallocation, zero=zero)

    # ---- the image

    def has_zero_init(self) -> bool:
        """Yes, unless clusters were preallocated in something that does not."""
        return not self.image.header.has_data_file or self.image.data_file.node.driver.has_zero_init()

    async def image_info(self) -> ImageInfo:
        from asyncemu.block.qcow2.information import image_info

        return await image_info(self.image)

    async def check(self, repair: Repair, progress: Progress) -> CheckResult:
        from asyncemu.block.qcow2.check import check

        async with drained(self.node):
            return await check(self.image, repair, progress)

    async def make_empty(self) -> None:
        from asyncemu.block.qcow2.empty import make_empty

        await make_empty(self.image)

    async def change_backing_file(self, backing_file: str, backing_format: str) -> None:
        """See BlockDriver. OSError: EINVAL (a raw data file, or too long a name), ENOSPC."""
        from asyncemu.block.qcow2.backing_name import change_backing_file

        await change_backing_file(self.image, backing_file, backing_format)
        self.backing_file, self.backing_format = backing_file, backing_format

    async def amend(self, options: Mapping[str, str], progress: Progress, force: bool) -> None:
        from asyncemu.block.qcow2.amend import amend

        async with drained(self.node):
            try:
                await amend(self.image, options, progress)
            finally:
                self.node.set_size(self.image.header.size)

    # ---- snapshots

    async def snapshot_create(self, snapshot: SnapshotInfo) -> SnapshotInfo:
        from asyncemu.block.qcow2.snapshots import snapshot_create

        async with drained(self.node):
            return await snapshot_create(self.image, snapshot)

    async def snapshot_goto(self, id_or_name: str) -> None:
        from asyncemu.block.qcow2.snapshots import snapshot_goto

        async with drained(self.node):
            await snapshot_goto(self.image, id_or_name)
            self.node.set_size(self.image.header.size)

    async def snapshot_delete(self, id: str, name: str) -> None:
        from asyncemu.block.qcow2.snapshots import snapshot_delete

        async with drained(self.node):
            await snapshot_delete(self.image, id, name)

    async def snapshot_list(self) -> Sequence[SnapshotInfo]:
        if not self.image.snapshots.snapshots:
            return ()
        from asyncemu.block.qcow2.snapshots import snapshot_list

        return snapshot_list(self.image)

    async def snapshot_load(self, id: str, name: str) -> None:
        from asyncemu.block.qcow2.snapshots import snapshot_load

        async with drained(self.node):
            await snapshot_load(self.image, id, name)

    async def save_vmstate(self, offset: int, buffers: Buffers) -> None:
        """VM state is stored like guest data behind the end of the disk."""
        if self.file.debugged:
            await self.file.debug_event("vmstate_save")
        await self.image.writer.write(self.image.vm_state_offset + offset, buffers)

    async def load_vmstate(self, offset: int, buffers: Buffers) -> None:
        if self.file.debugged:
            await self.file.debug_event("vmstate_load")
        await self.image.reader.read(self.image.vm_state_offset + offset, buffers)

    # ---- class methods

    @classmethod
    def probe(cls, head: bytes, filename: str) -> int:
        return 100 if head[:4] == _MAGIC and int.from_bytes(head[4:8], "big") >= 2 else 0

    @classmethod
    async def create(cls, file: BlockBackend, options: PlainOptions) -> None:
        from asyncemu.block.qcow2.create import create

        assert isinstance(options, Qcow2Creation)
        await create(file, options)

    @classmethod
    async def measure(cls, options: PlainOptions, source: BlockBackend | None) -> Measurement:
        from asyncemu.block.qcow2.measure import measure

        assert isinstance(options, Qcow2Creation)
        return await measure(options, source)
