# SPDX-License-Identifier: GPL-2.0-or-later
"""A new image: header, refcount table and one refcount block, and from there on by the driver's own means.

As QEMU does it (qcow2_co_create), so that the tables of an image end up where QEMU puts them: an empty image is made
first, which then grows to its size.
"""

from __future__ import annotations

import errno
import struct
from array import array
from typing import TYPE_CHECKING

from asyncemu.block.child import BlockChild
from asyncemu.block.qcow2.cache_sizes import cache_sizes
from asyncemu.block.qcow2.compression import zstd_module
from asyncemu.block.qcow2.constants import MAX_BACKING_NAME, ZSTD
from asyncemu.block.qcow2.creation_check import CheckedCreation, checked
from asyncemu.block.qcow2.creation_options import Qcow2Creation
from asyncemu.block.qcow2.extensions import Extensions, as_bytes
from asyncemu.block.qcow2.geometry import Geometry
from asyncemu.block.qcow2.header import Header
from asyncemu.block.qcow2.header_area import HeaderArea, area_bytes
from asyncemu.block.qcow2.image import Image
from asyncemu.block.qcow2.overlap import CACHED
from asyncemu.block.qcow2.refcount_codec import refcount_codec
from asyncemu.block.qcow2.resize import truncate
from asyncemu.errors import ConfigError
from asyncemu.loop import home

if TYPE_CHECKING:
    from asyncemu.block.backend import BlockBackend
    from asyncemu.loop import AioContext

#: Clusters of an empty image: header, refcount table, refcount block.
_FIRST_CLUSTERS = 3


def empty_image(header: Header, extensions: Extensions) -> list[tuple[int, bytes]]:
    """What to write where for an image of no bytes: a pure function. OSError with ENOSPC: the header does not fit."""
    size = header.cluster_size
    _, first = area_bytes(HeaderArea(header, extensions))
    codec = refcount_codec(size, header.refcount_order)
    counts = codec.empty()
    codec.add(counts, 0, _FIRST_CLUSTERS, 1)
    table = struct.pack(">Q", 2 * size).ljust(size, b"\0")
    return [(0, first), (header.refcount_table_offset, table), (2 * size, codec.pack(counts, 0, size))]


class _Owner:
    """Stands for the driver of an image that no node has yet."""

    def __init__(self, context: AioContext) -> None:
        self.context = context
        self.node_name = "new image"
        self.read_only = False
        self.backing: BlockChild | None = None

    @home
    def image_corrupted(self, problem: str, *, offset: int | None, size: int | None, fatal: bool) -> None:
        """Nobody knows the image yet: who makes it is told by the error."""


async def create(file: BlockBackend, options: Qcow2Creation) -> None:
    """Make ``file`` an image. ConfigError, in QEMU's words; OSError, BlockError."""
    wanted = checked(options)
    if wanted.header.compression_type == ZSTD:
        zstd_module()
    if options.data_file:
        await _create_data_file(options, wanted)
    extensions = Extensions(data_file=options.data_file)
    for offset, data in empty_image(wanted.header, extensions):
        await file.pwrite(offset, data)
    assert file.root is not None
    image = _opened(file.root, file.context, HeaderArea(wanted.header, extensions))
    await image.refcounts.open()
    image.refcounts.next_free = _FIRST_CLUSTERS
    await _grow(image, wanted)
    if options.backing_file:
        await _set_backing_file(image, options)
    await image.finish()
    await file.flush()


def _opened(file: BlockChild, context: AioContext, area: HeaderArea) -> Image:
    area, _ = area_bytes(area)
    # The data file, if any, is as long as it must be already, and has no part in what follows.
    image = Image(_Owner(context), file, file, area)
    image.make_parts(array("Q"), cache_sizes(Geometry(area.header), 1 << 40), CACHED)
    return image


async def _grow(image: Image, wanted: CheckedCreation) -> None:
    if wanted.size > image.geometry.max_size:
        problem = "The image size is too large for file format 'qcow2' (try using a larger cluster size)"
        raise ConfigError("size", problem)
    mode = wanted.preallocation
    if image.geometry.has_data_file and mode != "off":
        mode = "metadata"
    try:
        await truncate(image, wanted.size, exact=False, preallocation=mode, zero=False)
    except ConfigError as error:
        raise ConfigError(error.where, f"Could not resize image: {error.problem}") from error


async def _set_backing_file(image: Image, options: Qcow2Creation) -> None:
    area = image.area._replace(
        backing_file=options.backing_file,
        extensions=image.area.extensions._replace(backing_format=options.backing_fmt),
    )
    try:
        if len(as_bytes(options.backing_file)) > MAX_BACKING_NAME:
            raise OSError(errno.EINVAL, "Invalid argument")
        await image.update_area(area)
    except OSError as error:
        problem = f"Could not assign backing file '{options.backing_file}' with format '{options.backing_fmt}'"
        raise ConfigError("backing_file", f"{problem}: {error.strerror}") from error


async def _create_data_file(options: Qcow2Creation, wanted: CheckedCreation) -> None:
    from asyncemu.block.file.creation import FileCreation, create_regular_file

    mode = wanted.preallocation if wanted.preallocation in ("falloc", "full") else "off"
    await create_regular_file(options.data_file, FileCreation(size=wanted.size, preallocation=mode))
