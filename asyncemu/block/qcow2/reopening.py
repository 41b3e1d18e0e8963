# SPDX-License-Identifier: GPL-2.0-or-later
"""Other options for an image that is open. QEMU: qcow2_reopen_prepare, qcow2_update_options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncemu.block.qcow2.cache_sizes import CacheSizes
from asyncemu.block.qcow2.opening import apply_options, image_cache_sizes, lazy_refcounts
from asyncemu.errors import ConfigError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.driver import Qcow2Driver
    from asyncemu.block.qcow2.options import Qcow2Options


class Qcow2Reopening:
    """See Reopening. Drained."""

    def __init__(self, driver: Qcow2Driver, options: Qcow2Options, sizes: CacheSizes) -> None:
        self._driver = driver
        self._options = options
        self._sizes = sizes

    async def commit(self) -> None:
        """The caches are empty, or of the same size as they were."""
        driver, image = self._driver, self._driver.image
        image.set_cache_sizes(self._sizes)
        apply_options(image, self._options)
        image.ready_to_write = False
        driver.restart_cleaner(self._options.cache_clean_interval)

    async def abort(self) -> None:
        """What has been written down is as good as it was."""


async def prepare(driver: Qcow2Driver, options: Qcow2Options) -> Qcow2Reopening:
    """Check the options, and write down what is cached. ConfigError, OSError."""
    image = driver.image
    sizes = image_cache_sizes(image.geometry, image.header.size, options)
    lazy = lazy_refcounts(image, options)
    if driver.read_only and not options.read_only and image.header.corrupt:
        raise ConfigError("read-only", "qcow2: Image is corrupt; cannot be opened read/write")
    if not options.read_only and image.l1.offset != image.header.l1_table_offset:
        # Its L1 table says of clusters that others use that they are its own.
        raise ConfigError("read-only", "a snapshot has been loaded, which can't be written to")
    if not driver.read_only and not image.broken:
        await image.flush_caches()
        if options.read_only or (image.lazy_refcounts and not lazy):
            await image.mark_clean()
    return Qcow2Reopening(driver, options, sizes)
