# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk: the open image in whole sectors of 512 bytes, as QEMU counts it.

A file may end within a sector: the rest of that reads as zeroes, and a write there makes the file longer.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from asyncemu.block.flags import PERM_RESIZE
from asyncemu.block.status import is_allocated
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.backend import BlockBackend
    from asyncemu.cli.tools.opening import Image
    from asyncemu.memory.buffers import Buffers


class Disk:
    """Requests as those of a BlockBackend; writes with the flags of the cache mode. Raises BlockError."""

    def __init__(self, image: Image) -> None:
        self.image = image

    @property
    def size(self) -> int:
        """Bytes."""
        return self.image.size

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        """Fill ``buffers`` from byte ``offset`` on."""
        backend = self._backend("read", offset, buffers.nbytes)
        inside, outside = buffers.split(min(max(backend.size - offset, 0), buffers.nbytes))
        outside.fill_zero()
        await backend.preadv(min(offset, backend.size), inside)

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        """Write ``buffers`` at byte ``offset``."""
        backend = self._backend("write", offset, buffers.nbytes)
        await backend.pwritev(offset, buffers, flags | self.image.write_flags)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        """Make the bytes read as zero."""
        backend = self._backend("write zeroes", offset, length)
        await backend.write_zeroes(offset, length, flags | self.image.write_flags)

    async def discard(self, offset: int, length: int) -> None:
        """The bytes are not needed any more."""
        backend = self._backend("discard", offset, length)
        await backend.discard(min(offset, backend.size), min(length, max(backend.size - offset, 0)))

    async def is_allocated(self, offset: int, length: int) -> tuple[bool, int]:
        """Does the image itself, not one behind it, decide what is read; for how many of ``length`` bytes that holds.

        0: ``offset`` is at the end or behind it.
        """
        backend = self.image.backend
        if offset >= backend.size:
            # What fills the last sector up belongs to what is before it.
            return True, max(min(length, self.size - offset), 0)
        return await is_allocated(backend.node, offset, length)

    def _backend(self, what: str, offset: int, length: int) -> BlockBackend:
        backend = self.image.backend
        backend.allow_write_beyond_end = self.size != backend.size
        if offset + length > self.size:
            backend.statistics.refused(what)
            problem = f"{what} of {length} bytes at {offset}, past the end of {self.size} bytes"
            raise BlockError(backend.name, errno.EIO, problem)
        if offset + length > backend.size and what.startswith("write"):
            # The rest of the last sector: the file becomes longer.
            backend.set_permissions(backend.permissions | PERM_RESIZE, backend.shared)
        return backend
