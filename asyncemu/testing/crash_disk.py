# SPDX-License-Identifier: GPL-2.0-or-later
"""CrashDisk: a disk in memory that remembers in what states a crash of the host could have left it.

    disk = await graph.add(CrashDisk, CrashDiskOptions(size=0, seed=7), "disk")
    ...                                              a workload; requests end in an order that the seed decides
    for position in range(len(disk.driver.events) + 1):
        image = disk.driver.after_crash(position, random.Random(position))

What a crash leaves, as disks and page caches are allowed to behave: everything that a flush has covered, which is what
had ended when the flush began; of all else that was asked for, any sectors: all, none, or some of a single request. Of
two requests for the same sector, the later one does not give way to the earlier.
Importing this module makes the driver name ``crash-disk`` known to vm.toml.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Final, TypeAlias

from asyncemu.block.driver import BlockDriver, BlockDriverOptions
from asyncemu.block.types import Preallocation
from asyncemu.loop import any_thread, home
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option
from asyncemu.size import Size

#: Bytes that a disk writes as a whole or not at all.
SECTOR: Final = 512


class CrashDiskOptions(BlockDriverOptions):
    """Keys of the ``crash-disk`` driver."""

    size: Size = option(default=0, description="Size of the disk; it grows.")
    seed: int | None = option(
        default=None, description="Decides in what order requests end; without one, each ends at once."
    )


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A request that changes the disk, when it is asked for: data at an offset, or (``data`` is None) a new size."""

    offset: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Flushed:
    """A flush has ended, and these survive from now on."""

    changes: tuple[Change, ...]


Event: TypeAlias = Change | Flushed


class CrashDisk(BlockDriver[CrashDiskOptions], name="crash-disk"):
    """``events`` is what happened, in order; ``data`` what a reader sees now."""

    growable = True

    async def open(self) -> int:
        """The size in bytes; the contents are zero, and survive."""
        self.data = bytearray(self.options.size)
        self.events: list[Event] = []
        #: What the disk began with: a crash leaves at least that.
        self.first = bytes(self.data)
        self._ended: dict[Change, None] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._random = random.Random(self.options.seed)
        return len(self.data)

    @home
    def begin_with(self, image: bytes) -> None:
        """Forget what happened; ``image`` is there, and survives. Nothing is in flight."""
        self.data = bytearray(image)
        self.first = image
        self.events.clear()
        self._ended.clear()
        self.node.size = len(image)

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        await self._take_turn()
        buffers.write(bytes(self.data[offset : offset + buffers.nbytes]))

    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        await self._change(Change(offset, buffers.tobytes()))

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        await self._change(Change(offset, bytes(length)))

    async def discard(self, offset: int, length: int) -> None:
        # Like any other change: it may come before what was asked for earlier.
        await self._change(Change(offset, bytes(length)))

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        await self._change(Change(size, None))
        return size

    async def flush(self) -> None:
        covered = tuple(self._ended)
        await self._take_turn()
        self.events.append(Flushed(covered))
        for change in covered:
            self._ended.pop(change, None)

    def has_zero_init(self) -> bool:
        return True

    @any_thread
    def after_crash(self, position: int, choice: random.Random | None = None) -> bytes:
        """The disk after a crash right before ``events[position]``.

        Without ``choice``, all that was asked for is there. With it, what was not flushed is there, is not there, or is
        torn, as ``choice`` says.
        """
        events = self.events[:position]
        durable: set[Change] = set()
        for event in events:
            if isinstance(event, Flushed):
                durable.update(event.changes)
        likelihood = 1.0 if choice is None else choice.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        image = bytearray(self.first)
        for event in events:
            if isinstance(event, Flushed):
                continue
            if event in durable or choice is None or choice.random() < likelihood:
                _apply(image, event)
            elif event.data is not None and choice.random() < 0.3:
                _apply_torn(image, event.offset, event.data, choice)
        return bytes(image)

    async def _change(self, change: Change) -> None:
        self.events.append(change)
        _apply(self.data, change)
        await self._take_turn()
        self._ended[change] = None

    async def _take_turn(self) -> None:
        """End in an order that the seed decides, and not before the loop has come round."""
        if self.options.seed is None:
            return
        turn = self.context.loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            self.context.schedule_oneshot(self._end_one)
        await turn

    def _end_one(self) -> None:
        turn = self._waiting.pop(self._random.randrange(len(self._waiting)))
        if self._waiting:
            self.context.schedule_oneshot(self._end_one)
        if not turn.done():
            turn.set_result(None)


def _apply(image: bytearray, change: Change) -> None:
    if change.data is None:
        del image[change.offset :]
        image.extend(bytes(change.offset - len(image)))
        return
    image.extend(bytes(max(change.offset + len(change.data) - len(image), 0)))
    image[change.offset : change.offset + len(change.data)] = change.data


def _apply_torn(image: bytearray, offset: int, data: bytes, choice: random.Random) -> None:
    """Some of its sectors."""
    position = 0
    while position < len(data):
        until = min(len(data), (offset + position) // SECTOR * SECTOR + SECTOR - offset)
        if choice.random() < 0.5:
            _apply(image, Change(offset + position, data[position:until]))
        position = until
