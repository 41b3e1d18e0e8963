# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockBackend: what a device, an export or a tool holds of the block layer. QEMU: BlockBackend.

    backend = BlockBackend("disk0", context, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL & ~PERM_WRITE)
    await backend.insert(node)             permissions are checked here
    await backend.preadv(0, buffers)
    await backend.remove()

It checks bounds, holds requests while the node is drained (they wait in line, nobody fails, and if it moves meanwhile
they go on in the new home), counts them, and knows what a device is to do about an error. Without a node there is no
medium: ENOMEDIUM.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from asyncemu.block.child import BlockChild
from asyncemu.block.drain import follow, settle
from asyncemu.block.error_policy import ErrorAction, ErrorPolicy, IoStatus
from asyncemu.block.flags import (
    PERM_ALL,
    PERM_CONSISTENT_READ,
    PERM_RESIZE,
    PERM_WRITE,
    PERM_WRITE_UNCHANGED,
    WRITE_UNCHANGED,
)
from asyncemu.block.homes import at_home
from asyncemu.block.node import BlockNode
from asyncemu.block.permissions import refresh_permissions
from asyncemu.block.statistics import FLUSH, READ, UNMAP, WRITE, BlockStatistics
from asyncemu.block.status import block_status_above, is_allocated_above
from asyncemu.block.types import BlockStatus, Preallocation
from asyncemu.coroutines import start
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext, HasHome, any_thread, home
from asyncemu.memory.buffers import Buffers

ResultT = TypeVar("ResultT")


if TYPE_CHECKING:
    from asyncemu.block.throttle.group import ThrottleGroup
    from asyncemu.block.throttle.member import ThrottleMember


class _Kind(NamedTuple):
    """What is common to all requests of a kind."""

    name: str
    #: Its index in the statistics.
    counted: int | None = None
    #: PERM_*, of which one is enough.
    needs: int = 0
    #: May it reach past the end, where the user wants that?
    grows: bool = False
    #: Do the limits of ``throttle`` hold for it, as for writes?
    limited: bool = False


_READ: Final = _Kind("read", READ)
_WRITE: Final = _Kind("write", WRITE, PERM_WRITE, grows=True)
_WRITE_UNCHANGED: Final = _Kind("write", WRITE, PERM_WRITE | PERM_WRITE_UNCHANGED, grows=True)
_WRITE_ZEROES: Final = _Kind("write zeroes", WRITE, PERM_WRITE, grows=True, limited=True)
_DISCARD: Final = _Kind("discard", UNMAP, PERM_WRITE)
_FLUSH: Final = _Kind("flush", FLUSH)
_STATUS: Final = _Kind("block status")
_DEPTH: Final = _Kind("allocation depth")
_TRUNCATE: Final = _Kind("truncate", needs=PERM_RESIZE)


class BackendUser(Protocol):
    """Who sends a BlockBackend requests and can stop doing so: a device, which leaves them in its guest's rings."""

    @any_thread
    async def quiesce(self) -> None:
        """Send no request until ``resume``; return when none is in flight. Nests. From any context.

        Is not cancelled; if it raises, ``resume`` follows all the same.
        """

    @any_thread
    async def resume(self) -> None:
        """The other end of ``quiesce``."""


class BackendFollower(Protocol):
    """Who uses a BlockBackend and can go wherever that is moved: an export."""

    @any_thread
    async def suspend(self) -> None:
        """Have nothing to do with its home until ``resume``. Nests. From any context.

        BlockError: it can't; ``resume`` follows all the same.
        """

    @any_thread
    async def resume(self) -> None:
        """The other end of ``suspend``: go on in what is its home now."""


