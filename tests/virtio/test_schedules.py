# SPDX-License-Identifier: GPL-2.0-or-later
"""Our own devices under many orders of wake-ups: what they promise holds under each of them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncemu.block import BlockGraph
from asyncemu.options import Options
from asyncemu.testing import DeviceBench, Fault, VirtioDriver, seeded_schedules
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions
from asyncemu.virtio import blk
from asyncemu.virtio.blk import BlkOptions, VirtioBlk
from asyncemu.virtio.rng import VirtioRng

SECTOR = 512


@asynccontextmanager
async def disk() -> AsyncIterator[tuple[MemoryDisk, VirtioBlk, VirtioDriver]]:
    """A virtio-blk with a driver that is up, over a MemoryDisk."""
    async with DeviceBench() as bench:
        graph = BlockGraph(bench.context, None)
        node = await graph.add(MemoryDisk, MemoryDiskOptions(size=64 * SECTOR), "disk0")
        device, driver = await bench.add_virtio(VirtioBlk, BlkOptions(drive="disk0"), drive=node)
        await driver.start()
        assert isinstance(node.driver, MemoryDisk)
        yield node.driver, device, driver
        await driver.reset()
        await device.unrealize()
        await graph.close()


def header(kind: int, sector: int) -> bytes:
    return struct.pack("<IIQ", kind, 0, sector)


@seeded_schedules(40)
async def test_writes_at_once_are_all_there_and_answered_once() -> None:
    async with disk() as (memory, _, driver):
        queue = driver.queues[0]

        writes = [
            queue.add([header(blk.OUT, sector), bytes([sector]) * SECTOR], [1], indirect=True) for sector in range(16)
        ]
        await queue.kick()
        await queue.done(*writes)

        assert [buffer.answer for buffer in writes] == [b"\0"] * 16
        assert memory.data[: 16 * SECTOR] == b"".join(bytes([sector]) * SECTOR for sector in range(16))


@seeded_schedules(40)
async def test_flush_behind_a_write_that_is_answered_covers_it() -> None:
    async with disk() as (memory, _, driver):
        queue = driver.queues[0]
        await queue.request([header(blk.OUT, 3), b"x" * SECTOR], [1])

        await queue.request([header(blk.FLUSH, 0)], [1])

        assert [method for method, _, _ in memory.requests] == ["pwritev", "flush"]


@seeded_schedules(40)
async def test_reset_in_the_midst_of_requests_finishes_what_was_begun() -> None:
    async with disk() as (memory, device, driver):
        held = memory.inject(Fault("preadv", held=True, error=0, times=None))
        queue = driver.queues[0]
        for sector in range(4):
            queue.add([header(blk.IN, sector)], [SECTOR, 1], indirect=True)
        await queue.kick()
        await held.reached()

        reset = asyncio.ensure_future(driver.reset())
        held.release()
        await reset

        assert not device.queues[0].in_flight  # type: ignore[attr-defined]
        await driver.start()
        assert (await driver.queues[0].request([header(blk.IN, 0)], [SECTOR, 1])).answer[-1:] == b"\0"


@seeded_schedules(40)
async def test_queue_that_is_taken_back_is_let_go_of() -> None:
    async with DeviceBench() as bench:
        _, driver = await bench.add_virtio(VirtioRng, Options())
        await driver.start()
        await driver.queues[0].request([], [8])

        await driver.stop_queue(0)
        again = await driver.set_up_queue(0)

        assert len((await again.request([], [8])).answer) == 8
