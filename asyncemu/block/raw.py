# SPDX-License-Identifier: GPL-2.0-or-later
"""RawDriver: another node as it is, or a window of it. QEMU: raw-format.c, with its messages."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.child import BlockChild
from asyncemu.block.copy_range import copy_range_from, copy_range_to
from asyncemu.block.driver import BlockDriver, BlockDriverOptions, ChildSlot
from asyncemu.block.filter import passed_flags, without_padding
from asyncemu.block.flags import (
    PERM_RESIZE,
    PERM_WRITE,
    ROLE_DATA,
    ROLE_FILTER,
    ROLE_PRIMARY,
    STATUS_OFFSET_VALID,
    STATUS_RAW,
)
from asyncemu.block.permissions import default_child_permissions
from asyncemu.block.probing import PROBED_BYTES, probe
from asyncemu.block.types import BlockStatus, ImageInfo, Measurement, Preallocation, Reopening
from asyncemu.errors import ConfigError
from asyncemu.loop import home
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import PlainOptions, option
from asyncemu.size import LARGEST, Size

if TYPE_CHECKING:
    from asyncemu.block.backend import BlockBackend

#: Sizes of new images are whole sectors.
_SECTOR: Final = 512


class RawOptions(BlockDriverOptions):
    """Keys of the ``raw`` driver; QEMU's names."""

    file: str | dict[str, Any] = option(description="What is below: a node-name, or a table that makes a node.")
    offset: Size = option(default=0, description="Where the window begins.")
    size: Size | None = option(default=None, description="Length of the window; default: up to the end.")


class RawCreation(PlainOptions):
    """``-o`` of a new raw image, beside those of its file."""

    size: Size = option(default=0, description="Virtual disk size")


