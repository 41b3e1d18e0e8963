# SPDX-License-Identifier: GPL-2.0-or-later
"""From a file to an Image: header, L1 table, refcount table, snapshots. QEMU: qcow2_do_open, with its messages.

Reads what a request may need at once and nothing else: L2 tables, refcount blocks and bitmaps wait until somebody asks.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from asyncemu.block.child import BlockChild
from asyncemu.block.driver import ChildSlot
from asyncemu.block.flags import ROLE_DATA, ROLE_METADATA, ROLE_PRIMARY
from asyncemu.block.qcow2 import features
from asyncemu.block.qcow2.cache_sizes import CacheSizes, cache_sizes
from asyncemu.block.qcow2.constants import CRYPT_AES, CRYPT_NONE, ENTRY_SIZE, SECTOR, ZSTD
from asyncemu.block.qcow2.errors import BadImage
from asyncemu.block.qcow2.geometry import Geometry
from asyncemu.block.qcow2.header import check_for_use
from asyncemu.block.qcow2.header_area import HeaderArea, read_header_area
from asyncemu.block.qcow2.image import Image
from asyncemu.block.qcow2.options import discard_reasons, overlap_checks
from asyncemu.block.qcow2.snapshot_table import read_snapshot_table
from asyncemu.block.qcow2.words import words_from
from asyncemu.errors import BlockError, ConfigError

if TYPE_CHECKING:
    from array import array

    from asyncemu.block.qcow2.driver import Qcow2Driver
    from asyncemu.block.qcow2.options import Qcow2Options

_OVERHANGING: Final = "You can force-remove all {} overhanging snapshots with qemu-img check -r all"
_EXTRA: Final = "You can force-remove this extra metadata with qemu-img check -r all"


async def open_image(driver: Qcow2Driver) -> Image:
    """Open what is in ``driver.file``. Raises ConfigError, with the place in the file and QEMU's text."""
    try:
        return await _open(driver)
    except BadImage as error:
        raise ConfigError(f"{driver.node_name}: offset {error.offset}", error.problem) from error


