# SPDX-License-Identifier: GPL-2.0-or-later
"""Header: the first bytes of an image, as a checked value.

    bytes -> parse_header -> Header -> header_bytes -> bytes

qcow2.txt, "Header" and "Additional fields". The extensions behind it are extensions.py's; header_area.py puts both and
the backing file's name together.
"""

from __future__ import annotations

import errno
import struct
from typing import Any, Final, NamedTuple

from asyncemu.block.qcow2.constants import (
    COMPRESSION_NAMES,
    CRYPT_LUKS,
    ENTRY_SIZE,
    MAGIC,
    MAX_BACKING_NAME,
    MAX_CLUSTER_BITS,
    MAX_L1_SIZE,
    MAX_OFFSET,
    MAX_REFCOUNT_TABLE_SIZE,
    MAX_SNAPSHOTS,
    MIN_CLUSTER_BITS,
    MIN_SUBCLUSTER_SIZE,
    SUBCLUSTERS,
    ZLIB,
)
from asyncemu.block.qcow2.errors import BadImage
from asyncemu.block.qcow2.features import COMPRESSION, CORRUPT, DATA_FILE, DIRTY, EXTENDED_L2

_VERSION_2: Final = struct.Struct(">IIQIIQIIQQIIQ")
_VERSION_3: Final = struct.Struct(">QQQII")

#: Bytes of a version 2 header, and the least of a version 3 one.
LENGTH_2: Final = _VERSION_2.size
LENGTH_3: Final = LENGTH_2 + _VERSION_3.size

#: Bytes of the header that this program writes: up to compression_type and its padding.
LENGTH: Final = LENGTH_3 + 8

# Where single fields are, for those who change one in place.
L1_FIELDS_OFFSET: Final = 36  # l1_size, l1_table_offset
SIZE_OFFSET: Final = 24
REFCOUNT_TABLE_FIELDS_OFFSET: Final = 48  # refcount_table_offset, refcount_table_clusters
SNAPSHOT_FIELDS_OFFSET: Final = 60  # nb_snapshots, snapshots_offset
INCOMPATIBLE_OFFSET: Final = 72


class Header(NamedTuple):
    """All fields, under the spec's names. Offsets and sizes in bytes."""

    version: int = 3
    backing_file_offset: int = 0
    backing_file_size: int = 0
    cluster_bits: int = 16
    size: int = 0
    crypt_method: int = 0
    #: Entries.
    l1_size: int = 0
    l1_table_offset: int = 0
    refcount_table_offset: int = 0
    refcount_table_clusters: int = 0
    nb_snapshots: int = 0
    snapshots_offset: int = 0
    incompatible_features: int = 0
    compatible_features: int = 0
    autoclear_features: int = 0
    refcount_order: int = 4
    header_length: int = LENGTH
    compression_type: int = ZLIB
    #: Of a later version of the format, behind what is known here; kept.
    unknown_fields: bytes = b""

    @property
    def cluster_size(self) -> int:
        """Bytes."""
        return 1 << self.cluster_bits

    @property
    def dirty(self) -> bool:
        """Refcounts may be wrong."""
        return bool(self.incompatible_features & DIRTY)

    @property
    def corrupt(self) -> bool:
        """Anything may be wrong."""
        return bool(self.incompatible_features & CORRUPT)

    @property
    def has_data_file(self) -> bool:
        """Guest data is in another file."""
        return bool(self.incompatible_features & DATA_FILE)

    @property
    def extended_l2(self) -> bool:
        """L2 entries have bitmaps of subclusters."""
        return bool(self.incompatible_features & EXTENDED_L2)

    def replaced(self, **changes: Any) -> Header:
        """A copy with other values of these fields."""
        return self._replace(**changes)


def parse_header(data: bytes) -> Header:
    """The header at the start of ``data``, at least LENGTH bytes, of which those behind the file's end may be zero.

    Checks what does not depend on why the image is opened: see ``check_for_use``. ``unknown_fields`` are as far as
    ``data`` goes. Raises BadImage.
    """
    fields = _VERSION_2.unpack_from(data)
    if fields[0] != MAGIC:
        raise BadImage(0, "Image is not in qcow2 format")
    (version, backing_offset, backing_size, cluster_bits, size, crypt_method, l1_size, l1_offset) = fields[1:9]
    header = Header(
        version=version,
        backing_file_offset=backing_offset,
        backing_file_size=backing_size,
        cluster_bits=cluster_bits,
        size=size,
        crypt_method=crypt_method,
        l1_size=l1_size,
        l1_table_offset=l1_offset,
        refcount_table_offset=fields[9],
        refcount_table_clusters=fields[10],
        nb_snapshots=fields[11],
        snapshots_offset=fields[12],
        header_length=LENGTH_2,
    )
    if header.version not in (2, 3):
        raise BadImage(4, f"Unsupported qcow2 version {header.version}", errno.ENOTSUP)
    if not MIN_CLUSTER_BITS <= header.cluster_bits <= MAX_CLUSTER_BITS:
        raise BadImage(20, f"Unsupported cluster size: 2^{header.cluster_bits}")
    if header.version == 3:
        header = _with_version_3(header, data)
    if header.backing_file_offset > header.cluster_size:
        raise BadImage(8, "Invalid backing file offset")
    return header


