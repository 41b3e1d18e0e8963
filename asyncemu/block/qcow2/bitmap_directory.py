# SPDX-License-Identifier: GPL-2.0-or-later
"""The directory of persistent bitmaps: recognised, listed, and marked when the image is written without them.

qcow2.txt, "Bitmap directory". This program does not keep bitmaps up to date. A bitmap with the flag "auto" must reflect
all changes of the disk, and so is marked ``in_use`` before the first change: whoever reads it then knows that it was
not saved. One without the flag does not follow changes, and stays valid.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from asyncemu.block.qcow2.errors import BadImage

IN_USE: Final = 1 << 0
AUTO: Final = 1 << 1
EXTRA_DATA_COMPATIBLE: Final = 1 << 2

_fixed: Final = struct.Struct(">QIIBBHI")
_FLAGS_OFFSET: Final = 12

#: QEMU's limits.
_MAX_NAME: Final = 1023
_MAX_TABLE_ENTRIES: Final = 0x800_0000


class Bitmap(NamedTuple):
    """One entry; offsets in bytes."""

    table_offset: int
    #: Entries of 8 bytes.
    table_size: int
    flags: int
    type: int
    granularity_bits: int
    name: str
    extra_data: bytes = b""


def parse_bitmap_directory(data: bytes | bytearray, offset: int, count: int, cluster_size: int) -> list[Bitmap]:
    """All entries of the directory, which is at ``offset`` of the file. Raises BadImage, with QEMU's texts."""
    bitmaps: list[Bitmap] = []
    position = 0
    while position < len(data):
        if len(bitmaps) == count:
            raise BadImage(offset + position, "More bitmaps found than specified in header extension")
        if position + _fixed.size > len(data):
            raise BadImage(offset + position, "Broken bitmap directory")
        table, size, flags, kind, granularity, name_size, extra_size = _fixed.unpack_from(data, position)
        extra_at = position + _fixed.size
        name_at = extra_at + extra_size
        end = name_at + name_size
        if end > len(data) or not 0 < name_size <= _MAX_NAME or size > _MAX_TABLE_ENTRIES or table % cluster_size:
            raise BadImage(offset + position, "Broken bitmap directory")
        name = bytes(data[name_at:end]).decode("utf-8", "surrogateescape")
        bitmaps.append(Bitmap(table, size, flags, kind, granularity, name, bytes(data[extra_at:name_at])))
        position = end + -end % 8
    if len(bitmaps) != count:
        raise BadImage(offset, "Less bitmaps found than specified in header extension")
    return bitmaps


def bitmap_directory_bytes(bitmaps: list[Bitmap]) -> bytes:
    """As they are stored."""
    parts = []
    for bitmap in bitmaps:
        name = bitmap.name.encode("utf-8", "surrogateescape")
        entry = _fixed.pack(
            bitmap.table_offset,
            bitmap.table_size,
            bitmap.flags,
            bitmap.type,
            bitmap.granularity_bits,
            len(name),
            len(bitmap.extra_data),
        )
        entry += bitmap.extra_data + name
        parts.append(entry + bytes(-len(entry) % 8))
    return b"".join(parts)


def changes_to_mark(bitmaps: list[Bitmap], *, all_of_them: bool) -> list[tuple[int, bytes]]:
    """Where in the directory to write what, so that those that will be wrong say so.

    ``all_of_them``: for changes that none survives (another size); otherwise those that follow the disk.
    """
    changes = []
    position = 0
    for bitmap in bitmaps:
        if (all_of_them or bitmap.flags & AUTO) and not bitmap.flags & IN_USE:
            changes.append((position + _FLAGS_OFFSET, struct.pack(">I", bitmap.flags | IN_USE)))
        position += bitmap_entry_size(bitmap)
    return changes


def bitmap_entry_size(bitmap: Bitmap) -> int:
    """Bytes that it takes in the directory."""
    length = _fixed.size + len(bitmap.extra_data) + len(bitmap.name.encode("utf-8", "surrogateescape"))
    return length + -length % 8


def bitmap_info(bitmap: Bitmap) -> dict[str, object]:
    """As ``img info`` shows it. QEMU: Qcow2BitmapInfo."""
    names = ((IN_USE, "in-use"), (AUTO, "auto"))
    return {
        "flags": [name for bit, name in names if bitmap.flags & bit],
        "name": bitmap.name,
        "granularity": 1 << bitmap.granularity_bits,
    }
