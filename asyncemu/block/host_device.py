# SPDX-License-Identifier: GPL-2.0-or-later
"""HostDeviceDriver: a block device of the host as a disk (or a character device, such as /dev/zero).

Discards and zeroes go to the device by ioctl; the kernel drops what the page cache has of those bytes (Linux 4.9).
QEMU limits transfers by what the hardware takes at once for SCSI pass-through only, as the kernel splits the others;
so it is here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Mapping
from typing import Final

from asyncemu.block.file.engine import run_anywhere, run_to_end
from asyncemu.block.file.locking import ImageLocks
from asyncemu.block.file.opening import OpenFile, no_direct_io, open_file
from asyncemu.block.file.options import HostDeviceOptions
from asyncemu.block.file.posix import PosixDriver
from asyncemu.block.flags import MAY_UNMAP, NO_FALLBACK, PERM_ALL, PERM_RESIZE, PERM_WRITE
from asyncemu.block.limits import BlockLimits
from asyncemu.block.types import Preallocation
from asyncemu.errors import ConfigError
from asyncemu.plain_options import PlainOptions, option
from asyncemu.size import Size

# linux/fs.h, as on x86, arm64 and riscv64.
_BLKROGET: Final = 0x125E
_BLKSSZGET: Final = 0x1268
_BLKDISCARD: Final = 0x1277
_BLKZEROOUT: Final = 0x127F
_BLKGETSIZE64: Final = 0x80081272

#: fallocate(2): FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE. Of a device: zeroes without storage, or EOPNOTSUPP.
_HOLE: Final = 0x03

#: What kernels and drivers say to ioctls that they don't know.
_UNKNOWN: Final = (errno.ENODEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY)


class HostDeviceCreation(PlainOptions):
    """``-o`` of an image on a device."""

    size: Size = option(default=0, description="Virtual disk size")


class HostDeviceDriver(PosixDriver, name="host_device"):
    """One device."""

    description = "A block or character device of the host."
    options_type = HostDeviceOptions
    protocol = "host_device"
    creation = HostDeviceCreation

    async def open(self) -> int:
        """See PosixDriver."""
        size = await super().open()
        self._can_discard = self._can_zero = self._can_punch = stat.S_ISBLK(os.fstat(self._fd).st_mode)
        return size

    def check_mode(self, mode: int) -> None:
        """Devices only."""
        check_device(self.options.filename, mode)

    def find_limits(self, file: OpenFile) -> BlockLimits:
        """The device's sectors, and what it likes."""
        if not stat.S_ISBLK(os.fstat(file.fd).st_mode):
            return BlockLimits()
        if file.writable and _get_int(file.fd, _BLKROGET):
            problem = f"The device is not writable: {os.strerror(errno.EACCES)}"
            raise ConfigError("filename", problem, "set read-only = true if it is only to be read")
        sector = _get_int(file.fd, _BLKSSZGET)
        limits = BlockLimits(write_zeroes_alignment=sector, discard_alignment=sector)
        limits.opt_transfer = _queue_attribute(file.fd, "optimal_io_size")
        if file.direct:
            from asyncemu.block.file.alignment import direct_alignment

            alignment = direct_alignment(file.fd)
            if alignment is None:
                raise no_direct_io()
            limits.request_alignment, limits.memory_alignment = max(sector, alignment[0]), alignment[1]
        return limits

    def find_size(self) -> int:
        """Bytes; 0 for most character devices."""
        assert self.handle is not None
        return _size_of(self.handle.fd)

    # ---- requests

    async def discard(self, offset: int, length: int) -> None:
        """BLKDISCARD. ENOTSUP: the device can't, or not these bytes."""
        if not self._can_discard or not self._are_sectors(offset, length):
            raise _not_supported()
        try:
            await run_to_end(self.context, _range_ioctl, self._fd, _BLKDISCARD, offset, length)
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
            self._can_discard = False
            raise _not_supported() from error

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        """Without storage where that is wanted and can be had; else BLKZEROOUT, by whatever means the kernel has."""
        if not self._are_sectors(offset, length):
            raise _not_supported()
        if flags & MAY_UNMAP and self._can_punch:
            try:
                await self.engine.fallocate(self._fd, _HOLE, offset, length)
                return
            except OSError as error:
                if error.errno not in (*_UNKNOWN, errno.EINVAL, errno.EBUSY):
                    raise
                self._can_punch = False
        # The kernel may write zeroes for it, which the caller does not want to wait for with NO_FALLBACK.
        if not self._can_zero or flags & NO_FALLBACK:
            raise _not_supported()
        try:
            await run_to_end(self.context, _range_ioctl, self._fd, _BLKZEROOUT, offset, length)
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
            self._can_zero = False
            raise _not_supported() from error

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        """The size is the device's. It may have another one by now."""
        if preallocation != "off":
            raise ConfigError(
                "preallocation", f"Preallocation mode '{preallocation}' unsupported for this non-regular file"
            )
        now = _size_of(self._fd)
        if size != now and exact:
            raise ConfigError("size", "Cannot resize device files")
        if size > now:
            raise ConfigError("size", "Cannot grow device files")
        return now

    @classmethod
    async def create_file(cls, table: Mapping[str, object], options: PlainOptions) -> None:
        """See that the device has room, and that no format is recognised in what it holds."""
        assert isinstance(options, HostDeviceCreation)
        await run_anywhere(_create, str(table["filename"]), options.size, table.get("locking") != "off")

    def _are_sectors(self, offset: int, length: int) -> bool:
        sector = self.limits.discard_alignment or 1
        return not (offset % sector or length % sector)