async def _open(driver: Qcow2Driver) -> Image:
    file, mode, options = driver.file, driver.mode, driver.options
    try:
        area = await read_header_area(file.pread)
    except (OSError, BlockError) as error:
        raise _failed("Could not read qcow2 header", error) from error
    check_for_use(area.header, repairing=mode.check)
    # Whole sectors are what there is of a disk.
    area = area.replaced(size=area.header.size // SECTOR * SECTOR)
    header = area.header
    if header.corrupt and not driver.read_only and not mode.check:
        raise BadImage(72, "qcow2: Image is corrupt; cannot be opened read/write", errno.EACCES)
    if not mode.no_io:
        _check_for_io(area)
    sizes = image_cache_sizes(Geometry(header), header.size, options)
    try:
        l1 = await _read_l1(file, area)
    except (OSError, BlockError) as error:
        raise _failed("Could not read L1 table", error) from error
    data_file = await _data_file(driver, area)
    image = Image(driver, file, data_file, area)
    image.make_parts(l1, sizes, overlap_checks(options.overlap_check))
    apply_options(image, options)
    if not mode.no_io or mode.check:
        try:
            await image.refcounts.open()
        except (OSError, BlockError) as error:
            raise _failed("Could not initialize refcount handling", error) from error
    if not mode.check:
        await _read_snapshots(image)
    if area.extensions.stale_bitmaps and not driver.read_only:
        image.warn(_stale_bitmaps(header.version))
    if driver.read_only:
        image.opened_read_only = True
    elif mode.check:
        await _clear_unknown_autoclear(image)
    else:
        await prepare_for_writing(image)
    return image


async def prepare_for_writing(image: Image) -> None:
    """Before the first change by this program: what the image may need. ConfigError."""
    await _clear_unknown_autoclear(image)
    if image.header.dirty:
        await _repair(image)


async def _repair(image: Image) -> None:
    """Whoever had it open last did not close it: refcounts may be wrong. ConfigError: they can't be set right."""
    from asyncemu.block.qcow2.check import check
    from asyncemu.block.types import CheckFailed

    number = 0
    try:
        result = await check(image, "all", lambda done, total: None)
        if result.check_errors:
            number = errno.EIO
    except CheckFailed as error:
        result, number = error.result, error.errno or errno.EIO
    for finding in result.findings:
        image.say(finding)
    if number:
        problem = f"Could not repair dirty image: {os.strerror(number)}"
        raise ConfigError(f"{image.name}: offset 72", problem)


def image_cache_sizes(geometry: Geometry, size: int, options: Qcow2Options) -> CacheSizes:
    """What the options ask for, for a disk of ``size`` bytes. ConfigError."""
    return cache_sizes(
        geometry,
        size,
        cache_size=options.cache_size,
        l2_cache_size=options.l2_cache_size,
        refcount_cache_size=options.refcount_cache_size,
        l2_cache_entry_size=options.l2_cache_entry_size,
    )


def lazy_refcounts(image: Image, options: Qcow2Options) -> bool:
    """Are refcounts postponed? ConfigError: the image can't say so."""
    wanted = options.lazy_refcounts
    if wanted is None:
        return bool(image.header.compatible_features & features.LAZY_REFCOUNTS)
    if wanted and image.header.version < 3:
        problem = "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level"
        raise ConfigError("lazy-refcounts", problem)
    return wanted


def apply_options(image: Image, options: Qcow2Options) -> None:
    """Those that can change while it is open, less the sizes of caches. ConfigError."""
    image.lazy_refcounts = lazy_refcounts(image, options)
    image.discard_reasons = discard_reasons(options)
    image.overlap.checks = overlap_checks(options.overlap_check)


def _check_for_io(area: HeaderArea) -> None:
    """Could guest data be read?"""
    header = area.header
    if header.crypt_method != CRYPT_NONE:
        kind = "aes" if header.crypt_method == CRYPT_AES else "luks"
        raise BadImage(32, f"Encrypted images are not supported (encryption format '{kind}')", errno.ENOTSUP)
    if header.compression_type == ZSTD:
        from asyncemu.block.qcow2.compression import zstd_module

        zstd_module()


async def _read_l1(file: BlockChild, area: HeaderArea) -> array[int]:
    length = area.header.l1_size * ENTRY_SIZE
    return words_from(await file.pread(area.header.l1_table_offset, length) if length else b"")


async def _data_file(driver: Qcow2Driver, area: HeaderArea) -> BlockChild:
    """Where guest data is; opens an external data file. ConfigError."""
    header = area.header
    if not header.has_data_file:
        if driver.data_file is not None:
            raise ConfigError("data-file", "'data-file' can only be set for images with an external data file")
        if header.autoclear_features & features.DATA_FILE_RAW:
            raise BadImage(88, "data-file-raw requires a data file")
        return driver.file
    if driver.data_file is None:
        if driver.mode.no_io:
            return driver.file
        if not area.extensions.data_file:
            raise ConfigError("data-file", "'data-file' is required for this image")
        from asyncemu.block.image_options import table_of_name

        slot = ChildSlot("data_file", ROLE_DATA, optional=True)
        await driver.environment.open_child(slot, table_of_name(area.extensions.data_file))
    # The file itself has no guest data.
    driver.environment.refresh_child(driver.file, ROLE_METADATA | ROLE_PRIMARY)
    assert driver.data_file is not None
    return driver.data_file


async def _read_snapshots(image: Image) -> None:
    header = image.header
    try:
        image.snapshots = await read_snapshot_table(image.file.pread, header.snapshots_offset, header.nb_snapshots)
    except BadImage as error:
        hint = _EXTRA if "extra metadata" in error.problem else _OVERHANGING.format(header.nb_snapshots)
        where = f"{image.name}: offset {error.offset}"
        raise ConfigError(where, error.problem, hint) from error
    except (OSError, BlockError) as error:
        raise _failed("Could not read snapshots", error) from error


async def _clear_unknown_autoclear(image: Image) -> None:
    """ "An implementation may only write to an image with unknown auto-clear features if it clears the respective
    bits from this field first." """
    known = image.header.autoclear_features & features.KNOWN_AUTOCLEAR
    if image.header.version >= 3 and known != image.header.autoclear_features:
        area = image.area.replaced(autoclear_features=known)
        try:
            await image.update_area(area)
            await image.file.flush()
        except (OSError, BlockError) as error:
            raise _failed("Could not update qcow2 header", error) from error


def _stale_bitmaps(version: int) -> str:
    if version < 3:
        text = (
            "This qcow2 v2 image contains bitmaps, but they may have been modified by a program without persistent "
            "bitmap support; so now they must all be considered inconsistent"
        )
    else:
        text = "a program lacking bitmap support modified this file, so all bitmaps are now considered inconsistent"
    return f"{text}\nSome clusters may be leaked, run 'qemu-img check -r' on the image file to fix."


def _failed(problem: str, error: OSError | BlockError) -> ConfigError:
    return ConfigError("file", f"{problem}: {os.strerror(error.errno or errno.EIO)}")
