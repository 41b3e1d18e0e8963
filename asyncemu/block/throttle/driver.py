# SPDX-License-Identifier: GPL-2.0-or-later
"""ThrottleDriver: the filter that holds requests up by the limits of a group. QEMU: block/throttle.c.

Reads and writes wait, zero writes and discards count as writes, flushes pass. In a drained section nothing waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from asyncemu.block.driver import BlockDriverOptions
from asyncemu.block.filter import FilterDriver, FilterOptions
from asyncemu.block.throttle.buckets import READ, WRITE
from asyncemu.block.throttle.config import ThrottleLimits
from asyncemu.block.throttle.group import ThrottleGroup
from asyncemu.block.throttle.member import ThrottleMember
from asyncemu.block.types import Reopening
from asyncemu.errors import ConfigError
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option
from asyncemu.plugins import Reference


class ThrottleOptions(FilterOptions):
    """Keys of the ``throttle`` driver; QEMU's names, and ``limits``."""

    throttle_group: Annotated[str, Reference("throttle-group")] = option(
        default="", description="Id of the [[throttle-group]] whose limits hold."
    )
    limits: ThrottleLimits | None = option(default=None, description="Limits of this node alone, without a group.")


class ThrottleDriver(FilterDriver[ThrottleOptions], name="throttle"):
    """A member of a throttle group."""

    description = "Holds requests up by the limits of a throttle group."

    async def open(self) -> int:
        """Join the group. ConfigError when there is none."""
        size = await super().open()
        self.member = ThrottleMember(self._group(self.options), self.context)
        return size

    def _group(self, options: ThrottleOptions) -> ThrottleGroup:
        groups = self.environment.throttle_groups
        if options.limits is not None:
            if options.throttle_group:
                raise ConfigError("limits", "a throttle group has limits of its own", "leave one of the two out")
            return groups.anonymous(options.limits.config("limits"))
        if not options.throttle_group:
            raise ConfigError("throttle-group", "Please specify a throttle group")
        return groups.find(options.throttle_group, "throttle-group")

    async def close(self) -> None:
        """Leave the group."""
        self.member.leave()

    async def prepare_reopen(self, options: BlockDriverOptions) -> Reopening | None:
        """Another group, or other limits."""
        assert isinstance(options, ThrottleOptions)
        before = self.options
        if options.throttle_group == before.throttle_group and options.limits == before.limits:
            return None
        return _OtherGroup(self, self._group(options))

    # ---- requests

    # The two that must be quick, written out: a coroutine more for each would cost as much as the limits do.

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        length = buffers.nbytes
        waiter = self.member.begin(READ, length)
        if waiter is not None:
            await self.member.wait(waiter, READ, length)
        await self.file.preadv(offset, buffers)

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        length = buffers.nbytes
        waiter = self.member.begin(WRITE, length)
        if waiter is not None:
            await self.member.wait(waiter, WRITE, length)
        await self.file.pwritev(offset, buffers, flags)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        await self.member.pass_by(WRITE, length)
        await super().write_zeroes(offset, length, flags)

    async def discard(self, offset: int, length: int) -> None:
        await self.member.pass_by(WRITE, length)
        await super().discard(offset, length)

    # ---- drain, contexts

    def drain_begin(self) -> None:
        """Those that wait go on at once."""
        self.member.begin_unlimited()

    def drain_end(self) -> None:
        """Limits hold again."""
        self.member.end_unlimited()

    async def detach_context(self) -> None:
        """The timers are the context's."""
        self.member.detach()

    async def attach_context(self) -> None:
        """See BlockDriver."""
        self.member.attach(self.context)


@dataclass(frozen=True, slots=True)
class _OtherGroup:
    """See Reopening."""

    driver: ThrottleDriver
    group: ThrottleGroup

    async def commit(self) -> None:
        member = ThrottleMember(self.group, self.driver.context)
        member.unlimited = self.driver.member.unlimited
        self.driver.member.leave()
        self.driver.member = member

    async def abort(self) -> None:
        """Nobody has joined it."""
