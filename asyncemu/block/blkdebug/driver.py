# SPDX-License-Identifier: GPL-2.0-or-later
"""BlkdebugDriver: the filter below a format that makes chosen requests fail, or stop. QEMU: block/blkdebug.c.

    { driver = "qcow2", file = { driver = "blkdebug", image = { ... }, inject-error = [{ event = "l2_load" }] } }

The format says by which points it passes (``BlockChild.debug_event``), and the node here does what the rules say. A
request that meets a breakpoint stops there, in flight, until it is resumed: also for a drained section, which waits.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Any, Final, Literal

from asyncemu.block.blkdebug.config_file import read_config_file
from asyncemu.block.blkdebug.rules import InjectErrorOptions, Rules, SetStateOptions
from asyncemu.block.child import BlockChild
from asyncemu.block.driver import BlockDriverOptions, ChildSlot
from asyncemu.block.filter import FilterDriver
from asyncemu.block.flags import (
    FUA,
    PERM_CONSISTENT_READ,
    PERM_RESIZE,
    PERM_WRITE,
    PERM_WRITE_UNCHANGED,
    ROLE_FILTER,
    STATUS_OFFSET_VALID,
    STATUS_RAW,
)
from asyncemu.block.node import BlockNode
from asyncemu.block.types import BlockStatus
from asyncemu.errors import ConfigError
from asyncemu.host_file import HostFile
from asyncemu.loop import home
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option
from asyncemu.size import Size

#: QEMU keeps the limits in an int of C.
_INT_MAX: Final = (1 << 31) - 1

_Permission = Literal["consistent-read", "write", "write-unchanged", "resize"]
_PERMISSIONS: Final[dict[str, int]] = {
    "consistent-read": PERM_CONSISTENT_READ,
    "write": PERM_WRITE,
    "write-unchanged": PERM_WRITE_UNCHANGED,
    "resize": PERM_RESIZE,
}


class BlkdebugOptions(BlockDriverOptions):
    """Keys of the ``blkdebug`` driver; QEMU's names."""

    image: str | dict[str, Any] = option(description="What is below: a node-name, or a table that makes a node.")
    config: HostFile | None = option(default=None, description="A file with more rules.")
    inject_error: list[InjectErrorOptions] = option(default=[], description="Errors of requests.")
    set_state: list[SetStateOptions] = option(default=[], description="Changes of the state.")
    align: Size = option(default=0, description="Alignment of requests that it insists on; 0: none.")
    max_transfer: Size = option(default=0, description="Longest read or write; 0: any.")
    opt_write_zero: Size = option(default=0, description="Alignment of zero writes; 0: that of requests.")
    max_write_zero: Size = option(default=0, description="Longest zero write; 0: any.")
    opt_discard: Size = option(default=0, description="Alignment of discards; 0: that of requests.")
    max_discard: Size = option(default=0, description="Longest discard; 0: any.")
    take_child_perms: list[_Permission] = option(default=[], description="Permissions to take of the child as well.")
    unshare_child_perms: list[_Permission] = option(
        default=[], description="Permissions to deny to the child's other users."
    )


