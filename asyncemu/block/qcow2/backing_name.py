# SPDX-License-Identifier: GPL-2.0-or-later
"""Another backing file's name and format in the header. QEMU: qcow2_change_backing_file."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from asyncemu.block.qcow2.constants import MAX_BACKING_NAME
from asyncemu.block.qcow2.extensions import as_bytes
from asyncemu.block.qcow2.features import DATA_FILE_RAW

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image


async def change_backing_file(image: Image, backing_file: str, backing_format: str) -> None:
    """Store both, empty ones as none. OSError: EINVAL (a raw data file, a long name), ENOSPC (no room)."""
    if backing_file and image.header.autoclear_features & DATA_FILE_RAW:
        raise OSError(errno.EINVAL, "a raw data file can't have a backing file")
    if len(as_bytes(backing_file)) > MAX_BACKING_NAME:
        raise OSError(errno.EINVAL, "the backing file's name is too long")
    await image.begin_write()
    # With the lock, as feature bits change with it held.
    async with image.lock:
        extensions = image.area.extensions._replace(backing_format=backing_format if backing_file else "")
        await image.update_area(image.area._replace(extensions=extensions, backing_file=backing_file))
