# SPDX-License-Identifier: GPL-2.0-or-later
"""filter-dump: writes what passes into a file that tcpdump and Wireshark read. QEMU: net/dump.c.

    pass_on ──▶ records in memory, MAX_BYTES at most ──▶ a worker thread writes them ──▶ file

When the disk is slower than the network, the network waits: no frame is missing from the file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Final

from pydantic import Field

from asyncemu.errors import NetError
from asyncemu.host_path import HostPath
from asyncemu.loop import AioContext, Clock
from asyncemu.net.filter import FilterOptions, NetFilter, Way
from asyncemu.net.frame import Frames
from asyncemu.net.packets.pcap import DEFAULT_SNAP_LENGTH, PcapFormat

logger: Final = logging.getLogger("asyncemu.net")

#: Bytes of records that wait for the disk at most.
MAX_BYTES: Final = 8 << 20


class DumpOptions(FilterOptions):
    """Options of filter-dump."""

    file: HostPath = Field(description="The file; it is begun anew.")
    maxlen: int = Field(
        default=DEFAULT_SNAP_LENGTH, ge=1, le=(1 << 31) - 1, description="Bytes of a frame that are kept."
    )


class Dump(NetFilter[DumpOptions], name="filter-dump"):
    """Times are the guest's: they begin at the host's time of day, and stand still with the machine."""

    description = "Writes what passes into a pcap file."

    def __init__(self, options: DumpOptions, id: str, context: AioContext, clock: Clock) -> None:
        super().__init__(options, id, context, clock)
        self._format = PcapFormat(options.maxlen)
        self._fd = -1
        self._clock_offset = 0
        self._records: list[bytes] = []
        self._nbytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._refused = False

    async def open(self) -> None:
        file = self.options.file
        try:
            # O_NONBLOCK: a FIFO that nobody reads is an error and not a hang.
            self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
            os.set_blocking(self._fd, True)
        except OSError as error:
            raise NetError(self.id, error.errno or 0, f"open {file}") from error
        self._clock_offset = time.time_ns() - self.clock.now()
        self._records = [self._format.header()]
        self._begin_to_write()

    async def close(self) -> None:
        while self._writing is not None or any(self._records):
            if self._writing is None:
                self._begin_to_write()
            else:
                await asyncio.wait([self._writing])
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def pass_on(self, frames: Frames, way: Way) -> int:
        if self._fd < 0:
            return way.forward(frames)
        when = self.clock.now() + self._clock_offset
        records: list[bytes] = []
        for frame in frames:
            if self._nbytes >= MAX_BYTES:
                self._refused = True
                break
            records.append(self._format.record(when, frame))
            self._nbytes += len(records[-1])
        if not records:
            return 0
        # In front of what the receiver does about them; those that it does not take come again.
        start = len(self._records)
        self._records += records
        taken = way.forward(frames[: len(records)])
        for index in range(taken, len(records)):
            self._nbytes -= len(records[index])
            self._records[start + index] = b""
        if self._writing is None:
            self._begin_to_write()
        return taken

    # ---- inside

    def _begin_to_write(self) -> None:
        self._writing = self.context.loop.create_task(self._write())

    async def _write(self) -> None:
        try:
            while any(self._records) and self._fd >= 0:
                data = b"".join(self._records)
                self._records.clear()
                await self.context.worker_pool.run(_write_all, self._fd, data)
                self._nbytes = sum(map(len, self._records))
                self._let_in()
        except OSError as error:
            failure = NetError(self.id, error.errno or 0, f"write {self.options.file}; it ends here")
            logger.error("%s", failure)
            os.close(self._fd)
            self._fd = -1
            self._records.clear()
            self._nbytes = 0
            self._let_in()
        finally:
            self._writing = None

    def _let_in(self) -> None:
        if self._refused:
            self._refused = False
            for way in list(self.ways):
                way.ready()


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
