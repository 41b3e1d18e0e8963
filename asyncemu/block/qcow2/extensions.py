# SPDX-License-Identifier: GPL-2.0-or-later
"""Extensions: what stands between the header and the backing file's name.

qcow2.txt, "Header extensions" and the sections behind it.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from asyncemu.block.qcow2.constants import CRYPT_LUKS
from asyncemu.block.qcow2.errors import BadImage
from asyncemu.block.qcow2.features import BITMAPS, feature_name_table
from asyncemu.block.qcow2.header import Header

END: Final = 0
BACKING_FORMAT: Final = 0xE2792ACA
FEATURE_NAMES: Final = 0x6803F857
BITMAPS_EXTENSION: Final = 0x23852875
ENCRYPTION: Final = 0x0537BE77
DATA_FILE_NAME: Final = 0x44415441

_head: Final = struct.Struct(">II")
_bitmaps: Final = struct.Struct(">IIQQ")
_encryption: Final = struct.Struct(">QQ")

#: QEMU's limits.
_MAX_FORMAT_NAME: Final = 16
_MAX_BITMAPS: Final = 65535
_MAX_BITMAP_DIRECTORY_SIZE: Final = 1024 * _MAX_BITMAPS

#: The feature name table is left out where it would leave no more than this many bytes for names (QEMU does so).
_ROOM_BESIDE_FEATURE_NAMES: Final = 4096


class BitmapsExtension(NamedTuple):
    """Where the bitmap directory is; sizes and offsets in bytes."""

    nb_bitmaps: int
    directory_size: int
    directory_offset: int


class EncryptionExtension(NamedTuple):
    """Where the LUKS header is, in bytes."""

    offset: int
    length: int


class Extensions(NamedTuple):
    """All extensions of an image. Names are decoded with ``surrogateescape``: any bytes survive."""

    backing_format: str = ""
    data_file: str = ""
    encryption: EncryptionExtension | None = None
    #: None also when the autoclear bit says that they are inconsistent.
    bitmaps: BitmapsExtension | None = None
    #: Type and data of what this program does not know; kept.
    unknown: tuple[tuple[int, bytes], ...] = ()
    #: The image's feature name table, as it is. What is written is this program's own.
    feature_names: bytes = b""
    #: The bitmaps extension is there, and the autoclear bit is not.
    stale_bitmaps: bool = False


def parse_extensions(area: bytes, header: Header) -> Extensions | None:
    """The extensions in ``area``, the start of the file.

    They end with an end marker or at the backing file's name, else with the cluster. None: ``area`` is too short to
    tell. Raises BadImage.
    """
    end = header.backing_file_offset or header.cluster_size
    offset = header.header_length
    found: dict[int, bytes] = {}
    unknown: list[tuple[int, bytes]] = []
    while offset + _head.size <= end:
        if offset + _head.size > len(area):
            return None
        kind, length = _head.unpack_from(area, offset)
        start = offset + _head.size
        if kind == END:
            break
        if length > end - start:
            raise BadImage(offset, "Header extension too large")
        if start + length > len(area):
            return None
        data = bytes(area[start : start + length])
        _check(kind, data, offset, header)
        if kind in _KNOWN:
            found[kind] = data
        else:
            unknown.append((kind, data))
        offset = start + -(-length // 8) * 8
    encryption = found.get(ENCRYPTION)
    bitmaps = found.get(BITMAPS_EXTENSION)
    consistent = bool(header.autoclear_features & BITMAPS)
    return Extensions(
        backing_format=_text(found.get(BACKING_FORMAT, b"")),
        data_file=_text(found.get(DATA_FILE_NAME, b"")),
        encryption=EncryptionExtension(*_encryption.unpack(encryption)) if encryption is not None else None,
        bitmaps=_parse_bitmaps(bitmaps) if bitmaps is not None and consistent else None,
        unknown=tuple(unknown),
        feature_names=found.get(FEATURE_NAMES, b""),
        stale_bitmaps=bitmaps is not None and not consistent,
    )


_KNOWN: Final = (BACKING_FORMAT, FEATURE_NAMES, BITMAPS_EXTENSION, ENCRYPTION, DATA_FILE_NAME)


def _check(kind: int, data: bytes, offset: int, header: Header) -> None:
    if kind == BACKING_FORMAT and len(data) >= _MAX_FORMAT_NAME:
        raise BadImage(offset, f"ERROR: ext_backing_format: len={len(data)} too large (>={_MAX_FORMAT_NAME})")
    if kind == ENCRYPTION:
        if header.crypt_method != CRYPT_LUKS:
            raise BadImage(offset, "CRYPTO header extension only expected with LUKS encryption method")
        if len(data) != _encryption.size:
            text = f"CRYPTO header extension size {len(data)}, but expected size {_encryption.size}"
            raise BadImage(offset, text)
        start, _ = _encryption.unpack(data)
        if start % header.cluster_size:
            text = f"Encryption header offset '{start}' is not a multiple of cluster size '{header.cluster_size}'"
            raise BadImage(offset, text)
    if kind == BITMAPS_EXTENSION:
        _check_bitmaps(data, offset, header)


def _check_bitmaps(data: bytes, offset: int, header: Header) -> None:
    if len(data) != _bitmaps.size:
        raise BadImage(offset, "bitmaps_ext: Invalid extension length")
    if not header.autoclear_features & BITMAPS:
        return
    count, reserved, size, start = _bitmaps.unpack(data)
    if reserved:
        raise BadImage(offset, "bitmaps_ext: Reserved field is not zero")
    if count > _MAX_BITMAPS:
        text = f"Image has {count} bitmaps, exceeding the QEMU supported maximum of {_MAX_BITMAPS}"
        raise BadImage(offset, f"bitmaps_ext: {text}")
    if not count:
        raise BadImage(offset, "found bitmaps extension with zero bitmaps")
    if start % header.cluster_size:
        raise BadImage(offset, "bitmaps_ext: invalid bitmap directory offset")
    if size > _MAX_BITMAP_DIRECTORY_SIZE:
        text = f"bitmap directory size ({size}) exceeds the maximum supported size ({_MAX_BITMAP_DIRECTORY_SIZE})"
        raise BadImage(offset, f"bitmaps_ext: {text}")


def _parse_bitmaps(data: bytes) -> BitmapsExtension:
    count, _, size, offset = _bitmaps.unpack(data)
    return BitmapsExtension(count, size, offset)


def extensions_bytes(extensions: Extensions, header: Header) -> bytes:
    """As they are stored behind ``header``, in QEMU's order, with the end marker."""
    parts = []
    if extensions.backing_format:
        parts.append(_extension(BACKING_FORMAT, as_bytes(extensions.backing_format)))
    if extensions.data_file and header.has_data_file:
        parts.append(_extension(DATA_FILE_NAME, as_bytes(extensions.data_file)))
    if extensions.encryption is not None:
        value = extensions.encryption
        parts.append(_extension(ENCRYPTION, _encryption.pack(value.offset, value.length)))
    used = header.header_length + sum(map(len, parts))
    if header.version >= 3 and header.cluster_size - used > _ROOM_BESIDE_FEATURE_NAMES:
        parts.append(_extension(FEATURE_NAMES, feature_name_table()))
    if extensions.bitmaps is not None:
        bitmaps = extensions.bitmaps
        data = _bitmaps.pack(bitmaps.nb_bitmaps, 0, bitmaps.directory_size, bitmaps.directory_offset)
        parts.append(_extension(BITMAPS_EXTENSION, data))
    parts += [_extension(kind, data) for kind, data in extensions.unknown]
    return b"".join(parts) + _head.pack(END, 0)


def _extension(kind: int, data: bytes) -> bytes:
    return _head.pack(kind, len(data)) + data + bytes(-len(data) % 8)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def as_bytes(name: str) -> bytes:
    """A name as it is stored."""
    return name.encode("utf-8", "surrogateescape")
