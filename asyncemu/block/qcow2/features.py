# SPDX-License-Identifier: GPL-2.0-or-later
"""Feature bits of the header, their names, and what is said about those that are not known.

qcow2.txt, "Header" (bytes 72 to 95) and "Feature name table".
"""

from __future__ import annotations

import struct
from typing import Final

# incompatible_features: an image with an unknown one can't be opened.
DIRTY: Final = 1 << 0
CORRUPT: Final = 1 << 1
DATA_FILE: Final = 1 << 2
COMPRESSION: Final = 1 << 3
EXTENDED_L2: Final = 1 << 4
KNOWN_INCOMPATIBLE: Final = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2

# compatible_features: unknown ones are ignored.
LAZY_REFCOUNTS: Final = 1 << 0

# autoclear_features: unknown ones are cleared by whoever writes to the image.
BITMAPS: Final = 1 << 0
DATA_FILE_RAW: Final = 1 << 1
KNOWN_AUTOCLEAR: Final = BITMAPS | DATA_FILE_RAW

# Types in the feature name table.
_INCOMPATIBLE: Final = 0
_COMPATIBLE: Final = 1
_AUTOCLEAR: Final = 2

_NAMES: Final = (
    (_INCOMPATIBLE, 0, "dirty bit"),
    (_INCOMPATIBLE, 1, "corrupt bit"),
    (_INCOMPATIBLE, 2, "external data file"),
    (_INCOMPATIBLE, 3, "compression type"),
    (_INCOMPATIBLE, 4, "extended L2 entries"),
    (_COMPATIBLE, 0, "lazy refcounts"),
    (_AUTOCLEAR, 0, "bitmaps"),
    (_AUTOCLEAR, 1, "raw external data"),
)

_entry: Final = struct.Struct(">BB46s")


def feature_name_table() -> bytes:
    """The table of all features that this program knows, as QEMU 7.2 writes it."""
    return b"".join(_entry.pack(kind, bit, name.encode()) for kind, bit, name in _NAMES)


def unsupported(bits: int, table: bytes) -> str:
    """Which incompatible features ``bits`` are, by their names in the image's ``table`` where it has them."""
    names = []
    for kind, bit, name in _entry.iter_unpack(table[: len(table) // _entry.size * _entry.size]):
        if kind == _INCOMPATIBLE and bit < 64 and bits >> bit & 1:
            names.append(_printable(name))
            bits &= ~(1 << bit)
    if bits:
        names.append(f"Unknown incompatible feature: {bits:x}")
    return ", ".join(names)


def _printable(name: bytes) -> str:
    text = name.partition(b"\0")[0].decode(errors="replace")
    return "".join(character if character.isprintable() else "?" for character in text)
