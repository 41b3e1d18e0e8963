# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux's EFI zboot image: an EFI application that holds a compressed Image and unpacks it under EFI.

We unpack it ourselves. Source: Linux, drivers/firmware/efi/libstub/zboot-header.S (a header of 64 bytes, little-endian)
and Makefile.zboot (what the compression types are called).
"""

from __future__ import annotations

import struct

from asyncemu.machine.loader.compressed import decompress
from asyncemu.machine.loader.pe import DOS_HEADER_SIZE, MZ
from asyncemu.machine.loader.source import Source

_MAGIC = b"zimg"
_MAGIC_AT = 4
# (MZ, magic), payload offset, payload size, (reserved), compression type
_HEADER = struct.Struct("<8xII8x32s")
# zstd22 is kbuild's name for zstd at level 22; both names are taken.
_CODECS = {"gzip": "gzip", "zstd": "zstd", "zstd22": "zstd"}


def matches(data: memoryview) -> bool:
    return data[:2] == MZ and data[_MAGIC_AT : _MAGIC_AT + 4] == _MAGIC


def unpack(source: Source, limit: int) -> tuple[str, Source]:
    """The name of the container and the Image in it, of at most ``limit`` bytes.

    Raises ConfigError for a truncated file, a compression that is not ours, and as ``decompress`` does.
    """
    if len(source.data) < DOS_HEADER_SIZE:
        raise source.truncated(DOS_HEADER_SIZE, "EFI zboot header")
    offset, size, field = _HEADER.unpack_from(source.data)
    name = field.split(b"\0")[0].decode("ascii", "backslashreplace")
    codec = _CODECS.get(name)
    if codec is None:
        raise source.error(f"is compressed with {name!r} (byte 24), not gzip or zstd", "give the unpacked Image")
    if offset + size > len(source.data):
        raise source.truncated(offset + size, f"{codec} payload")
    return "efi-zboot", decompress(source, codec, offset, offset + size, limit)
