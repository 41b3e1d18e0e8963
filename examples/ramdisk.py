# SPDX-License-Identifier: GPL-2.0-or-later
"""A block driver of your own: a disk in memory that begins as a copy of a file, and forgets what is written.

In vm.toml (paths are relative to that file):

    [[blockdev]]
    node-name = "disk0"
    plugin = "examples/ramdisk.py:RamDisk"
    image = "base.img"
    size = "64MiB"

    [[device]]
    driver = "virtio-blk"
    drive = "disk0"

What the class defines is what it can do. There is no ``flush`` and no ``write_zeroes`` here: flushing succeeds at once,
and the runtime writes zeroes with ``pwritev``. Without ``pwritev`` the disk would be read-only.
"""

from __future__ import annotations

from pathlib import Path

from asyncemu.block import BlockDriver, BlockDriverOptions
from asyncemu.errors import ConfigError
from asyncemu.host_path import HostPath
from asyncemu.memory import Buffers
from asyncemu.plain_options import option
from asyncemu.size import Size


class RamDiskOptions(BlockDriverOptions):
    """Keys in vm.toml."""

    size: Size = option(description="Size of the disk.")
    image: HostPath | None = option(default=None, description="What it holds at first; zeroes where the file ends.")


class RamDisk(BlockDriver[RamDiskOptions], name="ramdisk"):
    """Disk in memory."""

    async def open(self) -> int:
        """The size in bytes. Reading the image may take a while: a worker thread does it."""
        self._data = bytearray(self.options.size)
        if self.options.image is not None:
            contents = await self.context.worker_pool.run(Path.read_bytes, self.options.image)
            if len(contents) > len(self._data):
                raise ConfigError("image", f"{len(contents)} bytes do not fit into {len(self._data)}", "raise size")
            self._data[: len(contents)] = contents
        return len(self._data)

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        """Fill the buffers, which are views of guest RAM."""
        buffers.write(memoryview(self._data)[offset : offset + buffers.nbytes])

    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        for view in buffers:
            self._data[offset : offset + len(view)] = view
            offset += len(view)