class BlockBackend(HasHome):
    """All methods run in the home context, which is the node's, and raise BlockError."""

    def __init__(
        self, name: str, context: AioContext, permissions: int = PERM_CONSISTENT_READ, shared: int = PERM_ALL
    ) -> None:
        #: In messages; a device's id.
        self.name = name
        self.context = context
        self.permissions = permissions
        self.shared = shared
        self.root: BlockChild | None = None
        self.policy = ErrorPolicy()
        self.statistics = BlockStatistics()
        #: Is it a device's?
        self.is_device = False
        #: What the device's last error that stopped the machine was; see ``error_action``.
        self.io_status = IoStatus.OK
        #: Its membership in a throttle group; None: no limits. See ``set_throttle_group``.
        self.throttle: ThrottleMember | None = None
        #: Called when the size has changed: a device tells its guest.
        self.on_resize: Callable[[], object] | None = None
        #: Who stops by itself while drained; without one, requests that come wait here.
        self.user: BackendUser | None = None
        #: Who comes along when the node moves; without one it stays where its user is (move.py).
        self.follower: BackendFollower | None = None
        #: Writes past the end make the node grow (PERM_RESIZE); otherwise they fail.
        self.allow_write_beyond_end = False
        #: Flags of each write: FUA where the user wants no write cache. QEMU: blk_set_enable_write_cache.
        self.write_flags = 0
        self.in_flight = 0
        self.quiesced = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle: asyncio.Future[None] | None = None

    @property
    def description(self) -> str:
        """In messages."""
        return f"block device '{self.name}'" if self.name else "an unnamed block device"

    # ---- the node

    @property
    def node(self) -> BlockNode:
        """BlockError (ENOMEDIUM) when there is none."""
        if self.root is None:
            raise BlockError(self.name, errno.ENOMEDIUM)
        return self.root.node

    @property
    def size(self) -> int:
        """Bytes."""
        return self.node.size

    @property
    def read_only(self) -> bool:
        """Can the node not be written?"""
        return self.node.read_only

    @home
    async def insert(self, node: BlockNode) -> None:
        """Take ``node`` as the medium. ConfigError: its other users don't allow what we want.

        BlockError (EBUSY): there is one, or it lives elsewhere; ESHUTDOWN: it is closed, or is about to be.
        """
        if self.root is not None:
            raise BlockError(self.name, errno.EBUSY, f"has {self.root.node.name} inserted")
        if node.context is not self.context:
            raise BlockError(
                node.name, errno.EBUSY, f"lives in {node.context.name}, {self.name} in {self.context.name}"
            )
        if node.closing or node.closed:
            raise BlockError(node.name, errno.ESHUTDOWN, f"can't be inserted into {self.name}")
        edge = BlockChild(self, "root", 0, node)
        edge.permissions, edge.shared = self.permissions, self.shared
        node.parents.append(edge)
        try:
            refresh_permissions([node])
        except BaseException:
            node.parents.remove(edge)
            raise
        self.root = edge
        try:
            await settle(follow(node))
        except BaseException:
            self._let_go(edge)
            raise

    @home
    async def remove(self) -> None:
        """Wait for our requests, and give the node up. Nothing, when there is none."""
        if self.throttle is not None:
            self.throttle.begin_unlimited()
        await self.drain()
        self.set_throttle_group(None)
        if self.root is None:
            return
        self._let_go(self.root)

    def _let_go(self, edge: BlockChild) -> None:
        node, self.root = edge.node, None
        node.parents.remove(edge)
        if not node.closed:
            refresh_permissions([node])
        if sections := follow(node):
            # Behind our back: the user who is to go on may be who removes us.
            start(self.context, settle(sections))

    @home
    def set_permissions(self, permissions: int, shared: int) -> None:
        """Want more or less. ConfigError: not to be had; all is as it was."""
        edge = self.root
        if edge is not None:
            before = edge.permissions, edge.shared
            edge.permissions, edge.shared = permissions, shared
            try:
                refresh_permissions([edge.node])
            except BaseException:
                edge.permissions, edge.shared = before
                raise
        self.permissions, self.shared = permissions, shared

    # ---- requests

    # These two are on every path: their bodies are those of ``_request``, without a closure and a further call.

    @home
    async def preadv(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        """Fill ``buffers`` from byte ``offset`` on. EIO past the end."""
        began = monotonic_ns()
        if self.quiesced and not await self._wait_while_drained():
            await at_home(self, partial(self.preadv, offset, buffers, flags))
            return
        length = buffers.nbytes
        node = self._begin(_READ, offset, length)
        try:
            if self.throttle is not None:
                await self.throttle.pass_by(READ, length)
            await node.preadv(offset, buffers, flags)
        except BaseException:
            self.statistics.failed(READ)
            raise
        finally:
            self._end()
        self.statistics.done(READ, length, began)

    @home
    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        """Write ``buffers`` at byte ``offset``. EIO past the end."""
        began = monotonic_ns()
        if self.quiesced and not await self._wait_while_drained():
            await at_home(self, partial(self.pwritev, offset, buffers, flags))
            return
        length = buffers.nbytes
        node = self._begin(_WRITE_UNCHANGED if flags & WRITE_UNCHANGED else _WRITE, offset, length)
        try:
            if self.throttle is not None:
                await self.throttle.pass_by(WRITE, length)
            await node.pwritev(offset, buffers, flags | self.write_flags)
        except BaseException:
            self.statistics.failed(WRITE)
            raise
        finally:
            self._end()
        self.statistics.done(WRITE, length, began)

    @home
    def write_zeroes(self, offset: int, length: int, flags: int = 0) -> Coroutine[Any, Any, None]:
        """Make the bytes read as zero. Flags: MAY_UNMAP, FUA, NO_FALLBACK."""
        return self._request(
            _WRITE_ZEROES, offset, length, lambda node: node.write_zeroes(offset, length, flags | self.write_flags)
        )

    @home
    def discard(self, offset: int, length: int) -> Coroutine[Any, Any, None]:
        """The bytes are not needed any more (a hint)."""
        return self._request(_DISCARD, offset, length, lambda node: node.discard(offset, length))

    @home
    def flush(self) -> Coroutine[Any, Any, None]:
        """All completed writes survive a crash of the host when this returns."""
        return self._request(_FLUSH, 0, 0, BlockNode.flush)

    @home
    async def block_status(self, offset: int, length: int, want_zero: bool = True) -> BlockStatus:
        """What the whole chain says of the first of the bytes."""
        status, _ = await self._request(
            _STATUS, offset, length, lambda node: block_status_above(node, None, offset, length, want_zero)
        )
        return status

    @home
    def allocation_depth(self, offset: int, length: int) -> Coroutine[Any, Any, tuple[int, int]]:
        """Which layer of the chain, from 1, decides what is read of the first of the bytes, 0 for none; how far."""
        return self._request(_DEPTH, offset, length, lambda node: is_allocated_above(node, None, offset, length))

    @home
    async def copy_range(
        self,
        offset: int,
        target: BlockBackend,
        target_offset: int,
        length: int,
        read_flags: int = 0,
        write_flags: int = 0,
    ) -> None:
        """Have the storage copy bytes to ``target``. ENOTSUP: it can't; read and write them."""
        from asyncemu.block.copy_range import copy_range

        while True:
            if target.context is not self.context:
                raise BlockError(self.name, errno.ENOTSUP, "copy range")
            # Who drains both waits for us: we may not wait for one of them while we are in flight in the other.
            held = next((each for each in (self, target) if each.quiesced and each.user is None), None)
            if held is None:
                break
            if not await held._wait_while_drained():
                again = partial(self.copy_range, offset, target, target_offset, length, read_flags, write_flags)
                await at_home(self, again)
                return
        self._begin(_READ, offset, length)
        try:
            target._begin(_WRITE, target_offset, length)
            try:
                assert self.root is not None
                assert target.root is not None
                await copy_range(self.root, offset, target.root, target_offset, length, read_flags, write_flags)
            finally:
                target._end()
        finally:
            self._end()

    @home
    def truncate(
        self, size: int, *, exact: bool = False, preallocation: Preallocation = "off", zero: bool = False
    ) -> Coroutine[Any, Any, None]:
        """Make the node ``size`` bytes (PERM_RESIZE)."""
        return self._request(
            _TRUNCATE,
            0,
            0,
            lambda node: node.truncate(size, exact=exact, preallocation=preallocation, zero=zero),
        )

    @home
    async def pread(self, offset: int, length: int) -> bytearray:
        """``length`` bytes from byte ``offset`` on."""
        data = bytearray(length)
        if length:
            await self.preadv(offset, Buffers((memoryview(data),)))
        return data

    @home
    async def pwrite(self, offset: int, data: bytes | bytearray | memoryview, flags: int = 0) -> None:
        """Write ``data`` at byte ``offset``."""
        await self.pwritev(offset, Buffers.of(data), flags)

    # ---- errors

    @home
    def error_action(self, is_read: bool, error: BlockError) -> ErrorAction:
        """What the device is to do about ``error``, which the graph's observer hears of.

        QEMU: blk_get_error_action, blk_error_action.
        """
        action = self.policy.action(is_read, error.errno)
        no_space = error.errno == errno.ENOSPC
        if action is ErrorAction.STOP and self.io_status is IoStatus.OK:
            self.io_status = IoStatus.NO_SPACE if no_space else IoStatus.FAILED
        if self.root is not None:
            node = self.root.node
            node.observer.io_error(
                node.name,
                is_read=is_read,
                action=action.value,
                no_space=no_space,
                reason=os.strerror(error.errno),
            )
        return action

    # ---- limits

    @home
    def set_throttle_group(self, group: ThrottleGroup | None) -> None:
        """Let the limits of ``group`` hold for reads and writes, or none. Nothing is in flight.

        QEMU: blk_io_limits_enable, blk_io_limits_disable.
        """
        if self.throttle is not None:
            self.throttle.leave()
            self.throttle = None
        if group is not None:
            from asyncemu.block.throttle.member import ThrottleMember

            self.throttle = ThrottleMember(group, self.context)
            self.throttle.unlimited = bool(self.quiesced)

    # ---- moves (move.py)

    @home
    def detach_context(self) -> None:
        """It is about to move: give back what belongs to this context. Drained."""
        if self.throttle is not None:
            self.throttle.detach()

    @home
    def attach_context(self) -> None:
        """``context`` is the new home, or the old one again."""
        if self.throttle is not None:
            self.throttle.attach(self.context)

    # ---- drained sections, as a parent (drain.py)

    @home
    def drain_begin(self) -> None:
        """Requests that come wait, from here on; a ``user`` is asked in its own time. Nests."""
        self.quiesced += 1
        if self.quiesced == 1 and self.throttle is not None:
            self.throttle.begin_unlimited()

    @home
    def drain_end(self) -> None:
        """The other end of ``drain_begin``: those that wait go on, in order."""
        self.quiesced -= 1
        if self.quiesced:
            return
        if self.throttle is not None:
            self.throttle.end_unlimited()
        while self._waiting:
            waiting = self._waiting.popleft()
            loop = waiting.get_loop()
            if loop is self.context.loop:
                _wake(waiting)
            else:  # it came before we moved
                with suppress(RuntimeError):  # and was cancelled: its loop is closed by now
                    loop.call_soon_threadsafe(_wake, waiting)

    @home
    async def drain(self) -> None:
        """Until none of our requests is in flight; those that wait for the end of a drained section are not."""
        while self.in_flight:
            if self._idle is None:
                self._idle = self.context.loop.create_future()
            # Shielded: the future is shared by all who drain, and one of them may be cancelled.
            await asyncio.shield(self._idle)

    @home
    def child_resized(self, edge: BlockChild) -> None:
        """The node has another size."""
        if self.on_resize is not None:
            self.on_resize()

    # ---- private

    async def _request(
        self, kind: _Kind, offset: int, length: int, send: Callable[[BlockNode], Coroutine[Any, Any, ResultT]]
    ) -> ResultT:
        """One request: ``send`` it to the node, when that may be."""
        began = monotonic_ns()
        if self.quiesced and not await self._wait_while_drained():
            return await at_home(self, partial(self._request, kind, offset, length, send))
        node = self._begin(kind, offset, length)
        try:
            if kind.limited and self.throttle is not None:
                await self.throttle.pass_by(WRITE, length)
            result = await send(node)
        except BaseException:
            if kind.counted is not None:
                self.statistics.failed(kind.counted)
            raise
        finally:
            self._end()
        if kind.counted is not None:
            self.statistics.done(kind.counted, length, began)
        return result

    def _begin(self, kind: _Kind, offset: int, length: int) -> BlockNode:
        """In flight from here on: the node to send the request to."""
        root = self.root
        if root is None:
            raise BlockError(self.name, errno.ENOMEDIUM, kind.name)
        node = root.node
        if (
            offset < 0
            or length < 0
            or (offset + length > node.size and not (kind.grows and self.allow_write_beyond_end))
        ):
            self.statistics.refused(kind.name)
            raise BlockError(
                self.name, errno.EIO, f"{kind.name} of {length} bytes at {offset}, past the end of {node.size} bytes"
            )
        if kind.needs and not root.permissions & kind.needs:
            root.refuse(kind.name, kind.needs)
        self.in_flight += 1
        return node

    async def _wait_while_drained(self) -> bool:
        """Is the caller at home still?"""
        here = self.context
        while self.quiesced and self.user is None:
            waiting = here.loop.create_future()
            self._waiting.append(waiting)
            await waiting
            if self.context is not here:
                return False
        return True

    def _end(self) -> None:
        self.in_flight -= 1
        if not self.in_flight and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    def __repr__(self) -> str:
        return f"<BlockBackend {self.name}>"


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
