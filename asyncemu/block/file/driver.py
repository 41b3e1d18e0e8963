# SPDX-License-Identifier: GPL-2.0-or-later
"""FileDriver: a regular file of the host as a disk.

The order in which a read is tried: preadv2 with RWF_NOWAIT in place (the bytes are in the page cache: no Future, no
Task, no thread, about two microseconds), then io_uring, else a worker thread. Writes go the same way; few file systems
take a buffered write with RWF_NOWAIT, and the first refusal ends the trying. The loop never waits for a disk.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, Literal

from asyncemu.block.driver import BlockDriver, BlockDriverOptions
from asyncemu.block.file.alignment import direct_alignment
from asyncemu.block.file.engine import Engine, open_engine, run_to_end
from asyncemu.block.file.locking import LockedElsewhere, LockingUnsupported, lock_image
from asyncemu.block.flags import MAY_UNMAP
from asyncemu.block.types import Preallocation
from asyncemu.errors import BlockError, ConfigError
from asyncemu.host_file import HostFile
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option

#: Views in one system call (IOV_MAX of Linux).
_IOV_MAX: Final = 1024

#: Bytes in one system call. A copy of this size from the page cache holds the loop up for about a millisecond.
_MAX_TRANSFER: Final = 4 << 20

# fallocate(2); Python has no names for them.
_KEEP_SIZE: Final = 0x01
_PUNCH_HOLE: Final = 0x02
_ZERO_RANGE: Final = 0x10


class FileOptions(BlockDriverOptions):
    """Keys of the ``file`` driver; QEMU's names."""

    filename: HostFile = option(description="The file.")
    locking: Literal["auto", "on", "off"] = option(
        default="auto",
        description="Refuse a file that another process has open for writing; auto: where the file system can.",
    )
    aio: Literal["auto", "io_uring", "threads"] = option(
        default="auto", description="Who waits for the disk; auto: the best."
    )