class BlkdebugDriver(FilterDriver[BlkdebugOptions], name="blkdebug"):
    """Rules, and the requests that stand at breakpoints."""

    description = "Makes chosen requests fail or stop, to test what is above."
    children = (ChildSlot("image", ROLE_FILTER),)
    protocol = "blkdebug"
    image: BlockChild

    @property
    def below(self) -> BlockChild:
        return self.image

    async def open(self) -> int:
        """Read the rules. ConfigError, in QEMU's words."""
        self._rules = self._read_rules()
        #: Those that stand at a breakpoint, the last first: (tag, what resumes it).
        self._suspended: list[tuple[str, asyncio.Future[None]]] = []
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        #: Told of each request that stops or goes on, in QEMU's words: programs that drive a tool wait for these lines.
        self.report: Callable[[str], object] = print
        size = await super().open()
        # The files of QEMU 7.2 know no FUA: its rules see the flush behind such a write.
        self.write_flags &= ~FUA
        self._set_limits()
        self.node.debugged = True
        self._rules.pass_event("none")
        return size

    def _read_rules(self) -> Rules:
        """Those of the file first, and errors before changes of state, as QEMU makes them."""
        options = self.options
        rules = Rules()
        errors, states = read_config_file(options.config, "config") if options.config is not None else ([], [])
        for error in errors:
            rules.add_inject_error(error, "config")
        for index, error in enumerate(options.inject_error):
            rules.add_inject_error(error, f"inject-error[{index}]")
        for state in states:
            rules.add_set_state(state, "config")
        for index, state in enumerate(options.set_state):
            rules.add_set_state(state, f"set-state[{index}]")
        return rules

    def _set_limits(self) -> None:
        options, limits = self.options, self.limits
        if options.align and (options.align >= _INT_MAX or options.align & (options.align - 1)):
            raise ConfigError("align", f"Cannot meet constraints with align {options.align}")
        align = max(options.align, self.image.node.limits.request_alignment)
        for name, least in (
            ("max_transfer", align),
            ("opt_write_zero", align),
            ("max_write_zero", max(options.opt_write_zero, align)),
            ("opt_discard", align),
            ("max_discard", max(options.opt_discard, align)),
        ):
            value: int = getattr(options, name)
            if value and (value >= _INT_MAX or value % least):
                key = name.replace("_", "-")
                raise ConfigError(key, f"Cannot meet constraints with {key} {value}")
        limits.request_alignment = options.align or limits.request_alignment
        limits.max_transfer = options.max_transfer
        limits.write_zeroes_alignment, limits.max_write_zeroes = options.opt_write_zero, options.max_write_zero
        limits.discard_alignment, limits.max_discard = options.opt_discard, options.max_discard

    def child_permissions(self, child: BlockChild, permissions: int, shared: int) -> tuple[int, int]:
        """As any filter's, with what the options add."""
        permissions, shared = super().child_permissions(child, permissions, shared)
        for name in self.options.take_child_perms:
            permissions |= _PERMISSIONS[name]
        for name in self.options.unshare_child_perms:
            shared &= ~_PERMISSIONS[name]
        return permissions, shared

    # ---- requests

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        await self._check("read", offset, buffers.nbytes)
        await super().preadv(offset, buffers)

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        await self._check("write", offset, buffers.nbytes)
        await super().pwritev(offset, buffers, flags)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        """Less than a block of zeroes is refused, so that the way through buffers is tested, too."""
        limits = self.limits
        if length < max(limits.request_alignment, limits.write_zeroes_alignment):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        await self._check("write-zeroes", offset, length)
        await super().write_zeroes(offset, length, flags)

    async def discard(self, offset: int, length: int) -> None:
        if length < self.limits.request_alignment:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        await self._check("discard", offset, length)
        await super().discard(offset, length)

    async def flush(self) -> None:
        """The node flushes what is below."""
        await self._check("flush", 0, 0)

    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        await self._check("block-status", offset, length)
        return BlockStatus(STATUS_RAW | STATUS_OFFSET_VALID, length, offset, self.image.node)

    async def _check(self, kind: str, offset: int, length: int) -> None:
        if not self._rules.armed:
            return
        error = self._rules.error_for(kind, offset, length)
        if error is not None:
            if not error.immediately:
                await asyncio.sleep(0)
            raise OSError(error.number, os.strerror(error.number))

    # ---- events and breakpoints

    async def debug_event(self, event: str) -> None:
        """A format passes a point: see the rules, and stop at breakpoints."""
        stops = [self._suspend(tag) for tag in self._rules.pass_event(event)]
        try:
            for _, resumed in stops:
                await resumed
        finally:
            # Cancelled, it is not there to be resumed any more.
            self._suspended = [each for each in self._suspended if each not in stops]

    def _suspend(self, tag: str) -> tuple[str, asyncio.Future[None]]:
        stop = (tag, self.context.loop.create_future())
        self._suspended.insert(0, stop)
        self.report(f"blkdebug: Suspended request '{tag}'")
        for waiting in [each for each in self._waiting if each[0] == tag]:
            self._waiting.remove(waiting)
            if not waiting[1].done():
                waiting[1].set_result(None)
        return stop

    @home
    def debug_breakpoint(self, event: str, tag: str) -> None:
        """Stop the next request that passes ``event``, under the name ``tag``. OSError (ENOENT): no such event."""
        if not self._rules.add_breakpoint(event, tag):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    @home
    def debug_remove_breakpoint(self, tag: str) -> None:
        """Forget all breakpoints ``tag``, and let those that stand there go on.

        OSError (ENOENT): there is none that nobody has met yet; those that stood there go on all the same. (QEMU 7.2
        says so, too.)
        """
        found = self._rules.remove_breakpoints(tag)
        while self._resume(tag):
            pass
        if not found:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    @home
    def debug_resume(self, tag: str) -> None:
        """Let one that stands at ``tag`` go on, the last that has come. OSError (ENOENT): there is none."""
        if not self._resume(tag):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    @home
    def debug_is_suspended(self, tag: str) -> bool:
        """Does a request stand at ``tag``?"""
        return any(each == tag for each, _ in self._suspended)

    @home
    async def debug_wait_suspended(self, tag: str) -> None:
        """Until a request stands at ``tag``."""
        while not self.debug_is_suspended(tag):
            waiting = (tag, self.context.loop.create_future())
            self._waiting.append(waiting)
            try:
                await waiting[1]
            finally:
                if waiting in self._waiting:
                    self._waiting.remove(waiting)

    def _resume(self, tag: str) -> bool:
        for stop in self._suspended:
            if stop[0] == tag:
                self.report(f"blkdebug: Resuming request '{tag}'")
                self._suspended.remove(stop)
                if not stop[1].done():
                    stop[1].set_result(None)
                return True
        return False


def blkdebug_below(node: BlockNode) -> BlkdebugDriver | None:
    """The first blkdebug at or below ``node``, along what its layers are about. QEMU: bdrv_debug_breakpoint."""
    current: BlockNode | None = node
    while current is not None and not isinstance(current.driver, BlkdebugDriver):
        primary = current.primary_child
        current = primary.node if primary is not None else None
    return current.driver if current is not None and isinstance(current.driver, BlkdebugDriver) else None
