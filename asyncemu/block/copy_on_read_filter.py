# SPDX-License-Identifier: GPL-2.0-or-later
"""CopyOnReadDriver: what is read from the backing chain below is kept in the node below. QEMU: block/copy-on-read.c.

The copying is the node's (copy_on_read.py); this only asks for it: for all that is read, or with ``bottom`` for what
comes from a layer down to that one.
"""

from __future__ import annotations

from asyncemu.block.chain import chain
from asyncemu.block.child import BlockChild
from asyncemu.block.filter import FilterDriver, FilterOptions
from asyncemu.block.flags import (
    COPY_ON_READ,
    PERM_CONSISTENT_READ,
    PERM_RESIZE,
    PERM_WRITE,
    PERM_WRITE_UNCHANGED,
)
from asyncemu.block.node import BlockNode
from asyncemu.block.status import is_allocated, is_allocated_above
from asyncemu.errors import ConfigError
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option

_PASSED_ON = PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE


class CopyOnReadOptions(FilterOptions):
    """Keys of the ``copy-on-read`` driver; QEMU's names."""

    bottom: str = option(default="", description="The last layer that is copied from, by its node-name; default: all.")


class CopyOnReadDriver(FilterDriver[CopyOnReadOptions], name="copy-on-read"):
    """Reads with COPY_ON_READ."""

    description = "Keeps what is read from backing files."

    async def open(self) -> int:
        """ConfigError, in QEMU's words, when ``bottom`` is no layer below."""
        size = await super().open()
        name = self.options.bottom
        self._bottom: BlockNode | None = None
        if name:
            self._bottom = next((node for node in chain(self.file.node) if node.name == name), None)
            if self._bottom is None:
                raise ConfigError("bottom", f"Bottom node '{name}' not found")
            if self._bottom.filtered is not None:
                raise ConfigError("bottom", f"Bottom node '{name}' is a filter")
        return size

    def child_permissions(self, child: BlockChild, permissions: int, shared: int) -> tuple[int, int]:
        """To copy is to write what readers see already."""
        return (
            permissions & _PASSED_ON | PERM_WRITE_UNCHANGED,
            shared & _PASSED_ON | PERM_WRITE_UNCHANGED,
        )

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        if self._bottom is None:
            await self.file.preadv(offset, buffers, COPY_ON_READ)
            return
        length = buffers.nbytes
        while length:
            flags, known = await self._copied(self._bottom, offset, length)
            part, buffers = buffers.split(known)
            await self.file.preadv(offset, part, flags)
            offset += known
            length -= known

    async def _copied(self, bottom: BlockNode, offset: int, length: int) -> tuple[int, int]:
        """COPY_ON_READ or 0, and for how many of the bytes that holds; those past the end are not copied."""
        allocated, known = await is_allocated(self.file.node, offset, length)
        if allocated or not known:
            return 0, known or length
        depth, above = await is_allocated_above(self.file.node, bottom, offset, known, include_base=True)
        return COPY_ON_READ if depth else 0, above or known
