# SPDX-License-Identifier: GPL-2.0-or-later
"""FileDriver: a regular file of the host as a disk."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import Final

from asyncemu.block.file.creation import FileCreation, create_regular_file
from asyncemu.block.file.engine import run_to_end
from asyncemu.block.file.extents import DataExtents
from asyncemu.block.file.opening import OpenFile, no_direct_io
from asyncemu.block.file.posix import PosixDriver
from asyncemu.block.file.resize import resize
from asyncemu.block.flags import MAY_UNMAP, STATUS_DATA, STATUS_OFFSET_VALID, STATUS_ZERO
from asyncemu.block.limits import BlockLimits
from asyncemu.block.types import BlockStatus, Preallocation
from asyncemu.errors import ConfigError
from asyncemu.plain_options import PlainOptions

#: Modes of fallocate(2): FALLOC_FL_PUNCH_HOLE with FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, none.
_HOLE: Final = 0x03
_ZERO_RANGE: Final = 0x10
_NEW_STORAGE: Final = 0


class FileDriver(PosixDriver, name="file"):
    """One regular file."""

    description = "A regular file of the host."
    protocol = "file"
    creation = FileCreation
    growable = True

    async def open(self) -> int:
        """See PosixDriver."""
        #: Modes of fallocate that the file system has refused.
        self._unsupported: set[int] = set()
        return await super().open()

    def check_mode(self, mode: int) -> None:
        """Regular files only."""
        if stat.S_ISREG(mode):
            return
        filename = self.options.filename
        if stat.S_ISDIR(mode) and not self.read_only:
            raise ConfigError("filename", f"Could not open '{filename}': Is a directory")
        remedy = 'use driver = "host_device"' if stat.S_ISBLK(mode) or stat.S_ISCHR(mode) else ""
        raise ConfigError("filename", f"'{self.name}' driver requires '{filename}' to be a regular file", remedy)

    def find_limits(self, file: OpenFile) -> BlockLimits:
        """The alignment of direct I/O."""
        if not file.direct:
            return BlockLimits()
        from asyncemu.block.file.alignment import direct_alignment

        alignment = direct_alignment(file.fd)
        if alignment is None:
            raise no_direct_io()
        return BlockLimits(request_alignment=alignment[0], memory_alignment=alignment[1])

    def find_size(self) -> int:
        """Bytes."""
        assert self.handle is not None
        return os.fstat(self.handle.fd).st_size

    def file_changed(self) -> None:
        super().file_changed()
        self._extents = DataExtents(self.context, self._fd)

    async def attach_context(self) -> None:
        """See BlockDriver."""
        await super().attach_context()
        self._extents.context = self.context

    # ---- requests

    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        """Data, or a hole, which reads as zeroes."""
        if not want_zero:
            return BlockStatus(STATUS_DATA | STATUS_OFFSET_VALID, length, offset, self.node)
        is_data, end = await self._extents.at(offset)
        flags = STATUS_OFFSET_VALID | (STATUS_DATA if is_data else STATUS_ZERO)
        alignment = self.limits.request_alignment
        # Up to the end of its block, where the file ends within one.
        known = -(-(end - offset) // alignment) * alignment if end else length
        return BlockStatus(flags, known, offset, self.node)

    async def discard(self, offset: int, length: int) -> None:
        """Give the storage back, where the file system can."""
        try:
            done = await self._fallocate(_HOLE, offset, length)
        except OSError:
            self.count_discard(length, False)
            raise
        self.count_discard(length, done)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        """fallocate(2); ENOTSUP where the file system can't, and the node writes zeroes."""
        size = self.node.size
        # A hole does not make the file longer.
        if flags & MAY_UNMAP and offset + length <= size and await self._fallocate(_HOLE, offset, length):
            return
        if await self._fallocate(_ZERO_RANGE, offset, length):
            return
        # New storage is zero, past the end or where a hole was made.
        if (offset >= size or await self._fallocate(_HOLE, offset, length)) and await self._fallocate(
            _NEW_STORAGE, offset, length
        ):
            return
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    async def _fallocate(self, mode: int, offset: int, length: int) -> bool:
        """False: the file system can't do this, or not with bytes that are no blocks of its own."""
        if mode in self._unsupported:
            return False
        try:
            await self.engine.fallocate(self._fd, mode, offset, length)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self._unsupported.add(mode)
            elif error.errno not in (errno.EINVAL, errno.EBUSY):
                raise
            return False
        finally:
            self._extents.forget()
        return True

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        """Always to ``size``; what is new reads as zeroes."""
        try:
            return await run_to_end(self.context, resize, self.node_name, self._fd, size, preallocation)
        finally:
            self._extents.forget()

    def has_zero_init(self) -> bool:
        return True

    @classmethod
    async def create_file(cls, table: Mapping[str, object], options: PlainOptions) -> None:
        """Make the file that ``table`` names, of ``options`` (FileCreation); one that is there is emptied."""
        assert isinstance(options, FileCreation)
        await create_regular_file(str(table["filename"]), options, locking=table.get("locking") != "off")
