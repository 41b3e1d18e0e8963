# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a regular file has data and where holes: lseek(2) with SEEK_DATA and SEEK_HOLE.

The last data extent that was found is remembered, so that one who asks block by block does not make the file system
look it up again and again. A write in it leaves it data; what makes holes (discard, zeroes, another size) calls
``forget`` when it is done. Another process that makes holes meanwhile is kept out by the image locks.
QEMU: find_allocation in file-posix.c, the block-status cache of block.c.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from asyncemu.block.file.engine import run_to_end
from asyncemu.loop import AioContext, home

#: f_type (statfs(2)) of file systems that answer from memory or from a local disk's metadata: ext2 to 4, XFS, btrfs,
#: tmpfs, F2FS, bcachefs, ZFS. The others (NFS, FUSE) may have to ask somebody.
_LOCAL: Final = frozenset({0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0xF2F52010, 0xCA451A4E, 0x2FC12FC1})


class DataExtents:
    """Of one open file. Home: that of the driver."""

    def __init__(self, context: AioContext, fd: int) -> None:
        self.context = context
        self._fd = fd
        #: None: nobody has asked yet.
        self._in_place: bool | None = None
        self._start = self._end = 0
        self._generation = 0

    @home
    def forget(self) -> None:
        """There may be new holes."""
        self._start = self._end = 0
        self._generation += 1

    @home
    async def at(self, offset: int) -> tuple[bool, int]:
        """Are there data at byte ``offset``, and up to which byte that goes on; 0: up to the end of the file.

        What can't be found out is data.
        """
        if self._start <= offset < self._end:
            return True, self._end
        generation = self._generation
        if self._in_place is None:
            self._in_place = _is_local(self._fd)
        if self._in_place:
            found = _look(self._fd, offset)
        else:
            found = await run_to_end(self.context, _look, self._fd, offset)
        is_data, end = found
        if is_data and generation == self._generation:
            self._start, self._end = offset, end
        return found


def _look(fd: int, offset: int) -> tuple[bool, int]:
    try:
        data = os.lseek(fd, offset, os.SEEK_DATA)
        if data > offset:
            return False, data
        return True, os.lseek(fd, offset, os.SEEK_HOLE)
    except OSError as error:
        # ENXIO: no data from there on, or (by somebody else's truncate) no file. The rest: the file system can't say.
        return error.errno != errno.ENXIO, 0


def _is_local(fd: int) -> bool:
    from asyncemu.block.file.system_calls import file_system_type

    return file_system_type(fd) in _LOCAL
