# SPDX-License-Identifier: GPL-2.0-or-later
"""The VM state of an image: what a format keeps behind the guest's disk. QEMU: bdrv_save_vmstate, bdrv_load_vmstate."""

from __future__ import annotations

import errno
from typing import Any

from asyncemu.block.driver import BlockDriver
from asyncemu.block.node import BlockNode
from asyncemu.errors import BlockError
from asyncemu.memory.buffers import Buffers


async def save_vm_state(node: BlockNode, offset: int, buffers: Buffers) -> None:
    """Write ``buffers``, ``offset`` bytes behind the state's start. BlockError, OSError."""
    await _keeper(node, "save_vmstate").save_vmstate(offset, buffers)


async def load_vm_state(node: BlockNode, offset: int, buffers: Buffers) -> None:
    """Read it."""
    await _keeper(node, "load_vmstate").load_vmstate(offset, buffers)


def _keeper(node: BlockNode, method: str) -> BlockDriver[Any]:
    """The driver of ``node``, or of the first below it that keeps a VM state."""
    at: BlockNode | None = node
    while at is not None:
        if at.driver.defines(method):
            driver: BlockDriver[Any] = at.driver
            return driver
        child = at.primary_child
        at = child.node if child is not None else None
    raise BlockError(node.name, errno.ENOTSUP, "VM state")
