# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockChild: the edge from a parent (a node, a BlockBackend) to the node that it uses. QEMU: BdrvChild.

A driver keeps the edge and not the node: the graph may put another node at its end (a filter, a new overlay) while the
driver lives. Requests go through the edge, which says what the parent may do: a write without PERM_WRITE is EPERM, say.
Reads without PERM_CONSISTENT_READ are allowed, as in QEMU: who has no such permission takes what it gets.
"""

from __future__ import annotations

import errno
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from asyncemu.block.flags import PERM_ALL, PERM_RESIZE, PERM_WRITE, PERM_WRITE_UNCHANGED, WRITE_UNCHANGED
from asyncemu.block.permissions import permission_names
from asyncemu.block.types import BlockStatus, Preallocation
from asyncemu.errors import BlockError
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
        if not self.permissions & PERM_WRITE:
            self._check_unchanged("write", flags)
        return self.node.pwritev(offset, buffers, flags)

    def pwrite_sync(self, offset: int, data: bytes) -> Coroutine[Any, Any, None]:
        """Write ``data`` and flush. QEMU: bdrv_pwrite_sync."""
        if not self.permissions & PERM_WRITE:
            self.refuse("write", PERM_WRITE)
        return self.node.pwrite_sync(offset, data)

    def pread(self, offset: int, length: int) -> Coroutine[Any, Any, bytearray]:
        """``length`` bytes from byte ``offset`` on, zeroes past the end."""
        return self.node.pread(offset, length)

    def pwrite(self, offset: int, data: bytes | bytearray | memoryview, flags: int = 0) -> Coroutine[Any, Any, None]:
        """Write ``data`` at byte ``offset``."""
        return self.pwritev(offset, Buffers.of(data), flags)

    def write_zeroes(self, offset: int, length: int, flags: int = 0) -> Coroutine[Any, Any, None]:
        """Make the bytes read as zero; MAY_UNMAP, FUA, NO_FALLBACK."""
        if not self.permissions & PERM_WRITE:
            self._check_unchanged("write zeroes", flags)
        return self.node.write_zeroes(offset, length, flags)

    def discard(self, offset: int, length: int) -> Coroutine[Any, Any, None]:
        """The bytes are not needed any more (a hint)."""
        if not self.permissions & PERM_WRITE:
            self.refuse("discard", PERM_WRITE)
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
        if not self.permissions & PERM_RESIZE:
            self.refuse("truncate", PERM_RESIZE)
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

    def refuse(self, what: str, needed: int) -> NoReturn:
        """BlockError (EPERM): the parent does what it has not asked to be allowed. QEMU: an assertion."""
        if self.node.read_only:
            raise BlockError(self.node.name, errno.EROFS, what)
        raise BlockError(
            self.node.name,
            errno.EPERM,
            f"{what} by {self.parent.description}, which has no permission '{permission_names(needed)}'",
        )

    def _check_unchanged(self, what: str, flags: int) -> None:
        """Without PERM_WRITE: is it a write that changes nothing for readers, and allowed?"""
        if not (flags & WRITE_UNCHANGED and self.permissions & PERM_WRITE_UNCHANGED):
            self.refuse(what, PERM_WRITE)

    @any_thread
    def __repr__(self) -> str:
        return f"<BlockChild {self.name} of {self.parent.description}: {self.node.name}>"