class FileDriver(BlockDriver[FileOptions], name="file"):
    """One open file. All methods raise OSError, which the node turns into BlockError."""

    description = "A regular file of the host."
    growable = True
    zero_flags = MAY_UNMAP

    async def open(self) -> int:
        """Open and lock the file; its size in bytes. Raises ConfigError."""
        options = self.options
        self._engine: Engine = open_engine(self.context, options.aio)
        try:
            self._fd = self._open_file()
        except BaseException:
            self._engine.release()
            raise
        try:
            self._lock()
            if options.cache.direct:
                self._set_alignment()
            size = os.fstat(self._fd).st_size
        except BaseException:
            await self.close()
            raise
        self._read_inline = self._write_inline = not options.cache.direct
        self._can_punch = self._can_zero = True
        self._flush_error = 0
        return size

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        """Fill ``buffers``; what lies past the end of the file (it may have shrunk) is zero."""
        if self._read_inline and len(buffers) <= _IOV_MAX:
            length = buffers.nbytes
            if length <= _MAX_TRANSFER:
                try:
                    done = os.preadv(self._fd, buffers, offset, os.RWF_NOWAIT)
                except BlockingIOError:
                    pass
                except OSError as error:
                    if error.errno != errno.EOPNOTSUPP:
                        raise
                    self._read_inline = False
                else:
                    if done == length:
                        return
                    offset += done
                    buffers = buffers.split(done)[1]
        await self._read(offset, buffers)

    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        """Write ``buffers``."""
        if self._write_inline and len(buffers) <= _IOV_MAX and buffers.nbytes <= _MAX_TRANSFER:
            try:
                done = os.pwritev(self._fd, buffers, offset, os.RWF_NOWAIT)
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                self._write_inline = False
            else:
                offset += done
                buffers = buffers.split(done)[1]
        await self._write(offset, buffers)

    async def flush(self) -> None:
        """fdatasync(2)."""
        if self._flush_error:
            raise OSError(self._flush_error, os.strerror(self._flush_error))
        try:
            await self._engine.fdatasync(self._fd)
        except OSError as error:
            # The kernel reports pages that it could not write once, then calls them clean: a second fdatasync would
            # succeed with the data lost. Without the page cache there is nothing to lose.
            if not self.options.cache.direct:
                self._flush_error = error.errno or errno.EIO
            raise

    async def discard(self, offset: int, length: int) -> None:
        """Give the storage back, where the file system can."""
        if self._can_punch:
            try:
                await self._engine.fallocate(self._fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                self._can_punch = False

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        """fallocate(2); EOPNOTSUPP where the file system can't, and the node writes zeroes."""
        if flags & MAY_UNMAP and self._can_punch:
            try:
                await self._engine.fallocate(self._fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length)
                return
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                self._can_punch = False
        if not self._can_zero:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        try:
            await self._engine.fallocate(self._fd, _ZERO_RANGE | _KEEP_SIZE, offset, length)
        except OSError as error:
            self._can_zero = error.errno != errno.EOPNOTSUPP
            raise

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        """ftruncate(2)."""
        await run_to_end(self.context, os.ftruncate, self._fd, size)
        return size

    async def detach_context(self) -> None:
        """The engine is the context's."""
        self._engine.release()

    async def attach_context(self) -> None:
        """See BlockDriver."""
        try:
            self._engine = open_engine(self.context, self.options.aio)
        except ConfigError as error:
            raise BlockError(self.node_name, errno.ENOSYS, error.problem) from error

    async def close(self) -> None:
        """Close the file, which drops its locks."""
        os.close(self._fd)
        self._engine.release()

    # ---- transfers through the engine

    async def _read(self, offset: int, buffers: Buffers) -> None:
        while buffers:
            done = await self._engine.readv(self._fd, offset, buffers.head(_MAX_TRANSFER, _IOV_MAX))
            offset += done
            buffers = buffers.split(done)[1]
            # Direct I/O can't go on from the middle of a block; only the end of the file leaves one there.
            if not done or offset % self.limits.request_alignment:
                buffers.fill_zero()
                return

    async def _write(self, offset: int, buffers: Buffers) -> None:
        while buffers:
            done = await self._engine.writev(self._fd, offset, buffers.head(_MAX_TRANSFER, _IOV_MAX))
            if not done:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            offset += done
            buffers = buffers.split(done)[1]

    # ---- opening

    def _open_file(self) -> int:
        path = self.options.filename
        flags = os.O_CLOEXEC | (os.O_RDONLY if self.read_only else os.O_RDWR)
        if self.options.cache.direct:
            flags |= os.O_DIRECT
        try:
            # Looked at first: to open a FIFO or a tape is to wait or to act.
            mode = os.stat(path).st_mode  # noqa: PTH116 (a Path would spell it otherwise)
            if not stat.S_ISREG(mode):
                raise ConfigError("filename", f"{path}: is {_kind(mode)}, not a regular file")
            return os.open(path, flags)
        except FileNotFoundError:
            remedy = f"create it, for example with: truncate -s 1G {path}"
            raise ConfigError("filename", f"{path}: no such file", remedy) from None
        except PermissionError as error:
            remedy = "" if self.read_only else "set read-only = true if it is only to be read"
            raise ConfigError("filename", f"{path}: {_lower(error)}", remedy) from error
        except OSError as error:
            if error.errno == errno.EINVAL and self.options.cache.direct:
                raise self._no_direct_io() from error
            if error.errno in (errno.EROFS, errno.ETXTBSY):
                raise ConfigError("filename", f"{path}: {_lower(error)}", "set read-only = true") from error
            raise ConfigError("filename", f"{path}: {_lower(error)}") from error

    def _lock(self) -> None:
        if self.options.locking == "off":
            return
        path = self.options.filename
        try:
            lock_image(self._fd, read_only=self.read_only)
        except LockedElsewhere:
            raise ConfigError(
                "filename",
                f"{path}: is locked by another process (another asyncemu or QEMU?)",
                'end that process, or set locking = "off" if it can\'t harm',
            ) from None
        except LockingUnsupported:
            if self.options.locking == "on":
                raise ConfigError("locking", f"the file system of {path} has no locks", 'use "auto"') from None

    def _set_alignment(self) -> None:
        alignment = direct_alignment(self._fd)
        if alignment is None:
            raise self._no_direct_io()
        self.limits.request_alignment, self.limits.memory_alignment = alignment

    def _no_direct_io(self) -> ConfigError:
        return ConfigError(
            "cache.direct", f"the file system of {self.options.filename} does no direct I/O", "leave the key out"
        )


def _lower(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[0].lower() + text[1:]


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISFIFO, "a FIFO"),
    )
    return next((text for test, text in kinds if test(mode)), "a socket")
