# SPDX-License-Identifier: GPL-2.0-or-later
"""What the options of a new image mean, and what is said about wrong ones: QEMU's order and words."""

from __future__ import annotations

from typing import Final, NamedTuple, cast

from asyncemu.block.qcow2 import features
from asyncemu.block.qcow2.constants import (
    MAX_CLUSTER_BITS,
    MIN_CLUSTER_BITS,
    MIN_SUBCLUSTER_SIZE,
    SUBCLUSTERS,
    ZLIB,
    ZSTD,
)
from asyncemu.block.qcow2.creation_options import Qcow2Creation
from asyncemu.block.qcow2.header import Header
from asyncemu.block.types import Preallocation
from asyncemu.errors import ConfigError

#: Sizes are whole sectors.
_SECTOR: Final = 512

_VERSIONS: Final = {"0.10": 2, "v2": 2, "1.1": 3, "v3": 3}
_COMPRESSIONS: Final = {"zlib": ZLIB, "zstd": ZSTD}
_PREALLOCATIONS: Final = ("off", "metadata", "falloc", "full")
_NEWER: Final = "compatibility level 1.1 {} above (use version=v3 or greater)"


class CheckedCreation(NamedTuple):
    """What the options mean."""

    #: Of the empty image; size and tables come later.
    header: Header
    #: Bytes.
    size: int
    preallocation: Preallocation


def checked(options: Qcow2Creation) -> CheckedCreation:
    """Raises ConfigError, in QEMU's order and words."""
    if options.encryption or options.encrypt_format:
        raise ConfigError("encrypt.format", "Encrypted images are not supported", "leave the option out")
    version = _one_of("compat", "version", options.compat, _VERSIONS)
    compression = _one_of("compression_type", "compression-type", options.compression_type, _COMPRESSIONS)
    if options.preallocation not in _PREALLOCATIONS:
        raise _refused("preallocation", "preallocation", options.preallocation)
    _check_cluster_size(options)
    cluster_bits = int(options.cluster_size).bit_length() - 1
    if options.extended_l2 and version < 3:
        _needs_version_3("extended_l2", "Extended L2 entries are only supported with", "and")
    if options.backing_file and options.preallocation != "off" and not options.extended_l2:
        problem = "Backing file and preallocation can only be used at the same time if extended_l2 is on"
        raise ConfigError("preallocation", problem)
    if options.backing_fmt and not options.backing_file:
        raise ConfigError("backing_fmt", "Backing format cannot be used without backing file")
    if options.lazy_refcounts and version < 3:
        _needs_version_3("lazy_refcounts", "Lazy refcounts only supported with", "and")
    order = _refcount_order(options.refcount_bits, version)
    if options.data_file_raw and not options.data_file:
        raise ConfigError("data_file_raw", "data-file-raw requires data-file")
    if options.data_file_raw and options.backing_file:
        raise ConfigError("data_file_raw", "Backing file and data-file-raw cannot be used at the same time")
    if options.data_file and version < 3:
        _needs_version_3("data_file", "External data files are only supported with", "and")
    if compression != ZLIB and version < 3:
        _needs_version_3("compression_type", "Non-zlib compression type is only supported with", "and")
    incompatible = (
        (features.DATA_FILE if options.data_file else 0)
        | (features.COMPRESSION if compression != ZLIB else 0)
        | (features.EXTENDED_L2 if options.extended_l2 else 0)
    )
    header = Header(
        version=version,
        cluster_bits=cluster_bits,
        refcount_table_offset=1 << cluster_bits,
        refcount_table_clusters=1,
        refcount_order=order,
        compression_type=compression,
        incompatible_features=incompatible,
        compatible_features=features.LAZY_REFCOUNTS if options.lazy_refcounts else 0,
        autoclear_features=features.DATA_FILE_RAW if options.data_file_raw else 0,
    )
    preallocation = cast(Preallocation, options.preallocation)
    if options.data_file_raw and preallocation == "off":
        # The tables must name all of the data file: nothing may read as zeroes that is not so there.
        preallocation = "metadata"
    return CheckedCreation(header, -(-int(options.size) // _SECTOR) * _SECTOR, preallocation)


def _check_cluster_size(options: Qcow2Creation) -> None:
    size = int(options.cluster_size)
    least, most = 1 << MIN_CLUSTER_BITS, 1 << MAX_CLUSTER_BITS
    if not least <= size <= most or size & size - 1:
        problem = f"Cluster size must be a power of two between {least} and {most >> 10}k"
        raise ConfigError("cluster_size", problem)
    least *= SUBCLUSTERS * MIN_SUBCLUSTER_SIZE // (1 << MIN_CLUSTER_BITS)
    if options.extended_l2 and size < least:
        problem = f"Extended L2 entries are only supported with cluster sizes of at least {least} bytes"
        raise ConfigError("cluster_size", problem)


def _refcount_order(bits: int, version: int) -> int:
    if not 1 <= bits <= 64 or bits & bits - 1:
        raise ConfigError("refcount_bits", "Refcount width must be a power of two and may not exceed 64 bits")
    if version < 3 and bits != 16:
        _needs_version_3("refcount_bits", "Different refcount widths than 16 bits require", "or")
    return bits.bit_length() - 1


def _needs_version_3(where: str, what: str, word: str) -> None:
    raise ConfigError(where, f"{what} {_NEWER.format(word)}")


def _one_of(where: str, parameter: str, value: str, known: dict[str, int]) -> int:
    if value not in known:
        raise _refused(where, parameter, value)
    return known[value]


def _refused(where: str, parameter: str, value: str) -> ConfigError:
    return ConfigError(where, f"Parameter '{parameter}' does not accept value '{value}'")
