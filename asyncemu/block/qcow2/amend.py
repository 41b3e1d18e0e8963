# SPDX-License-Identifier: GPL-2.0-or-later
"""Other creation options for an image that exists.

An upgrade comes first, as it may be what other changes need; a downgrade last, when they may have taken away what is in
its way. QEMU: qcow2_amend_options, qcow2_upgrade, qcow2_downgrade, with their messages. The node is drained.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.driver import Progress
from asyncemu.block.qcow2 import features
from asyncemu.block.qcow2.amend_refcounts import change_refcount_width
from asyncemu.block.qcow2.amend_zeroes import expand_zero_clusters, has_compressed_clusters
from asyncemu.block.qcow2.constants import ZLIB
from asyncemu.block.qcow2.geometry import Geometry
from asyncemu.block.qcow2.header_area import HeaderArea
from asyncemu.block.qcow2.resize import truncate
from asyncemu.block.qcow2.snapshot_refcounts import write_all
from asyncemu.block.qcow2.snapshots import write_snapshot_table
from asyncemu.errors import BlockError, ConfigError
from asyncemu.plain_options import PlainOptions, option
from asyncemu.size import Size

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

_VERSIONS: Final = {"0.10": 2, "v2": 2, "1.1": 3, "v3": 3}
_NEWER: Final = "compatibility level 1.1 {} above (use compat=1.1 or greater)"
_REBASE: Final = "You can use 'qemu-img rebase' instead."

#: Extra data that entries of a version 3 image have at least.
_VERSION_3_EXTRA: Final = 16


class Qcow2Amendment(PlainOptions):
    """``-o`` of ``amend``: what can be changed."""

    backing_file: str | None = option(default=None, description="File name of a base image")
    backing_fmt: str | None = option(default=None, description="Image format of the base image")
    compat: str | None = option(default=None, description="Compatibility level (v2 [0.10] or v3 [1.1])")
    data_file: str | None = option(default=None, description="File name of an external data file")
    data_file_raw: bool | None = option(
        default=None, description="The external data file must stay valid as a raw image"
    )
    lazy_refcounts: bool | None = option(default=None, description="Postpone refcount updates")
    refcount_bits: int | None = option(default=None, description="Width of a reference count entry in bits")
    size: Size | None = option(default=None, description="Virtual disk size")


async def amend(image: Image, table: Mapping[str, str], progress: Progress) -> None:
    """Make the image what the options say, those that are given. ConfigError, in QEMU's words; BlockError, OSError."""
    options = _parsed(table)
    _check(image, options)
    await image.begin_write()
    await image.flush_caches()
    await _Amendment(image, options, progress).run()


def _parsed(table: Mapping[str, str]) -> Qcow2Amendment:
    from asyncemu.block.qcow2.creation_options import Qcow2Creation

    for key in table:
        if key.startswith("encrypt."):
            raise ConfigError(key, "Can't amend encryption options - encryption not present")
        if key not in Qcow2Amendment.__annotations__ and key in Qcow2Creation.__annotations__:
            raise ConfigError(key, f"Invalid parameter '{key}'", "This option is only supported for image creation")
    return Qcow2Amendment.parse(dict(table), "")


def _check(image: Image, options: Qcow2Amendment) -> None:
    """What is wrong whatever the image's version is."""
    if options.compat is not None and options.compat not in _VERSIONS:
        raise ConfigError("compat", f"Unknown compatibility level {options.compat}")
    bits = options.refcount_bits
    if bits is not None and (not 1 <= bits <= 64 or bits & bits - 1):
        raise ConfigError("refcount_bits", "Refcount width must be a power of two and may not exceed 64 bits")
    header = image.header
    if options.data_file is not None and not header.has_data_file:
        raise ConfigError("data_file", "data-file can only be set for images that use an external data file")
    if options.data_file_raw and not header.autoclear_features & features.DATA_FILE_RAW:
        raise ConfigError("data_file_raw", "data-file-raw cannot be set on existing images")


