# SPDX-License-Identifier: GPL-2.0-or-later
"""GuestDump: a machine's memory into a core file, while the guest stands still.

    NONE, COMPLETED, FAILED --begin--> ACTIVE --> COMPLETED or FAILED, with DUMP_COMPLETED

The machine is paused when the dump begins and goes on afterwards, if it ran. Memory goes from where it is to the file
in chunks, by a worker thread: nothing is copied, and the loop is free between and during them.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import logging
import os
from typing import TYPE_CHECKING, Final, Literal

from asyncemu.errors import AsyncemuError
from asyncemu.events import Event
from asyncemu.loop import home
from asyncemu.machine.dump.elf_core import prologue
from asyncemu.machine.run_state import RunState
from asyncemu.memory import RamRegion
from asyncemu.wire_model import WireModel

if TYPE_CHECKING:
    from asyncemu.machine.machine import Machine

log = logging.getLogger("asyncemu.machine")

#: Bytes written by one call of a worker: 10 ms of a slow disk. That often a dump can be ended.
CHUNK: Final = 1 << 20


class DumpError(AsyncemuError):
    """A dump can't be made; ``str`` is QEMU's description, one line."""


class DumpStatus(enum.Enum):
    """QEMU: DumpStatus."""

    NONE = "none"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"


class DumpQueryResult(WireModel):
    """QEMU: DumpQueryResult. Sizes are bytes of memory."""

    status: Literal["none", "active", "completed", "failed"]
    completed: int
    total: int


class DumpCompleted(Event, name="DUMP_COMPLETED"):
    """A dump has ended, well or not."""

    result: DumpQueryResult
    error: str | None = None


class _Writer:
    """Writes a core file: in a worker, all of it in one call, so that nobody closes the file while it is written."""

    def __init__(self, descriptor: int, pieces: list[memoryview]) -> None:
        self._descriptor = descriptor
        self._pieces = pieces
        #: Bytes, also of what is no memory. Read by the loop's thread.
        self.written = 0
        #: Set by the loop's thread: give up.
        self.cancelled = False

    def run(self) -> None:
        """Write and close. OSError."""
        try:
            for piece in self._pieces:
                for offset in range(0, len(piece), CHUNK):
                    self._write(piece[offset : offset + CHUNK])
        finally:
            os.close(self._descriptor)

    def _write(self, data: memoryview) -> None:
        while data:
            if self.cancelled:
                raise InterruptedError(errno.EINTR, "the machine ends")
            written = os.write(self._descriptor, data)
            self.written += written
            data = data[written:]


class GuestDump:
    """The dump that a machine is making, or has made last. Home: the machine's."""

    def __init__(self, machine: Machine) -> None:
        self.context = machine.context
        self._machine = machine
        self._status = DumpStatus.NONE
        self._total = 0
        self._prologue = 0
        self._writer: _Writer | None = None
        self._failure = ""
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def active(self) -> bool:
        """Is one being made?"""
        return self._status is DumpStatus.ACTIVE

    @home
    def query(self) -> DumpQueryResult:
        """How far it is."""
        written = self._writer.written if self._writer is not None else 0
        completed = max(written - self._prologue, 0)
        return DumpQueryResult(status=self._status.value, completed=completed, total=self._total)

    @home
    def ranges(self, begin: int | None, length: int) -> list[tuple[int, int]]:
        """(Physical address, bytes) of the guest's RAM, or of what of it lies in [begin, begin + length). DumpError."""
        regions = [(each.base, each.size) for each in self._machine.memory.regions if isinstance(each, RamRegion)]
        if begin is not None:
            cut = [(max(base, begin), min(base + size, begin + length)) for base, size in regions]
            regions = [(start, end - start) for start, end in cut if start < end]
        if not regions:
            raise DumpError("dump: no guest memory to dump")
        return regions

    @home
    def begin(self, descriptor: int, ranges: list[tuple[int, int]]) -> None:
        """Make a dump of ``ranges`` into the file ``descriptor``, which is closed at the end. It goes on by itself.

        There must be none that is active.
        """
        assert not self.active
        self._status, self._failure, self._writer = DumpStatus.ACTIVE, "", None
        self._total = sum(size for _, size in ranges)
        self._task = self.context.loop.create_task(self._run(descriptor, ranges))

    @home
    async def wait(self) -> None:
        """Until the dump has ended. DumpError: it has failed."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._failure:
            raise DumpError(self._failure)

    @home
    async def close(self) -> None:
        """End a dump before its time; the machine is not going on."""
        self._closing = True
        if self._writer is not None:
            self._writer.cancelled = True
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self, descriptor: int, ranges: list[tuple[int, int]]) -> None:
        machine = self._machine
        await machine.wait_settled()
        running = machine.state is RunState.RUNNING
        if running:
            await machine.pause()
        harts = [await vcpu.run_on_cpu(vcpu.cpu.registers) for vcpu in machine.vcpus]
        begin = prologue(ranges, harts)
        self._prologue = len(begin)
        views = [machine.memory.view(address, size) for address, size in ranges]
        self._writer = _Writer(descriptor, [memoryview(begin), *views])
        self._writer.cancelled = self._closing
        try:
            await self.context.worker_pool.run(self._writer.run)
        except OSError as error:
            self._failure = f"dump: failed to save memory: {error.strerror}"
            log.error("%s", self._failure)
        self._status = DumpStatus.FAILED if self._failure else DumpStatus.COMPLETED
        if running and not self._closing:
            machine.resume()
        machine.events.emit(DumpCompleted(result=self.query(), error=self._failure or None))
