# SPDX-License-Identifier: GPL-2.0-or-later
"""Persistent bitmaps of an open image: read the directory, and mark those that a change makes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncemu.block.qcow2.bitmap_directory import Bitmap, changes_to_mark, parse_bitmap_directory
from asyncemu.block.qcow2.errors import BadImage

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image


async def read_bitmaps(image: Image) -> list[Bitmap]:
    """All bitmaps; empty when there is no valid extension. BadImage: the directory is damaged."""
    extension = image.area.extensions.bitmaps
    if extension is None:
        return []
    data = await image.file.pread(extension.directory_offset, extension.directory_size)
    return parse_bitmap_directory(data, extension.directory_offset, extension.nb_bitmaps, image.geometry.cluster_size)


async def mark_bitmaps(image: Image, *, all_of_them: bool) -> None:
    """Before a change that they don't follow: they are ``in_use`` on disk when this returns.

    When the directory can't be read, all of them are given up by clearing the autoclear bit, as a program does that
    does not know bitmaps.
    """
    extension = image.area.extensions.bitmaps
    if extension is None:
        return
    try:
        bitmaps = await read_bitmaps(image)
    except BadImage as error:
        image.warn(f"{image.name}: {error}; all bitmaps are now considered inconsistent")
        await image.with_bitmaps_dropped()
    else:
        for position, data in changes_to_mark(bitmaps, all_of_them=all_of_them):
            await image.file.pwrite(extension.directory_offset + position, data)
    await image.file.flush()
