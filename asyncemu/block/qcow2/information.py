# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``img info`` shows of an image. QEMU: ImageInfoSpecificQCow2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncemu.block.qcow2.constants import COMPRESSION_NAMES, CRYPT_AES, CRYPT_NONE
from asyncemu.block.qcow2.errors import BadImage
from asyncemu.block.qcow2.features import DATA_FILE_RAW, LAZY_REFCOUNTS
from asyncemu.block.types import ImageInfo
from asyncemu.errors import ConfigError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image


async def image_info(image: Image) -> ImageInfo:
    """Raises ConfigError: the bitmap directory is damaged."""
    header, extensions = image.header, image.area.extensions
    specific: dict[str, object] = {"compat": "0.10", "compression-type": "zlib", "refcount-bits": 16}
    if header.version >= 3:
        specific = {
            "compat": "1.1",
            "compression-type": COMPRESSION_NAMES[header.compression_type],
            "lazy-refcounts": bool(header.compatible_features & LAZY_REFCOUNTS),
            "refcount-bits": image.geometry.refcount_bits,
            "corrupt": header.corrupt,
            "extended-l2": header.extended_l2,
        }
        if header.has_data_file:
            specific["data-file"] = extensions.data_file
            specific["data-file-raw"] = bool(header.autoclear_features & DATA_FILE_RAW)
        if extensions.bitmaps is not None:
            specific["bitmaps"] = await _bitmaps(image)
    if header.crypt_method != CRYPT_NONE:
        specific["encrypt"] = {"format": "aes" if header.crypt_method == CRYPT_AES else "luks"}
    return ImageInfo(
        cluster_size=header.cluster_size,
        vm_state_offset=image.vm_state_offset,
        dirty=header.dirty,
        encrypted=header.crypt_method != CRYPT_NONE,
        corrupt=header.corrupt,
        format_specific={"type": "qcow2", "data": specific},
    )


async def _bitmaps(image: Image) -> list[dict[str, object]]:
    from asyncemu.block.qcow2.bitmap_directory import bitmap_info
    from asyncemu.block.qcow2.bitmaps import read_bitmaps

    try:
        return [bitmap_info(bitmap) for bitmap in await read_bitmaps(image)]
    except BadImage as error:
        raise ConfigError(f"{image.name}: offset {error.offset}", error.problem) from error
