# SPDX-License-Identifier: GPL-2.0-or-later
"""Files compressed as a whole, with gzip (RFC 1952) or zstd (RFC 8878); zstd needs the optional backports.zstd.

What comes out is bounded while it is made: 1 MB of gzip can hold 1 GB of zeros. Beside it lives one chunk of 1 MiB and
the decoder's window: 32 KiB for gzip, for zstd what the file asks for, up to the library's own bound of 128 MiB.
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import IO

from asyncemu.machine.loader.placement import mib
from asyncemu.machine.loader.source import Source

# Arbitrary: twice the largest kernel with all its debug information.
MAX_UNPACKED = 1 << 30
# One step of unpacking, in bytes: long enough that Python's share of the work does not show.
_CHUNK = 1 << 20

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def matches(data: memoryview) -> bool:
    return codec_of(data) is not None


def codec_of(data: memoryview) -> str | None:
    """What ``decompress`` is to be called with: "gzip", "zstd", or None for neither."""
    return next((codec for magic, codec in _MAGIC.items() if data[: len(magic)] == magic), None)


def unpack(source: Source, limit: int) -> tuple[str, Source]:
    """The codec and what it holds, of at most ``limit`` bytes. Raises ConfigError as ``decompress`` does."""
    codec = codec_of(source.data)
    assert codec is not None, "to be called when matches() says so"
    return codec, decompress(source, codec, 0, len(source.data), limit)


def decompress(source: Source, codec: str, start: int, end: int, limit: int) -> Source:
    """Unpack the bytes [start, end) of ``source``, "gzip" or "zstd".

    Raises ConfigError if they are truncated or damaged (gzip's checksum included), hold more than ``limit`` bytes or
    1 GiB, or if backports.zstd is missing.
    """
    packed = io.BytesIO(source.data[start:end])
    stream, errors = _open_gzip(packed) if codec == "gzip" else _open_zstd(source, packed)
    unpacked = io.BytesIO()
    try:
        while chunk := stream.read(_CHUNK):
            unpacked.write(chunk)
            if unpacked.tell() > min(limit, MAX_UNPACKED):
                raise _too_large(source, codec, limit)
    except EOFError as error:
        raise source.error(
            f"truncated: its {codec} data do not end by byte {end}", "copy or download the file again"
        ) from error
    except errors as error:
        raise source.error(
            f"damaged {codec} data before byte {start + packed.tell()}: {error}", "copy or download the file again"
        ) from error
    if not unpacked.tell():
        raise source.error(f"its {codec} data hold nothing", "give a riscv64 kernel")
    return Source(source.where, source.path, memoryview(unpacked.getvalue()))


def _too_large(source: Source, codec: str, limit: int) -> Exception:
    if limit < MAX_UNPACKED:
        return source.error(f"its {codec} data hold more than {mib(limit)}, all of RAM", "raise machine.memory")
    return source.error(f"its {codec} data hold more than {mib(MAX_UNPACKED)}", "give a riscv64 kernel")


def _open_gzip(packed: IO[bytes]) -> tuple[io.BufferedIOBase, tuple[type[Exception], ...]]:
    return gzip.GzipFile(fileobj=packed), (gzip.BadGzipFile, zlib.error)


def _open_zstd(source: Source, packed: IO[bytes]) -> tuple[io.BufferedIOBase, tuple[type[Exception], ...]]:
    try:
        from backports import zstd
    except ImportError as error:
        raise source.error(
            "is compressed with zstd, for which the Python package backports.zstd is missing",
            "install asyncemu with its extra: asyncemu[zstd]",
        ) from error
    return zstd.ZstdFile(packed), (zstd.ZstdError,)
