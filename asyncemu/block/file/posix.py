# SPDX-License-Identifier: GPL-2.0-or-later
"""PosixDriver: what the drivers for files and devices share: system calls on one open file, and its locks.

The order in which a read is tried: preadv2 with RWF_NOWAIT in place (the bytes are in the page cache: no Future, no
Task, no thread, about two microseconds), then io_uring, else a worker thread. Writes go the same way; few file systems
take a buffered write with RWF_NOWAIT, and the first refusal ends the trying. The loop never waits for a disk: a write
with FUA does, and so is never tried in place. A tool that does nothing but copy has nobody who would need the loop
meanwhile: there, a write into the page cache is made in place whatever it takes, as handing it over takes longer.

The file is open for writing unless it is read-only; with ``auto-read-only``, while somebody above may write.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from asyncemu.block.child import BlockChild
from asyncemu.block.driver import BlockDriver, BlockDriverOptions
from asyncemu.block.file.copying import copy_file_range
from asyncemu.block.file.engine import Engine, open_engine, run_to_end
from asyncemu.block.file.locking import ImageLocks
from asyncemu.block.file.opening import OpenFile, may_write, open_again, open_file
from asyncemu.block.file.options import FileOptions
from asyncemu.block.flags import (
    FUA,
    MAY_UNMAP,
    NO_FALLBACK,
    PERM_ALL,
    PERM_RESIZE,
    PERM_WRITE,
    PERM_WRITE_UNCHANGED,
)
from asyncemu.block.limits import BlockLimits
from asyncemu.block.types import Reopening
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import home
from asyncemu.memory.buffers import Buffers

#: Views in one system call (IOV_MAX of Linux).
_IOV_MAX: Final = 1024

#: Bytes in one system call. A copy of this size from the page cache holds the loop up for about a millisecond.
_MAX_TRANSFER: Final = 4 << 20

_WRITERS: Final = PERM_WRITE | PERM_WRITE_UNCHANGED | PERM_RESIZE


class PosixDriver(BlockDriver[FileOptions]):
    """One open file. Requests raise OSError, which the node turns into BlockError."""

    write_flags = FUA
    zero_flags = MAY_UNMAP | NO_FALLBACK

    #: None: not open.
    handle: OpenFile | None = None
    #: What ``check_permissions`` found to be needed in its place.
    _next: OpenFile | None = None
    #: What the parents may do, and what all of them share.
    granted = (0, PERM_ALL)

    # ---- of the kinds

    @home
    def check_mode(self, mode: int) -> None:
        """Is something with this st_mode for this driver? ConfigError: no."""
        raise TypeError(f"block driver {self.name!r} does not define check_mode()")

    @home
    def find_limits(self, file: OpenFile) -> BlockLimits:
        """Those of the node when it uses ``file``. ConfigError: it can't be used."""
        raise TypeError(f"block driver {self.name!r} does not define find_limits()")

    @home
    def find_size(self) -> int:
        """Bytes. OSError."""
        raise TypeError(f"block driver {self.name!r} does not define find_size()")

    # ---- life cycle

    async def open(self) -> int:
        """Open it; the size in bytes. Locks come with permissions. Raises ConfigError."""
        options = self.options
        check_options(options)
        self.read_only = is_read_only(options)
        self._require_engine()
        try:
            writable = self._wants_write(0)
            file = open_file(options.filename, self.check_mode, writable=writable, direct=options.cache.direct)
        except BaseException:
            self.release_engine()
            raise
        self.handle = file
        try:
            if options.locking != "off":
                required = options.locking == "on"
                file.locks = ImageLocks(file.fd, options.filename, self.node_name, required=required)
            self.limits = self.find_limits(file)
            size = self.find_size()
        except BaseException:
            await self.close()
            raise
        self._fd = file.fd
        self._write_through = True
        self._flush_error = 0
        self._discards = {"discard-nb-ok": 0, "discard-nb-failed": 0, "discard-bytes-ok": 0}
        self.file_changed()
        return size

    async def close(self) -> None:
        """Close the file, which drops its locks."""
        assert self.handle is not None
        self.handle.close()
        self.handle = None
        self.release_engine()

    async def detach_context(self) -> None:
        """The engine is the context's."""
        self.release_engine()

    async def attach_context(self) -> None:
        """See BlockDriver."""
        try:
            self._require_engine()
        except ConfigError as error:
            raise BlockError(self.node_name, errno.ENOSYS, error.problem) from error

    @cached_property
    def engine(self) -> Engine:
        """Made for the first request that needs it. ConfigError: the kernel does not offer what ``aio`` names."""
        return open_engine(self.context, self.options.aio)

    def _require_engine(self) -> None:
        """ConfigError, when it can't be had and nothing else will do."""
        if self.options.aio == "io_uring":
            _ = self.engine

    @home
    def release_engine(self) -> None:
        """No request is in flight. The next one makes another."""
        engine: Engine | None = vars(self).pop("engine", None)
        if engine is not None:
            engine.release()

    async def prepare_reopen(self, options: BlockDriverOptions) -> Reopening | None:
        """Another mode (read-only, cache.direct), another engine; not another file."""
        from asyncemu.block.file.reopening import prepare

        assert isinstance(options, FileOptions)
        return prepare(self, options)

    @home
    def file_changed(self) -> None:
        """``file`` is open in another way, or for the first time."""
        assert self.handle is not None
        self._read_inline = self._write_inline = not self.handle.direct
        # Who names an engine gets it.
        self._write_in_place = self._write_inline and self.options.aio == "auto" and self.environment.writes_in_place

    # ---- permissions are locks

    def check_permissions(self, permissions: int, shared: int) -> None:
        """ConfigError (node name) when another process, or another node of ours, has the file in its way."""
        file = self.handle
        if file is None:
            return  # asked before it is open, when nobody can want anything
        writable = self._wants_write(permissions)
        if writable != file.writable:
            try:
                self._next = open_again(file, self.options.filename, writable=writable, direct=file.direct)
            except ConfigError:
                if writable:
                    raise
                # It stays writable, which nobody makes use of.
        if file.locks is not None:
            file.locks.prepare(permissions, shared)
            if self._next is not None:
                self._next.locks = file.locks.copy_to(self._next.fd, permissions, shared)

    def set_permissions(self, permissions: int, shared: int) -> None:
        """The locks that were too many go."""
        file = self.handle
        if file is None:
            return
        self.granted = permissions, shared
        if self._next is not None:
            file.become(self._next)
            self._next = None
            self.file_changed()
        elif file.locks is not None:
            file.locks.commit(permissions, shared)

    def abort_permissions(self) -> None:
        """The new locks go."""
        if self._next is not None:
            self._next.close()
            self._next = None
        if self.handle is not None and self.handle.locks is not None:
            self.handle.locks.abort()

    def _wants_write(self, permissions: int) -> bool:
        return not self.read_only and (not self.options.auto_read_only or bool(permissions & _WRITERS))

    # ---- requests

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

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        """Write ``buffers``. ``flags``: FUA."""
        if flags & FUA and not self.options.cache.no_flush:
            await self._write_with_fua(offset, buffers)
            return
        if self._write_in_place:
            while buffers:
                buffers, offset = _rest(buffers, offset, os.pwritev(self._fd, _one_call(buffers), offset))
            return
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
        self._check_lost()
        try:
            await self.engine.fdatasync(self._fd)
        except OSError as error:
            self._may_have_lost(error)
            raise

    async def copy_range_from(
        self, offset: int, target: BlockChild, target_offset: int, length: int, read_flags: int, write_flags: int
    ) -> None:
        """The bytes are here: the target decides."""
        from asyncemu.block.copy_range import copy_range_to

        # Any edge to this node: the target looks at the node behind it.
        source = self.node.parents[0]
        await copy_range_to(source, offset, target, target_offset, length, read_flags, write_flags)

    async def copy_range_to(
        self, source: BlockChild, source_offset: int, offset: int, length: int, read_flags: int, write_flags: int
    ) -> None:
        """copy_file_range(2). ENOTSUP when the source is no file, or the file systems can't."""
        driver = source.node.driver
        if not isinstance(driver, PosixDriver):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        await run_to_end(self.context, copy_file_range, driver._fd, source_offset, self._fd, offset, length)

    @home
    def count_discard(self, length: int, succeeded: bool) -> None:
        """One of ``length`` bytes was tried."""
        counts = self._discards
        if succeeded:
            counts["discard-nb-ok"] += 1
            counts["discard-bytes-ok"] += length
        else:
            counts["discard-nb-failed"] += 1

    def statistics(self) -> Mapping[str, int]:
        """QEMU: BlockStatsSpecificFile."""
        return dict(self._discards)

    async def allocated_size(self) -> int:
        """What stat(2) says."""
        return os.fstat(self._fd).st_blocks * 512

    # ---- transfers through the engine

    async def _read(self, offset: int, buffers: Buffers) -> None:
        while buffers:
            done = await self.engine.readv(self._fd, offset, _one_call(buffers))
            offset += done
            buffers = buffers.split(done)[1]
            # Direct I/O can't go on from the middle of a block; only the end of the file leaves one there.
            if not done or offset % self.limits.request_alignment:
                buffers.fill_zero()
                return

    async def _write(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        while buffers:
            done = await self.engine.writev(self._fd, offset, _one_call(buffers), flags)
            buffers, offset = _rest(buffers, offset, done)

    async def _write_with_fua(self, offset: int, buffers: Buffers) -> None:
        """RWF_DSYNC: one trip to the kernel, and only these bytes go to the disk, not all that is dirty in the file."""
        self._check_lost()
        if self._write_through:
            try:
                await self._write(offset, buffers, os.RWF_DSYNC)
                return
            except OSError as error:
                if error.errno == errno.EOPNOTSUPP:
                    self._write_through = False
                else:
                    # Has the write failed, and nothing is lost? Then it fails again. Else the rest of it has.
                    await self._write(offset, buffers)
                    self._may_have_lost(error)
                    raise
        await self._write(offset, buffers)
        await self.flush()

    def _check_lost(self) -> None:
        if self._flush_error:
            raise OSError(self._flush_error, os.strerror(self._flush_error))

    def _may_have_lost(self, error: OSError) -> None:
        # The kernel reports pages that it could not write once, then calls them clean: a second fdatasync would
        # succeed with the data lost. Without the page cache there is nothing to lose.
        if self.handle is not None and not self.handle.direct:
            self._flush_error = error.errno or errno.EIO


def _one_call(buffers: Buffers) -> Buffers:
    """What of ``buffers`` one system call moves."""
    return buffers.head(_MAX_TRANSFER, _IOV_MAX)


def _rest(buffers: Buffers, offset: int, done: int) -> tuple[Buffers, int]:
    """What is left of a write of which so many bytes are done, and where it goes. OSError (ENOSPC): none were."""
    if not done:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return buffers.split(done)[1], offset + done


def check_options(options: FileOptions) -> None:
    """ConfigError: they contradict each other."""
    if options.aio == "native" and not options.cache.direct:
        problem = "aio=native was specified, but it requires cache.direct=on, which was not specified."
        raise ConfigError("aio", problem)


def is_read_only(options: FileOptions) -> bool:
    """By the user's will, or because the host does not let us write, where the user can live with that."""
    return options.read_only or (options.auto_read_only and not may_write(options.filename))
