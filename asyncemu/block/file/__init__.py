# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``file`` driver: a regular file of the host as a disk."""

from asyncemu.block.file.driver import FileDriver, FileOptions

__all__ = ["FileDriver", "FileOptions"]
