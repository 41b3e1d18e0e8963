# SPDX-License-Identifier: GPL-2.0-or-later
"""Other options for a file that is open: read-only or not, through the page cache or not, another engine.

The file is opened a second time, in the new way; the change-over puts it in the place of the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncemu.block.file.engine import Engine, open_engine
from asyncemu.block.file.opening import OpenFile, open_again
from asyncemu.block.file.options import FileOptions
from asyncemu.block.file.posix import check_options, is_read_only
from asyncemu.block.limits import BlockLimits
from asyncemu.block.unchangeable import refuse_changes

if TYPE_CHECKING:
    from asyncemu.block.file.posix import PosixDriver


def prepare(driver: PosixDriver, options: FileOptions) -> FileReopening | None:
    """See BlockDriver.prepare_reopen. Drained. None: these options need nothing to be done."""
    file = driver.handle
    assert file is not None
    refuse_changes(driver.options, options, "filename", "locking")
    check_options(options)
    read_only = is_read_only(options)
    direct = options.cache.direct
    # With auto-read-only it is the next change of permissions that makes it read-only again, when nobody writes.
    writable = not read_only
    reopening = FileReopening(driver, options, read_only=read_only)
    if options.aio != driver.options.aio:
        reopening.engine = open_engine(driver.context, options.aio)
    try:
        if (writable, direct) != (file.writable, file.direct):
            reopening.file = open_again(file, options.filename, writable=writable, direct=direct)
            reopening.limits = driver.find_limits(reopening.file)
    except BaseException:
        reopening.give_up()
        raise
    if reopening.file is None and reopening.engine is None and read_only == driver.read_only:
        return None
    return reopening


class FileReopening:
    """What is ready: see Reopening."""

    def __init__(self, driver: PosixDriver, options: FileOptions, *, read_only: bool) -> None:
        self._driver = driver
        self._options = options
        self._read_only = read_only
        self.file: OpenFile | None = None
        self.limits = BlockLimits()
        self.engine: Engine | None = None

    async def commit(self) -> None:
        """See Reopening."""
        driver = self._driver
        driver.options = self._options
        driver.read_only = self._read_only
        if self.engine is not None:
            driver.release_engine()
            driver.engine = self.engine
        if self.file is not None:
            assert driver.handle is not None
            if driver.handle.locks is not None:
                # What the old one has locked so far can't be refused to the new one.
                self.file.locks = driver.handle.locks.copy_to(self.file.fd, *driver.granted)
            driver.handle.become(self.file)
            driver.limits = self.limits
            driver.file_changed()
            driver.node.set_limits()

    async def abort(self) -> None:
        """See Reopening."""
        self.give_up()

    def give_up(self) -> None:
        """Close what is open."""
        if self.engine is not None:
            self.engine.release()
        if self.file is not None:
            self.file.close()
