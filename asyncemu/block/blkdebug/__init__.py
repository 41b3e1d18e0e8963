# SPDX-License-Identifier: GPL-2.0-or-later
"""blkdebug: errors and stops at chosen points of what a format does.

events.py       the points, and the kinds of requests
rules.py        what happens at a point
config_file.py  rules from a file
driver.py       the filter
"""

from asyncemu.block.blkdebug.driver import BlkdebugDriver, BlkdebugOptions, blkdebug_below

__all__ = ["BlkdebugDriver", "BlkdebugOptions", "blkdebug_below"]
