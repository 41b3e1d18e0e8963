# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio devices in IOThreads: living there, moving there under I/O, queues shared by several."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from asyncemu.block import BlockGraph, BlockNode, move_nodes
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext, IOThread
from asyncemu.testing import DeviceBench, GuestBuffer, VirtioDriver, until
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions
from asyncemu.virtio import Chain, VirtioDevice, virtqueue
from asyncemu.virtio.blk import IN, OUT, BlkOptions, VirtioBlk
from asyncemu.virtio.defs import Status
from asyncemu.virtio.mmio import VirtioMmio
from asyncemu.virtio.options import VirtioOptions
from asyncemu.virtio.vq_mapping import VqMapping, iothread_of_each_queue

SECTORS = 1024


class WhoAmI(VirtioDevice[VirtioOptions], device_id=63):
    """Answers with the thread that serves it."""

    @virtqueue(size=8)
    async def requestq(self, request: Chain) -> None:
        request.written = request.writable.write(struct.pack("<Q", threading.get_ident()))


class Disk:
    """A virtio-blk over a MemoryDisk that holds what is asked of it, and a driver that is up."""

    def __init__(self, bench: DeviceBench, node: BlockNode, device: VirtioBlk, driver: VirtioDriver) -> None:
        self.node = node
        self.memory_disk: MemoryDisk = node.driver  # type: ignore[assignment]
        self.device = device
        self.driver = driver
        self.slot: VirtioMmio = bench.slots[-1]

    def add(self, kind: int, sector: int, data: bytes = b"", queue: int = 0) -> GuestBuffer:
        readable = [struct.pack("<IIQ", kind, 0, sector), *([data] if data else [])]
        return self.driver.queues[queue].add(readable, [*([512] if kind == IN else []), 1])

    async def read(self, sector: int, queue: int = 0) -> bytes:
        buffer = self.add(IN, sector, queue=queue)
        await self.driver.queues[queue].kick()
        await self.driver.queues[queue].done(buffer)
        return buffer.answer

    async def hold(self) -> None:
        """Requests wait in the driver from now on."""
        await self.node.context.call(self._clear)

    async def _clear(self) -> None:
        self.memory_disk.gate.clear()

    async def let_go(self) -> None:
        await self.node.context.call(self._set)

    async def _set(self) -> None:
        self.memory_disk.gate.set()


class Factory:
    def __init__(self, bench: DeviceBench, graph: BlockGraph) -> None:
        self.bench = bench
        self.graph = graph

    async def __call__(self, **options: Any) -> Disk:
        node = await self.graph.add(MemoryDisk, MemoryDiskOptions(size=SECTORS * 512), "disk0")
        return await self.over(node, **options)

    async def over(self, node: BlockNode, **options: Any) -> Disk:
        checked = BlkOptions(drive=node.name, **options)
        iothread = checked.home_iothread()
        home = self.bench.objects["iothread", iothread].aio_context if iothread else self.bench.context
        if home is not node.context:
            await move_nodes(node, home)
        device, driver = await self.bench.add_virtio(VirtioBlk, checked, home, drive=node)
        await driver.start()
        return Disk(self.bench, node, device, driver)


@pytest.fixture
async def graph(context: AioContext, iothreads: list[IOThread]) -> AsyncIterator[BlockGraph]:
    graph = BlockGraph(context)
    yield graph
    await graph.close()


@pytest.fixture
async def bench(context: AioContext, graph: BlockGraph, iothreads: list[IOThread]) -> AsyncIterator[DeviceBench]:
    """Closed before what its devices use."""
    async with DeviceBench(context) as bench:
        for iothread in iothreads:
            bench.objects["iothread", iothread.id] = iothread
        yield bench


@pytest.fixture
def make(bench: DeviceBench, graph: BlockGraph) -> Factory:
    return Factory(bench, graph)


# ---- living there


async def test_device_in_an_iothread_is_served_there(bench: DeviceBench, iothreads: list[IOThread]) -> None:
    home = iothreads[0].aio_context
    _, driver = await bench.add_virtio(WhoAmI, VirtioOptions(), home)
    await driver.start()

    buffer = await driver.queues[0].request([b"?"], [8])

    assert struct.unpack("<Q", buffer.answer) == (home.thread_ident,)