def check_device(filename: str, mode: int) -> None:
    """ConfigError when st_mode ``mode`` is not a device's."""
    if not (stat.S_ISBLK(mode) or stat.S_ISCHR(mode)):
        raise ConfigError(
            "filename",
            f"'host_device' driver requires '{filename}' to be either a character or block device",
            'use driver = "file"' if stat.S_ISREG(mode) else "",
        )


def _create(filename: str, wanted: int, locking: bool) -> None:
    file = open_file(filename, lambda mode: check_device(filename, mode), writable=True, direct=False)
    try:
        if locking:
            # Dropped by the close.
            locks = ImageLocks(file.fd, filename, "filename", required=False)
            locks.prepare(PERM_WRITE | PERM_RESIZE, PERM_ALL)
        size = _size_of(file.fd)
        if wanted > size:
            raise ConfigError("size", "Cannot grow device files")
        try:
            os.pwrite(file.fd, bytes(min(size, 512)), 0)
        except OSError as error:
            problem = f"Failed to clear the new image's first sector: {error.strerror}"
            raise ConfigError("filename", problem) from error
    finally:
        file.close()


def _size_of(fd: int) -> int:
    if not stat.S_ISBLK(os.fstat(fd).st_mode):
        return os.lseek(fd, 0, os.SEEK_END)
    answer = bytearray(8)
    fcntl.ioctl(fd, _BLKGETSIZE64, answer)
    return int(struct.unpack("=Q", answer)[0])


def _get_int(fd: int, request: int) -> int:
    answer = bytearray(4)
    fcntl.ioctl(fd, request, answer)
    return int(struct.unpack("=i", answer)[0])


def _range_ioctl(fd: int, request: int, offset: int, length: int) -> None:
    fcntl.ioctl(fd, request, struct.pack("=QQ", offset, length))


def _queue_attribute(fd: int, name: str) -> int:
    """Of the device's request queue, in sysfs; 0: not known."""
    device = os.fstat(fd).st_rdev
    try:
        with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/queue/{name}") as file:  # noqa: PTH123
            return int(file.read(32))
    except (OSError, ValueError):
        return 0


def _not_supported() -> OSError:
    return OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
