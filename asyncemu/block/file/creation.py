# SPDX-License-Identifier: GPL-2.0-or-later
"""New regular files: ``img create -f raw``, and the files of images of other formats."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Final

from asyncemu.block.file.engine import run_anywhere
from asyncemu.block.file.locking import ImageLocks
from asyncemu.block.file.resize import resize
from asyncemu.block.flags import PERM_ALL, PERM_RESIZE, PERM_WRITE
from asyncemu.block.types import Preallocation
from asyncemu.errors import ConfigError
from asyncemu.plain_options import PlainOptions, option
from asyncemu.size import Size

#: Sizes are whole sectors.
_SECTOR: Final = 512

#: What files are told by default that are not told otherwise (XFS: allocate so much at once).
_EXTENT_SIZE_HINT: Final = 1 << 20

# linux/fs.h, as on x86, arm64 and riscv64: FS_IOC_GETFLAGS, FS_IOC_SETFLAGS with FS_NOCOW_FL; FS_IOC_FSGETXATTR,
# FS_IOC_FSSETXATTR on struct fsxattr (xflags, extsize, nextents, projid, cowextsize, 8 of padding) with
# FS_XFLAG_EXTSIZE.
_GET_FLAGS: Final = 0x80086601
_SET_FLAGS: Final = 0x40086602
_NOCOW: Final = 0x00800000
_GET_XATTR: Final = 0x801C581F
_SET_XATTR: Final = 0x401C5820
_HAS_EXTENT_SIZE: Final = 0x00000800
_fsxattr: Final = struct.Struct("=5I8x")


class FileCreation(PlainOptions):
    """``-o`` of a new raw file."""

    extent_size_hint: Size | None = option(
        default=None, description="Extent size hint for the image file, 0 to disable"
    )
    nocow: bool = option(default=False, description="Turn off copy-on-write (valid only on btrfs)")
    preallocation: Preallocation = option(
        default="off", description="Preallocation mode (allowed values: off, falloc, full)"
    )
    size: Size = option(default=0, description="Virtual disk size")


async def create_regular_file(filename: str, options: FileCreation, *, locking: bool = True) -> None:
    """Make it, or empty it. ConfigError, ResizeError."""
    await run_anywhere(_create, filename, options, locking)


def _create(filename: str, options: FileCreation, locking: bool) -> None:
    if options.extent_size_hint is not None and options.extent_size_hint > 0xFFFFFFFF:
        raise ConfigError("extent_size_hint", "Extent size hint is too large")
    try:
        fd = os.open(filename, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError("filename", f"Could not create '{filename}': {error.strerror}") from error
    try:
        if locking:
            # All that is in there goes, and nobody else may change the size that is promised. Dropped by the close.
            locks = ImageLocks(fd, filename, "filename", required=False)
            locks.prepare(PERM_WRITE | PERM_RESIZE, PERM_ALL & ~PERM_RESIZE)
        resize(filename, fd, 0, "off")
        if options.nocow:
            _turn_off_copy_on_write(fd)
        _hint_extent_size(fd, options.extent_size_hint)
        resize(filename, fd, -(-options.size // _SECTOR) * _SECTOR, options.preallocation)
    finally:
        os.close(fd)


def _turn_off_copy_on_write(fd: int) -> None:
    """For speed: that it can't be done is no error."""
    flags = bytearray(8)
    try:
        fcntl.ioctl(fd, _GET_FLAGS, flags)
        value = struct.unpack_from("=I", flags)[0] | _NOCOW
        fcntl.ioctl(fd, _SET_FLAGS, struct.pack("=Q", value))
    except OSError:
        pass


def _hint_extent_size(fd: int, hint: int | None) -> None:
    """Said once when it can't be done, and the user has asked for it."""
    attributes = bytearray(_fsxattr.size)
    try:
        fcntl.ioctl(fd, _GET_XATTR, attributes)
        flags, _, *rest = _fsxattr.unpack(attributes)
        size = _EXTENT_SIZE_HINT if hint is None else hint
        fcntl.ioctl(fd, _SET_XATTR, _fsxattr.pack(flags | _HAS_EXTENT_SIZE, size, *rest))
    except OSError as error:
        if hint:
            import logging

            reason = os.strerror(error.errno or errno.EIO)
            logging.getLogger("asyncemu.block").warning("Failed to set extent size hint: %s", reason)