async def test_disk_in_an_iothread_reads_and_writes(make: Factory) -> None:
    disk = await make(iothread="io0")
    buffer = disk.add(OUT, 3, b"x" * 512)
    await disk.driver.queues[0].kick()
    await disk.driver.queues[0].done(buffer)

    assert await disk.read(3) == b"x" * 512 + b"\0"
    assert disk.node.context.name == "io0"


async def test_reset_in_an_iothread_waits_for_what_is_in_flight(make: Factory) -> None:
    disk = await make(iothread="io0")
    await disk.hold()
    disk.add(IN, 0)
    await disk.driver.queues[0].kick()
    await until(lambda: len(disk.memory_disk.requests) == 1)

    resetting = asyncio.ensure_future(disk.driver.reset())
    await disk.let_go()
    await resetting

    assert disk.node.in_flight == 0


# ---- moving


async def test_move_under_io_loses_and_reorders_nothing(make: Factory, iothreads: list[IOThread]) -> None:
    disk = await make()
    homes = [iothreads[0].aio_context, iothreads[1].aio_context, make.bench.context]
    queue = disk.driver.queues[0]
    moves = 0
    done = False

    async def keep_moving() -> None:
        nonlocal moves
        while not done:
            await disk.slot.move(homes[moves % len(homes)])
            moves += 1

    moving = asyncio.ensure_future(keep_moving())
    # Five rounds at least of each home, however quick the disk is.
    sent: list[int] = []
    while moves < 5 * len(homes):
        buffers = []
        for _ in range(16):
            sector = len(sent) % SECTORS
            buffers.append(disk.add(OUT, sector, struct.pack("<Q", len(sent)) * 64))
            sent.append(sector)
            await queue.kick()
        await queue.done(*buffers)
        assert {buffer.answer for buffer in buffers} == {b"\0"}
    done = True
    await moving

    asked = [offset // 512 for method, offset, _ in disk.memory_disk.requests if method == "pwritev"]
    assert asked == sent


async def test_move_waits_for_what_is_in_flight_and_begins_nothing(make: Factory, iothreads: list[IOThread]) -> None:
    disk = await make()
    await disk.hold()
    first = disk.add(IN, 0)
    await disk.driver.queues[0].kick()
    await until(lambda: len(disk.memory_disk.requests) == 1)

    moving = asyncio.ensure_future(disk.slot.move(iothreads[0].aio_context))
    await until(lambda: disk.device.queues[0]._quiesced > 0)
    second = disk.add(IN, 1)
    await disk.driver.queues[0].kick(always=True)
    for _ in range(20):
        await asyncio.sleep(0)
    before = (moving.done(), len(disk.memory_disk.requests))
    await disk.let_go()
    await moving
    await disk.driver.queues[0].done(first, second)

    assert before == (False, 1)
    assert (disk.device.context, disk.node.context) == (iothreads[0].aio_context,) * 2


async def test_move_while_the_driver_resets_and_starts(make: Factory, iothreads: list[IOThread]) -> None:
    disk = await make()
    for number in range(20):
        moving = asyncio.ensure_future(disk.slot.move(iothreads[number % 2].aio_context))
        await disk.driver.start()
        assert await disk.read(number) == bytes(512) + b"\0"
        await moving

    assert disk.device.context is iothreads[1].aio_context


async def test_move_refused_when_the_disk_has_another_user(make: Factory, iothreads: list[IOThread]) -> None:
    disk = await make(share_rw=True)
    other = await make.over(disk.node, share_rw=True)

    with pytest.raises(
        BlockError, match="disk0: is used by block device 'virtio-blk1' in test, not moved: Device or resource busy"
    ):
        await disk.slot.move(iothreads[0].aio_context)

    assert await disk.read(1) == await other.read(1)
    assert disk.device.context is make.bench.context


async def test_move_to_where_it_is_does_nothing(make: Factory) -> None:
    disk = await make(iothread="io0")

    await disk.slot.move(disk.device.context)

    assert await disk.read(0) == bytes(512) + b"\0"


# ---- iothread-vq-mapping


MAPPING = [{"iothread": "io0"}, {"iothread": "io1"}]


async def test_mapping_queues_are_served_by_their_iothreads(make: Factory, iothreads: list[IOThread]) -> None:
    disk = await make(num_queues=4, iothread_vq_mapping=MAPPING)

    assert [queue.context.name for queue in disk.device.queues] == ["io0", "io1", "io0", "io1"]
    assert (disk.device.context.name, disk.node.context.name) == ("io0", "io0")
    assert [await disk.read(number, queue=number) for number in range(4)] == [bytes(512) + b"\0"] * 4


async def test_mapping_all_queues_at_once_each_in_order(make: Factory) -> None:
    disk = await make(num_queues=4, iothread_vq_mapping=MAPPING)
    buffers: dict[int, list[GuestBuffer]] = {queue: [] for queue in range(4)}
    for number in range(200):
        queue = number % 4
        buffers[queue].append(disk.add(OUT, number, bytes([number]) * 512, queue))
        await disk.driver.queues[queue].kick()
    for queue, each in buffers.items():
        await disk.driver.queues[queue].done(*each)

    asked = [offset // 512 for _, offset, _ in disk.memory_disk.requests]
    assert sorted(asked) == list(range(200))
    for queue in range(4):
        assert [sector for sector in asked if sector % 4 == queue] == list(range(queue, 200, 4))


async def test_mapping_reset_ends_all_queues(make: Factory) -> None:
    disk = await make(num_queues=2, iothread_vq_mapping=MAPPING)
    await disk.hold()
    for queue in range(2):
        disk.add(IN, queue, queue=queue)
        await disk.driver.queues[queue].kick()
    await until(lambda: len(disk.memory_disk.requests) == 2)

    resetting = asyncio.ensure_future(disk.driver.reset())
    await disk.let_go()
    await resetting
    await disk.driver.start()

    assert await disk.read(7, queue=1) == bytes(512) + b"\0"


async def test_mapping_malformed_request_on_any_queue_breaks_the_device(make: Factory) -> None:
    disk = await make(num_queues=2, iothread_vq_mapping=MAPPING)
    disk.driver.queues[1].add([b"short"], [1])
    await disk.driver.queues[1].kick()
    await disk.driver.wait_needs_reset()

    assert await disk.driver.status() & Status.NEEDS_RESET


@pytest.mark.parametrize(
    ("mapping", "queues", "message"),
    [
        ([("io0", None), ("io0", None)], 2, "names 'io0' twice; write its queues in one entry"),
        ([("io0", [0]), ("io1", None)], 2, "gives vqs for some iothreads and none for 'io1'; give them for all"),
        ([("io0", [0, 2])], 2, "names queue 2; num-queues is 2, so the last one is 1"),
        ([("io0", [0, 1]), ("io1", [1])], 2, "gives queue 1 to 'io0' and to 'io1'"),
        ([("io0", [0]), ("io1", [2])], 3, "gives queue 1 to no iothread"),
    ],
)
def test_mapping_that_can_not_be_is_refused(
    mapping: list[tuple[str, list[int] | None]], queues: int, message: str
) -> None:
    entries = [VqMapping(iothread=iothread, vqs=vqs) for iothread, vqs in mapping]

    with pytest.raises(ValueError, match=message):
        iothread_of_each_queue(entries, queues)


def test_mapping_by_number_is_taken() -> None:
    entries = [VqMapping(iothread="io0", vqs=[1]), VqMapping(iothread="io1", vqs=[0, 2])]

    assert iothread_of_each_queue(entries, 3) == ["io1", "io0", "io1"]


def test_mapping_beside_iothread_is_refused() -> None:
    with pytest.raises(ValidationError, match="can't go with iothread"):
        BlkOptions(drive="d", iothread="io0", iothread_vq_mapping=MAPPING)  # type: ignore[arg-type]
