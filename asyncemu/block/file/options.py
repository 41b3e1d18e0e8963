# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of the drivers for files and devices of the host; QEMU's names."""

from __future__ import annotations

from typing import Literal

from asyncemu.block.driver import BlockDriverOptions
from asyncemu.host_file import HostFile
from asyncemu.plain_options import option


class FileOptions(BlockDriverOptions):
    """Keys of the ``file`` driver."""

    filename: HostFile = option(description="The file.")
    locking: Literal["auto", "on", "off"] = option(
        default="auto",
        description="Refuse a file that another process uses in a way that does not go with ours; auto: where the file "
        "system has locks.",
    )
    aio: Literal["auto", "io_uring", "native", "threads"] = option(
        default="auto",
        description="Who waits for the disk; auto: the best. native needs cache.direct, and is served by io_uring.",
    )


class HostDeviceOptions(FileOptions):
    """Keys of the ``host_device`` driver."""

    filename: HostFile = option(description="The block or character device.")