class RawDriver(BlockDriver[RawOptions], name="raw"):
    """Shifts offsets; the node below does the rest, alignment included."""

    description = "Another node as it is, or a window of it."

    children = (ChildSlot("file", ROLE_FILTER),)
    file: BlockChild
    is_format = True
    creation = RawCreation
    growable = True

    #: Nobody said that it is raw, but its first bytes did. See ``restrict``.
    probed = False

    # ---- life cycle

    async def open(self) -> int:
        """The size of the window in bytes. ConfigError when it is not within the node below."""
        self.read_only = self.read_only or self.file.node.read_only
        return self._look_through(*self._window(self.options))

    def _window(self, options: RawOptions) -> tuple[int, int | None]:
        """Offset and size, checked. ConfigError."""
        offset, size, room = int(options.offset), options.size, self.file.size
        if offset > room:
            raise ConfigError(
                "offset", f"Offset ({offset}) cannot be greater than size of the containing file ({room})"
            )
        if size is not None and size > room - offset:
            raise ConfigError(
                "size",
                f"The sum of offset ({offset}) and size ({size}) has to be smaller or equal to the  actual size of "
                f"the containing file ({room})",
            )
        if size is not None and size % _SECTOR:
            raise ConfigError("size", f"Specified size is not multiple of {_SECTOR}")
        return offset, size

    def _look_through(self, offset: int, size: int | None) -> int:
        """The window is this from now on; its size in bytes."""
        below = self.file
        self._offset = offset
        self._fixed = size is not None
        self.growable = size is None and below.node.driver.growable
        self.limits.opt_transfer = below.node.limits.opt_transfer
        self.write_flags, self.zero_flags = passed_flags(below.node.driver)
        return below.size - offset if size is None else size

    async def prepare_reopen(self, options: BlockDriverOptions) -> Reopening | None:
        """Another window."""
        assert isinstance(options, RawOptions)
        return _RawReopening(self, options, *self._window(options))

    @home
    async def restrict(self) -> None:
        """The format was guessed from the first bytes, which a guest may have written.

        It may not make them look like those of another format, with a backing file of its choice. QEMU's tools warn
        the user of that where the image can be written; ours do.
        """
        self.probed = True
        # So that a write fills all of them, or leaves them alone.
        self.limits.request_alignment = PROBED_BYTES
        self.node.set_limits()

    def child_role(self, slot: ChildSlot) -> int:
        """A window is no filter: offsets differ."""
        return _role(self.options)

    def child_permissions(self, child: BlockChild, permissions: int, shared: int) -> tuple[int, int]:
        """What our parents have: there are no metadata of ours to write."""
        needed, shared = default_child_permissions(self, child, permissions, shared)
        changes = PERM_WRITE | PERM_RESIZE
        return needed & ~changes | permissions & changes, shared

    def child_resized(self, child: BlockChild) -> int | None:
        return None if self._fixed else max(child.size - self._offset, 0)

    # ---- requests

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        file = self.file
        if file.debugged:
            await file.debug_event("read_aio")
        await file.preadv(self._offset + offset, buffers)

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        if self.probed:
            buffers = without_padding(self, offset, buffers)
            if offset < PROBED_BYTES and buffers:
                buffers = _checked(buffers)
        file = self.file
        if file.debugged:
            await file.debug_event("write_aio")
        await file.pwritev(self._offset + offset, buffers, flags)

    async def discard(self, offset: int, length: int) -> None:
        await self.file.discard(self._offset + offset, length)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        await self.file.write_zeroes(self._offset + offset, length, flags)

    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        return BlockStatus(STATUS_RAW | STATUS_OFFSET_VALID, length, self._offset + offset, self.file.node)

    async def copy_range_from(
        self, offset: int, target: BlockChild, target_offset: int, length: int, read_flags: int, write_flags: int
    ) -> None:
        await copy_range_from(self.file, self._offset + offset, target, target_offset, length, read_flags, write_flags)

    async def copy_range_to(
        self, source: BlockChild, source_offset: int, offset: int, length: int, read_flags: int, write_flags: int
    ) -> None:
        await copy_range_to(source, source_offset, self.file, self._offset + offset, length, read_flags, write_flags)

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        if self._fixed:
            raise ConfigError("size", "Cannot resize fixed-size raw disks")
        if size > LARGEST - self._offset:
            raise ConfigError("size", "Disk size too large for the chosen offset")
        await self.file.truncate(size + self._offset, exact=exact, preallocation=preallocation, zero=zero)
        return self.file.size - self._offset

    # ---- the image

    def has_zero_init(self) -> bool:
        return self.file.node.driver.has_zero_init()

    async def image_info(self) -> ImageInfo:
        return await self.file.node.driver.image_info()

    @classmethod
    def probe(cls, head: bytes, filename: str) -> int:
        """Anything may be raw: the smallest score that there is."""
        return 1

    @classmethod
    async def create(cls, file: BlockBackend, options: PlainOptions) -> None:
        """A raw image is its file."""
        assert isinstance(options, RawCreation)
        await file.truncate(_whole_sectors(options.size))

    @classmethod
    async def measure(cls, options: PlainOptions, source: BlockBackend | None) -> Measurement:
        """All of it, as holes count, too."""
        assert isinstance(options, RawCreation)
        size = _whole_sectors(source.size if source is not None else options.size)
        return Measurement(required=size, fully_allocated=size)


class _RawReopening:
    """Another window, ready."""

    def __init__(self, driver: RawDriver, options: RawOptions, offset: int, size: int | None) -> None:
        self._driver = driver
        self._options = options
        self._window = offset, size

    async def commit(self) -> None:
        """See Reopening."""
        driver = self._driver
        driver.options = self._options
        driver.read_only = self._options.read_only or driver.file.node.read_only
        driver.file.role = _role(self._options)
        size = driver._look_through(*self._window)
        if size != driver.node.size:
            driver.node.size = size
            driver.node.tell_parents_of_resize()

    async def abort(self) -> None:
        """See Reopening."""


def _role(options: RawOptions) -> int:
    return ROLE_DATA | ROLE_PRIMARY if options.offset or options.size is not None else ROLE_FILTER


def _checked(buffers: Buffers) -> Buffers:
    """Those of a write of the first block, unless it is another format's: then EPERM."""
    head, rest = buffers.split(PROBED_BYTES)
    # A copy: the guest may change its memory behind the look.
    copy = head.tobytes()
    if probe(copy, "") != RawDriver.name:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    return Buffers([memoryview(copy), *rest])


def _whole_sectors(size: int) -> int:
    return -(-size // _SECTOR) * _SECTOR
