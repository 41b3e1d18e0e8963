# SPDX-License-Identifier: GPL-2.0-or-later
"""Compressed clusters: raw deflate with a window of 4 KiB, or zstd. Pure functions, for worker threads.

qcow2.txt, "Compressed Clusters Descriptor" and compression_type. Both libraries let go of the GIL.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from asyncemu.block.qcow2.constants import ZLIB
from asyncemu.errors import ConfigError

#: Raw deflate, 2 ** 12 bytes of window: what the format's first reader had memory for.
_WINDOW: Final = -12
_MEMORY_LEVEL: Final = 9

#: Clusters up to this many bytes are not worth a worker thread.
INLINE_SIZE: Final = 4096


class BadCompressedData(Exception):
    """It does not make a cluster."""


def compress(kind: int, data: bytes | bytearray | memoryview) -> bytes:
    """``data``, a cluster, compressed. ``kind``: compression_type of the header."""
    if kind == ZLIB:
        deflate = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, _WINDOW, _MEMORY_LEVEL)
        return deflate.compress(data) + deflate.flush()
    compressed: bytes = zstd_module().compress(data)
    return compressed


def decompress(kind: int, data: bytes | bytearray | memoryview, size: int) -> bytes:
    """The ``size`` bytes at the start of what ``data`` is when decompressed. BadCompressedData: it has fewer.

    ``data`` may have other bytes behind the end of the stream: it is counted in sectors. No more memory than ``size``.
    """
    found = _inflate(data, size) if kind == ZLIB else _zstd(data, size)
    if len(found) < size:
        raise BadCompressedData(f"{len(found)} bytes instead of {size}")
    return found


def _inflate(data: bytes | bytearray | memoryview, size: int) -> bytes:
    try:
        return zlib.decompressobj(_WINDOW).decompress(data, size)
    except zlib.error as error:
        raise BadCompressedData(str(error)) from error


def _zstd(data: bytes | bytearray | memoryview, size: int) -> bytes:
    zstd = zstd_module()
    parts: list[bytes] = []
    missing = size
    rest: bytes | bytearray | memoryview = data
    while missing:
        stream = zstd.ZstdDecompressor()
        try:
            part = stream.decompress(rest, missing)
        except zstd.ZstdError as error:
            raise BadCompressedData(str(error)) from error
        parts.append(part)
        missing -= len(part)
        # Another frame may follow; one that has given nothing ends the search.
        rest = stream.unused_data
        if not (stream.eof and rest and part):
            break
    return b"".join(parts)


def zstd_module() -> Any:
    """The library for zstd, which is an extra. ConfigError: it is not installed."""
    try:
        from backports import zstd
    except ImportError:
        raise ConfigError(
            "compression_type", "zstd is not available", "install it: pip install asyncemu[zstd]"
        ) from None
    return zstd
