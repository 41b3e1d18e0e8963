# SPDX-License-Identifier: GPL-2.0-or-later
"""MemoryFile: a file in memory that a hostile image may write to, at any offset, within a bound."""

from __future__ import annotations

import errno
import os
from typing import Final

from asyncemu.block.types import Preallocation
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.memory_disk import MemoryDisk

#: Bytes. A file system says EFBIG at some size; ours is small. Four clusters of the largest size fit.
LARGEST: Final = 8 << 20


class MemoryFile(MemoryDisk, name="fuzz-file"):
    """As MemoryDisk, growing up to LARGEST; EFBIG beyond."""

    def begin_with(self, contents: bytes) -> None:
        """These are the contents. Nothing is in flight."""
        self.data[:] = contents
        self.node.size = len(contents)

    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        _check(offset + buffers.nbytes)
        await super().pwritev(offset, buffers)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        _check(offset + length)
        await super().write_zeroes(offset, length, flags)

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        _check(size)
        return await super().truncate(size, exact=exact, preallocation=preallocation, zero=zero)


def _check(end: int) -> None:
    if end > LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
