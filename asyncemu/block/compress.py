# SPDX-License-Identifier: GPL-2.0-or-later
"""CompressDriver: all that is written is stored compressed. QEMU: block/filter-compress.c.

Whole clusters only can be compressed, so the node here takes requests of whole clusters; smaller ones are made whole by
reading the rest.
"""

from __future__ import annotations

from asyncemu.block.filter import FilterDriver, FilterOptions
from asyncemu.block.flags import WRITE_COMPRESSED
from asyncemu.errors import ConfigError
from asyncemu.memory.buffers import Buffers


class CompressOptions(FilterOptions):
    """Keys of the ``compress`` driver; QEMU's names."""


class CompressDriver(FilterDriver[CompressOptions], name="compress"):
    """Writes with WRITE_COMPRESSED."""

    description = "Stores what is written compressed, where the format below can."

    async def open(self) -> int:
        """ConfigError, in QEMU's words, when the format below can't compress."""
        size = await super().open()
        below = self.file.node.driver
        if not below.defines("pwritev_compressed"):
            raise ConfigError("file", f"Compression is not supported for underlying format: {below.name}")
        cluster_size = (await self.image_info()).cluster_size
        if cluster_size:
            self.limits.request_alignment = cluster_size
        return size

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        await super().pwritev(offset, buffers, flags | WRITE_COMPRESSED)
