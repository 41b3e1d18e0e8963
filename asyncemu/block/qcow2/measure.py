# SPDX-License-Identifier: GPL-2.0-or-later
"""How large a file an image would need. QEMU: qcow2_measure, qcow2_calc_prealloc_size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncemu.block.flags import STATUS_ALLOCATED, STATUS_DATA, STATUS_ZERO
from asyncemu.block.qcow2.constants import ENTRY_SIZE
from asyncemu.block.qcow2.creation_check import CheckedCreation, checked
from asyncemu.block.qcow2.creation_options import Qcow2Creation
from asyncemu.block.qcow2.errors import BadImage
from asyncemu.block.qcow2.geometry import Geometry
from asyncemu.block.types import Measurement
from asyncemu.errors import ConfigError

if TYPE_CHECKING:
    from asyncemu.block.backend import BlockBackend

#: Bytes that are asked about at once.
_PIECE: Final = 1 << 30


async def measure(options: Qcow2Creation, source: BlockBackend | None) -> Measurement:
    """For an image with ``options`` and what ``source`` holds. ConfigError, in QEMU's words; BlockError."""
    wanted = checked(options)
    geometry = Geometry(wanted.header)
    size = wanted.size
    if size > geometry.max_size:
        raise ConfigError("size", "The image size is too large (try using a larger cluster size)")
    size = geometry.round_up(size)
    needed = 0
    if source is not None:
        size = geometry.round_up(source.size)
        # With a backing file nobody knows what of the source would be in it already.
        needed = size if options.backing_file else await _data(source, geometry)
    if wanted.preallocation in ("full", "falloc"):
        needed = size
    whole = preallocated_size(geometry, size)
    # The metadata of the whole image, so it is rather too much.
    return Measurement(whole - size + needed, whole, await _bitmaps(wanted, source))


async def _data(source: BlockBackend, geometry: Geometry) -> int:
    """Bytes of the clusters that hold data of ``source``."""
    needed = offset = 0
    size = source.size
    while offset < size:
        status = await source.block_status(offset, min(size - offset, _PIECE))
        length = status.length
        wanted = STATUS_DATA | STATUS_ALLOCATED
        if not status.flags & STATUS_ZERO and status.flags & wanted == wanted:
            # To the end of the cluster, which counts once.
            length = geometry.round_up(offset + length) - offset
            needed += (offset & geometry.cluster_mask) + length
        offset += length
    return needed


def preallocated_size(geometry: Geometry, size: int) -> int:
    """Bytes of the file of an image of ``size`` bytes with all clusters allocated."""
    cluster_size = geometry.cluster_size
    data = geometry.round_up(size)
    l2_tables = -(-geometry.clusters(size) // geometry.l2_entries)
    metadata = cluster_size + l2_tables * cluster_size + geometry.round_up(l2_tables * ENTRY_SIZE)
    return metadata + data + refcounts_size(geometry, (metadata + data) // cluster_size)


def refcounts_size(geometry: Geometry, clusters: int) -> int:
    """Bytes of refcount table and blocks that count ``clusters``, and themselves."""
    blocks = table = 0
    while True:
        before = blocks + table
        blocks = -(-(clusters + before) // geometry.refcount_block_entries)
        table = geometry.clusters(blocks * ENTRY_SIZE)
        if blocks + table == before:
            return before * geometry.cluster_size


async def _bitmaps(wanted: CheckedCreation, source: BlockBackend | None) -> int | None:
    """Bytes of the source's persistent bitmaps, which the new image could have; all of their clusters allocated.

    QEMU: qcow2_get_persistent_dirty_bitmap_size. None: one of both can't have any.
    """
    if wanted.header.version < 3 or source is None or source.node.driver.name != "qcow2":
        return None
    from asyncemu.block.qcow2.bitmap_directory import IN_USE, bitmap_entry_size
    from asyncemu.block.qcow2.bitmaps import read_bitmaps
    from asyncemu.block.qcow2.driver import Qcow2Driver

    assert isinstance(source.node.driver, Qcow2Driver)
    image = source.node.driver.image
    if image.geometry.version < 3:
        return None
    geometry = Geometry(wanted.header)
    size = directory = 0
    try:
        bitmaps = await read_bitmaps(image)
    except BadImage as error:
        raise ConfigError(f"{image.name}: offset {error.offset}", error.problem) from error
    for bitmap in bitmaps:
        if bitmap.flags & IN_USE:
            continue
        bits = -(-source.size >> bitmap.granularity_bits)
        clusters = geometry.clusters(-(-bits // 8))
        size += (clusters << geometry.cluster_bits) + geometry.round_up(clusters * ENTRY_SIZE)
        directory += bitmap_entry_size(bitmap._replace(extra_data=b""))
    return size + geometry.round_up(directory)
