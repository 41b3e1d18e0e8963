# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockChild: the edge from a parent (a node, a BlockBackend) to the node that it uses. QEMU: BdrvChild.

A driver keeps the edge and not the node: the graph may put another node at its end (a filter, a new overlay) while the
driver lives. Requests go through the edge, which says what the parent may do.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from asyncemu.block.flags import PERM_ALL
from asyncemu.block.types import BlockStatus, Preallocation
from asyncemu.loop import AioContext, any_thread, home
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode


class BlockParent(Protocol):
    """Who has children: a BlockNode or a BlockBackend."""

    context: AioContext

    @property
    def description(self) -> str:
        """In messages: ``node 'disk0'``, ``block device 'virtio0'``."""

    @home
    def child_resized(self, edge: BlockChild) -> None:
        """The node at the end of ``edge`` has another size. Home context."""


class BlockChild:
    """One edge. Home: the node's. Raises as the node does."""

    __slots__ = ("name", "node", "parent", "permissions", "role", "shared")

    def __init__(self, parent: BlockParent, name: str, role: int, node: BlockNode) -> None:
        self.parent = parent
        #: Of the slot: ``file``, ``backing``; ``root`` for a BlockBackend's.
        self.name = name
        #: ROLE_* of flags.py.
        self.role = role
        self.node = node
        #: PERM_* that the parent has, and those that it leaves to the node's other parents.
        self.permissions = 0
        self.shared = PERM_ALL

    # Plain functions that return the node's coroutine: a further coroutine for each layer would cost as much as the
    # layer.

    def preadv(self, offset: int, buffers: Buffers, flags: int = 0) -> Coroutine[Any, Any, None]:
        """Fill ``buffers`` from byte ``offset`` on; zeroes past the end."""
        return self.node.preadv(offset, buffers, flags)

    def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> Coroutine[Any, Any, None]:
        """Write ``buffers`` at byte ``offset``; past the end it grows, where it can and PERM_RESIZE is held."""
        return self.node.pwritev(offset, buffers, flags)

    def pwrite_sync(self, offset: int, data: bytes) -> Coroutine[Any, Any, None]:
        """Write ``data`` and flush. QEMU: bdrv_pwrite_sync."""
        return self.node.pwrite_sync(offset, data)

    def pread(self, offset: int, length: int) -> Coroutine[Any, Any, bytearray]:
        """``length`` bytes from byte ``offset`` on, zeroes past the end."""
        return self.node.pread(offset, length)

    def pwrite(self, offset: int, data: bytes | bytearray | memoryview, flags: int = 0) -> Coroutine[Any, Any, None]:
        """Write ``data`` at byte ``offset``."""
        return self.node.pwritev(offset, Buffers.of(data), flags)

    def write_zeroes(self, offset: int, length: int, flags: int = 0) -> Coroutine[Any, Any, None]:
        """Make the bytes read as zero; MAY_UNMAP, FUA, NO_FALLBACK."""
        return self.node.write_zeroes(offset, length, flags)

    def discard(self, offset: int, length: int) -> Coroutine[Any, Any, None]:
        """The bytes are not needed any more (a hint)."""
        return self.node.discard(offset, length)

    def flush(self) -> Coroutine[Any, Any, None]:
        """All completed writes survive a crash of the host when this returns."""
        return self.node.flush()

    def block_status(self, offset: int, length: int, want_zero: bool = True) -> Coroutine[Any, Any, BlockStatus]:
        """What the node itself says, not its backing file; ``length`` 0 only at the end."""
        return self.node.block_status(offset, length, want_zero)

    def truncate(
        self, size: int, *, exact: bool = False, preallocation: Preallocation = "off", zero: bool = False
    ) -> Coroutine[Any, Any, None]:
        """Make it ``size`` bytes (at least, when not ``exact``)."""
        return self.node.truncate(size, exact=exact, preallocation=preallocation, zero=zero)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.node.size

    @property
    def debugged(self) -> bool:
        """Is a blkdebug there? ``if child.debugged: await child.debug_event(...)`` costs nothing without."""
        return self.node.debugged

    def debug_event(self, event: str) -> Coroutine[Any, Any, None]:
        """Tell the blkdebug below that this point is passed; it may hold the caller up."""
        return self.node.debug_event(event)

    @any_thread
    def __repr__(self) -> str:
        return f"<BlockChild {self.name} of {self.parent.description}: {self.node.name}>"
