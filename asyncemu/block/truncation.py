# SPDX-License-Identifier: GPL-2.0-or-later
"""Another size for a node. QEMU: bdrv_co_truncate.

What is cut off must not be in flight, and what is added must read as zeroes, also where the new node is longer than its
backing file used to be: the backing file's bytes, hidden so far, must not appear.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from asyncemu.block.tracked import TO_INFINITY
from asyncemu.block.types import Preallocation
from asyncemu.errors import BlockError, ConfigError
from asyncemu.size import LARGEST

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode


async def truncate(node: BlockNode, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> None:
    """See BlockNode.truncate. The messages are those of qemu-img."""
    if size < 0:
        raise ConfigError("size", "Image size cannot be negative")
    if size > LARGEST:
        raise ConfigError("size", f"Required too big image size, it must be not greater than {LARGEST}")
    # Requests past the smaller of the two sizes are waited for, and wait.
    request = node.begin(min(node.size, size), TO_INFINITY, serialising=True)
    try:
        await node.tracked.wait(request)
        backing = node.backing
        if backing is not None and size > node.size and backing.size > node.size:
            zero = True
        driver, filtered = node.driver, node.filtered
        if driver.defines("truncate"):
            size = await driver.truncate(size, exact=exact, preallocation=preallocation, zero=zero)
        elif filtered is not None:
            await filtered.truncate(size, exact=exact, preallocation=preallocation, zero=zero)
            size = filtered.size
        else:
            raise BlockError(node.name, errno.ENOTSUP, "Image format driver does not support resize")
        node.write_generation += 1
        node.set_size(size)
    except OSError as error:
        raise BlockError(node.name, error.errno or errno.EIO, f"truncate to {size} bytes") from error
    except Exception as error:
        node.blame_author("truncate", error)
        raise
    finally:
        node.end(request)
