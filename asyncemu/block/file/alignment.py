# SPDX-License-Identifier: GPL-2.0-or-later
"""What direct I/O on a file wants its offsets, lengths and addresses to be multiples of."""

from __future__ import annotations

import errno
import mmap
import os
import struct
from typing import Final

from asyncemu.block.file.system_calls import statx

_STATX_DIOALIGN: Final = 0x2000
#: struct statx (statx(2)): stx_mask is the first word; stx_dio_mem_align and stx_dio_offset_align follow stx_mnt_id.
_DIO_ALIGN_AT: Final = 152


def direct_alignment(fd: int) -> tuple[int, int] | None:
    """(request alignment, memory alignment) in bytes for a file opened with O_DIRECT; None: it can't do direct I/O.

    Asks the kernel (statx, Linux 6.1), else tries what works.
    """
    return _ask(fd) if _can_ask(fd) else _probe(fd)


def _statx(fd: int) -> bytes:
    return statx(fd, _STATX_DIOALIGN)


def _can_ask(fd: int) -> bool:
    return bool(struct.unpack_from("=I", _statx(fd))[0] & _STATX_DIOALIGN)


def _ask(fd: int) -> tuple[int, int] | None:
    memory, offset = struct.unpack_from("=II", _statx(fd), _DIO_ALIGN_AT)
    return (offset, memory) if offset else None


def _probe(fd: int) -> tuple[int, int] | None:
    """The smallest length that a read may have; it is taken for the memory's alignment too."""
    page = memoryview(mmap.mmap(-1, mmap.PAGESIZE))
    if _readable(fd, page[:1]):
        # An empty file, or one that does not mind: the read tells nothing, so a value that satisfies all disks.
        return mmap.PAGESIZE, mmap.PAGESIZE
    length = 512
    while length <= mmap.PAGESIZE:
        if _readable(fd, page[:length]):
            return length, length
        length *= 2
    return None


def _readable(fd: int, buffer: memoryview) -> bool:
    try:
        os.preadv(fd, [buffer], 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True
