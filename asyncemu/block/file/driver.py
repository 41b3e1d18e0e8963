# SPDX-License-Identifier: GPL-2.0-or-later
"""FileDriver: a regular file of the host as a disk."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import Final

from asyncemu.block.file.alignment import direct_alignment
from asyncemu.block.file.creation import FileCreation, create_regular_file
from asyncemu.block.file.engine import run_to_end
from asyncemu.block.file.extents import DataExtents
from asyncemu.block.file.opening import OpenFile, no_direct_io
from asyncemu.block.file.options import FileOptions
from asyncemu.block.file.posix import PosixDriver
from asyncemu.block.file.resize import resize
from asyncemu.block.flags import MAY_UNMAP, STATUS_DATA, STATUS_OFFSET_VALID, STATUS_ZERO
from asyncemu.block.limits import BlockLimits
from asyncemu.block.types import BlockStatus, Preallocation
from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext
from asyncemu.plain_options import PlainOptions

# fallocate(2); Python has no names for them.
_KEEP_SIZE: Final = 0x01
_PUNCH_HOLE: Final = 0x02
_ZERO_RANGE: Final = 0x10


class FileDriver(PosixDriver, name="file"):
    """One regular file."""

    description = "A regular file of the host."
    protocol = "file"
    creation = FileCreation
    growable = True

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
        alignment = direct_alignment(file.fd)
        if alignment is None:
            raise no_direct_io()
        return BlockLimits(request_alignment=alignment[0], memory_alignment=alignment[1])

    def find_size(self) -> int:
        """Bytes."""
        assert self.file is not None
        # What the file system can do, for all of the file's ways to be open.
        self._can_punch = self._can_zero = self._can_allocate = True
        return os.fstat(self.file.fd).st_size

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
        if self._can_punch:
            try:
                await self._fallocate(_PUNCH_HOLE | _KEEP_SIZE, offset, length)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                self._can_punch = False

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        """fallocate(2); ENOTSUP where the file system can't, and the node writes zeroes.

        In this order: a hole (with MAY_UNMAP), a range of zeroes, a hole that is allocated again, new storage past the
        end. Some file systems say EINVAL to bytes that are not blocks of theirs: then the next one is tried, too.
        """
        # A hole does not make the file longer.
        if (
            flags & MAY_UNMAP
            and self._can_punch
            and offset + length <= self.node.size
            and await self._zeroes_by(_PUNCH_HOLE | _KEEP_SIZE, offset, length, "_can_punch")
        ):
            return
        if self._can_zero and await self._zeroes_by(_ZERO_RANGE, offset, length, "_can_zero"):
            return
        if self._can_allocate:
            is_new = offset >= self.node.size
            if is_new or (
                self._can_punch and await self._zeroes_by(_PUNCH_HOLE | _KEEP_SIZE, offset, length, "_can_punch")
            ):
                if await self._zeroes_by(0, offset, length, "_can_allocate"):
                    return
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    async def _zeroes_by(self, mode: int, offset: int, length: int, ability: str) -> bool:
        try:
            await self._fallocate(mode, offset, length)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                setattr(self, ability, False)
            elif error.errno != errno.EINVAL:
                raise
            return False
        return True

    async def _fallocate(self, mode: int, offset: int, length: int) -> None:
        try:
            await self.engine.fallocate(self._fd, mode, offset, length)
        finally:
            self._extents.forget()

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
