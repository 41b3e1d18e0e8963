# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers of the qcow2 format, and the limits that QEMU sets where the format sets none.

Spec: QEMU, docs/interop/qcow2.txt.
"""

from __future__ import annotations

from typing import Final

#: "QFI\xfb", big-endian.
MAGIC: Final = 0x514649FB

#: Clusters of 512 bytes to 2 MiB: the lower bound is the format's, the upper QEMU's.
MIN_CLUSTER_BITS: Final = 9
MAX_CLUSTER_BITS: Final = 21

#: Bytes of the L1 table of an image, or of a snapshot.
MAX_L1_SIZE: Final = 32 << 20

#: Bytes of the refcount table.
MAX_REFCOUNT_TABLE_SIZE: Final = 8 << 20

#: Internal snapshots of an image.
MAX_SNAPSHOTS: Final = 65536

#: Bytes of all snapshot table entries.
MAX_SNAPSHOT_TABLE_SIZE: Final = 1024 * MAX_SNAPSHOTS

#: Bytes of a backing file's name.
MAX_BACKING_NAME: Final = 1023

#: Bytes of an entry of an L1 or refcount table.
ENTRY_SIZE: Final = 8

#: Subclusters in a cluster of an image with extended L2 entries, and the least bytes of one.
SUBCLUSTERS: Final = 32
MIN_SUBCLUSTER_SIZE: Final = 512

#: Compressed data is counted in sectors of this many bytes.
SECTOR: Final = 512

# crypt_method of the header.
CRYPT_NONE: Final = 0
CRYPT_AES: Final = 1
CRYPT_LUKS: Final = 2

# compression_type of the header.
ZLIB: Final = 0
ZSTD: Final = 1
COMPRESSION_NAMES: Final = {ZLIB: "zlib", ZSTD: "zstd"}

#: The largest offset that a file can have.
MAX_OFFSET: Final = (1 << 63) - 1