class _Amendment:
    """The steps, in order."""

    def __init__(self, image: Image, options: Qcow2Amendment, progress: Progress) -> None:
        self._image = image
        self._options = options
        self._progress = progress
        self._old_version = image.geometry.version
        self._version = self._old_version if options.compat is None else _VERSIONS[options.compat]
        self._bits = image.geometry.refcount_bits if options.refcount_bits is None else options.refcount_bits
        #: Long ones: each is as long as the others, as far as ``progress`` knows.
        self._operations = (self._version != self._old_version) + (self._bits != image.geometry.refcount_bits)
        self._done = 0

    async def run(self) -> None:
        if self._version > self._old_version:
            await self._upgrade()
        if self._bits != self._image.geometry.refcount_bits:
            await self._change_width()
        await self._change_data_file()
        self._check_backing_file()
        if self._options.lazy_refcounts is not None:
            await self._set_lazy_refcounts(self._options.lazy_refcounts)
        if self._options.size:
            await truncate(self._image, int(self._options.size), exact=True, preallocation="off", zero=False)
        if self._version < self._old_version:
            await self._downgrade()
        if self._operations:
            self._progress(1, 1)

    def _operation(self) -> Progress:
        """How much of the next operation is done."""
        before, self._done = self._done, self._done + 1

        def report(done: int, total: int) -> None:
            self._progress(before * total + done, self._operations * total)

        return report

    async def _write_area(self, area: HeaderArea) -> None:
        try:
            await self._image.update_area(area)
            await self._image.file.flush()
        except (OSError, BlockError) as error:
            raise _failed("Failed to update the image header", error) from error

    async def _change(self, **fields: Any) -> None:
        """Other values of these fields of the header; and all parts know of them."""
        image = self._image
        await self._write_area(image.area.replaced(**fields))
        geometry = Geometry(image.header)
        # The parts share it.
        for name in Geometry.__slots__:
            setattr(image.geometry, name, getattr(geometry, name))

    # ---- steps

    async def _upgrade(self) -> None:
        image, report = self._image, self._operation()
        report(0, 2)
        snapshots = image.snapshots.snapshots
        if any(each.extra_data_size < _VERSION_3_EXTRA for each in snapshots):
            try:
                async with image.lock:
                    await write_snapshot_table(image, snapshots)
                    await write_all(image)
            except (OSError, BlockError) as error:
                raise _failed("Failed to update the snapshot table", error) from error
        report(1, 2)
        await self._change(version=self._version)
        report(2, 2)

    async def _change_width(self) -> None:
        if self._version < 3 and self._bits != 16:
            text = f"Refcount widths other than 16 bits require {_NEWER.format('or')}"
            raise ConfigError("refcount_bits", text)
        async with self._image.lock:
            await change_refcount_width(self._image, self._bits.bit_length() - 1, self._operation())

    async def _change_data_file(self) -> None:
        image, options = self._image, self._options
        area = image.area
        if options.data_file is not None:
            area = area._replace(extensions=area.extensions._replace(data_file=options.data_file))
        if options.data_file_raw is False:
            area = area.replaced(autoclear_features=area.header.autoclear_features & ~features.DATA_FILE_RAW)
        if area != image.area:
            await self._write_area(area)

    def _check_backing_file(self) -> None:
        options, area = self._options, self._image.area
        if options.backing_file is None and options.backing_fmt is None:
            return
        named = area.backing_file or None, area.extensions.backing_format or None
        if (options.backing_file, options.backing_fmt) != named:
            raise ConfigError("backing_file", "Cannot amend the backing file", _REBASE)

    async def _set_lazy_refcounts(self, lazy: bool) -> None:
        image = self._image
        if lazy == image.lazy_refcounts:
            return
        compatible = image.header.compatible_features
        if lazy:
            if self._version < 3:
                text = f"Lazy refcounts only supported with {_NEWER.format('and')}"
                raise ConfigError("lazy_refcounts", text)
            await self._write_area(image.area.replaced(compatible_features=compatible | features.LAZY_REFCOUNTS))
        else:
            await self._clean()
            await self._write_area(image.area.replaced(compatible_features=compatible & ~features.LAZY_REFCOUNTS))
        image.lazy_refcounts = lazy

    async def _clean(self) -> None:
        try:
            async with self._image.lock:
                await self._image.mark_clean()
        except (OSError, BlockError) as error:
            raise _failed("Failed to make the image clean", error) from error

    # ---- downgrade

    async def _downgrade(self) -> None:
        image, report = self._image, self._operation()
        await image.flush_caches()
        await self._check_downgrade()
        await self._clean()
        incompatible = image.header.incompatible_features & ~features.COMPRESSION
        if incompatible:
            text = f"Cannot downgrade an image with incompatible features {incompatible:#x} set"
            raise ConfigError("compat", text)
        try:
            async with image.lock:
                await expand_zero_clusters(image, report)
        except (OSError, BlockError) as error:
            raise _failed("Failed to turn zero into data clusters", error) from error
        image.lazy_refcounts = False
        extensions = image.area.extensions._replace(bitmaps=None)
        image.area = image.area._replace(extensions=extensions)
        await self._change(
            version=self._version,
            incompatible_features=0,
            compatible_features=0,
            autoclear_features=0,
            compression_type=ZLIB,
            unknown_fields=b"",
        )

    async def _check_downgrade(self) -> None:
        image = self._image
        if image.geometry.has_data_file:
            raise ConfigError("compat", "Cannot downgrade an image with a data file")
        for snapshot in image.snapshots.snapshots:
            size = snapshot.disk_size if snapshot.extra_data_size >= _VERSION_3_EXTRA else image.header.size
            if snapshot.vm_state_size > 0xFFFF_FFFF or size != image.header.size:
                raise ConfigError("compat", "Internal snapshots prevent downgrade of image")
        if image.geometry.refcount_bits != 16:
            raise ConfigError("compat", "compat=0.10 requires refcount_bits=16")
        if image.header.incompatible_features & features.COMPRESSION and await has_compressed_clusters(image):
            raise ConfigError(
                "compat", "Cannot downgrade an image with zstd compression type and existing compressed clusters"
            )


def _failed(problem: str, error: OSError | BlockError) -> ConfigError:
    return ConfigError("amend", f"{problem}: {os.strerror(error.errno or errno.EIO)}")
