# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``file`` driver: a regular file of the host as a disk."""

from asyncemu.block.file.driver import FileDriver
from asyncemu.block.file.options import FileOptions

__all__ = ["FileDriver", "FileOptions"]