def _with_version_3(header: Header, data: bytes) -> Header:
    incompatible, compatible, autoclear, refcount_order, length = _VERSION_3.unpack_from(data, LENGTH_2)
    if length < LENGTH_3:
        raise BadImage(100, "qcow2 header too short")
    if length > header.cluster_size:
        raise BadImage(100, "qcow2 header exceeds cluster size")
    return header.replaced(
        incompatible_features=incompatible,
        compatible_features=compatible,
        autoclear_features=autoclear,
        refcount_order=refcount_order,
        header_length=length,
        # "A field is considered not present when header_length is less than or equal to the field's offset."
        compression_type=data[LENGTH_3] if length > LENGTH_3 else ZLIB,
        unknown_fields=bytes(data[LENGTH:length]),
    )


def check_for_use(header: Header, *, repairing: bool = False) -> None:
    """Are the values ones that the rest of this package can work with? BadImage, in QEMU's order.

    ``repairing``: for ``check``, which finds and mends some of it itself.
    """
    if header.compression_type not in COMPRESSION_NAMES:
        raise BadImage(104, f"qcow2: unknown compression type: {header.compression_type}", errno.ENOTSUP)
    if header.compression_type == ZLIB and header.incompatible_features & COMPRESSION:
        raise BadImage(104, "qcow2: Compression type incompatible feature bit must not be set")
    if header.compression_type != ZLIB and not header.incompatible_features & COMPRESSION:
        raise BadImage(104, "qcow2: Compression type incompatible feature bit must be set")
    if header.extended_l2 and header.cluster_size // SUBCLUSTERS < MIN_SUBCLUSTER_SIZE:
        raise BadImage(20, f"Unsupported subcluster size: {header.cluster_size // SUBCLUSTERS}")
    if header.refcount_order > 6:
        raise BadImage(96, "Reference count entry width too large; may not exceed 64 bits")
    if header.crypt_method > CRYPT_LUKS:
        raise BadImage(32, f"Unsupported encryption method {header.crypt_method}")
    if not header.refcount_table_clusters and not repairing:
        raise BadImage(56, "Image does not contain a reference count table")
    check_table(
        header,
        48,
        "Reference count table",
        header.refcount_table_offset,
        header.refcount_table_clusters * header.cluster_size,
        MAX_REFCOUNT_TABLE_SIZE,
    )
    if not repairing:
        # Entries have 40 bytes at least.
        check_table(header, 60, "Snapshot table", header.snapshots_offset, header.nb_snapshots * 40, MAX_SNAPSHOTS * 40)
    check_table(header, 36, "Active L1 table", header.l1_table_offset, header.l1_size * ENTRY_SIZE, MAX_L1_SIZE)
    needed = l1_entries_for(header, header.size)
    if needed > 0x7FFF_FFFF:
        raise BadImage(24, "Image is too big", errno.EFBIG)
    if header.l1_size < needed:
        raise BadImage(36, "L1 table is too small")


def check_table(header: Header, field: int, what: str, offset: int, length: int, longest: int) -> None:
    """Can a table of ``length`` bytes be at ``offset``? ``field``: the byte of the header that says so. BadImage.

    QEMU: qcow2_validate_table.
    """
    if length > longest:
        raise BadImage(field, f"{what} too large", errno.EFBIG)
    if offset > MAX_OFFSET - length or offset % header.cluster_size:
        raise BadImage(field, f"{what} offset invalid")


def l1_entries_for(header: Header, size: int) -> int:
    """How many L1 entries map ``size`` bytes."""
    l2_bits = header.cluster_bits - (4 if header.extended_l2 else 3)
    return -(-size >> (header.cluster_bits + l2_bits))


def longest_backing_name(header: Header) -> int:
    """Bytes that the name may have where it is."""
    return min(MAX_BACKING_NAME, header.cluster_size - header.backing_file_offset)


def header_bytes(header: Header) -> bytes:
    """As it is stored: 72 bytes in version 2, else LENGTH and the unknown fields."""
    length = LENGTH_2 if header.version == 2 else LENGTH + len(header.unknown_fields)
    first = _VERSION_2.pack(
        MAGIC,
        header.version,
        header.backing_file_offset,
        header.backing_file_size,
        header.cluster_bits,
        header.size,
        header.crypt_method,
        header.l1_size,
        header.l1_table_offset,
        header.refcount_table_offset,
        header.refcount_table_clusters,
        header.nb_snapshots,
        header.snapshots_offset,
    )
    if header.version == 2:
        return first
    second = _VERSION_3.pack(
        header.incompatible_features,
        header.compatible_features,
        header.autoclear_features,
        header.refcount_order,
        length,
    )
    return first + second + bytes([header.compression_type]) + bytes(7) + header.unknown_fields
