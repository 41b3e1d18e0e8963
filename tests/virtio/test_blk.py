# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-blk: 5.2. A request's status follows its data in the answer."""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.testing import DeviceBench, DriverQueue, VirtioDriver, until
from asyncemu.testing.bench import RecordingPlatform
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions
from asyncemu.virtio import blk
from asyncemu.virtio.blk import BlkConfig, BlkOptions, VirtioBlk
from asyncemu.virtio.defs import F_VERSION_1, Status

SECTORS = 64
OK, IO_ERROR, UNSUPPORTED = b"\0", b"\1", b"\2"


class Disk:
    """A virtio-blk over a MemoryDisk, with a driver that is up."""

    def __init__(self, node: BlockNode, device: VirtioBlk, driver: VirtioDriver) -> None:
        self.node = node
        self.memory_disk: MemoryDisk = node.driver  # type: ignore[assignment]
        self.device = device
        self.driver = driver

    @property
    def platform(self) -> RecordingPlatform:
        platform = self.device.environment.platform
        assert isinstance(platform, RecordingPlatform)
        return platform

    @property
    def queue(self) -> DriverQueue:
        return self.driver.queues[0]

    async def request(self, kind: int, sector: int = 0, data: bytes = b"", room: int = 0, queue: int = 0) -> bytes:
        """The answer: data read, then the status byte."""
        readable = [struct.pack("<IIQ", kind, 0, sector), *([data] if data else [])]
        buffer = await self.driver.queues[queue].request(readable, [*([room] if room else []), 1])
        return buffer.answer

    async def malformed(self, readable: list[bytes], writable: list[int]) -> None:
        self.queue.add(readable, writable)
        await self.queue.kick()
        await self.driver.wait_needs_reset()

    @property
    def methods(self) -> list[str]:
        """What the block driver was asked."""
        return [method for method, _, _ in self.memory_disk.requests]


class Factory:
    def __init__(self, bench: DeviceBench, graph: BlockGraph) -> None:
        self.bench = bench
        self.graph = graph

    async def __call__(
        self, features: int | None = None, *, read_only: bool = False, size: int = SECTORS * 512, **options: Any
    ) -> Disk:
        contents = MemoryDiskOptions(size=size, read_only=read_only, discard="unmap")
        node = await self.graph.add(MemoryDisk, contents, "disk0")
        device, driver = await self.bench.add_virtio(VirtioBlk, BlkOptions(drive="disk0", **options), drive=node)
        await driver.start(features)
        return Disk(node, device, driver)


@pytest.fixture
async def make_disk(bench: DeviceBench) -> AsyncIterator[Factory]:
    graph = BlockGraph(bench.context)
    yield Factory(bench, graph)
    # In-flight requests end before their disk does.
    for device in bench.devices:
        await device.unrealize()
    await graph.close()


@pytest.fixture
async def disk(make_disk: Factory) -> Disk:
    return await make_disk()


# ---- read, write, flush


async def test_read_gives_the_disk_s_bytes(disk: Disk) -> None:
    disk.memory_disk.data[512:1536] = b"a" * 512 + b"b" * 512

    assert await disk.request(blk.IN, 1, room=1024) == b"a" * 512 + b"b" * 512 + OK


async def test_read_scattered_over_several_buffers(disk: Disk) -> None:
    disk.memory_disk.data[:512] = bytes(range(256)) * 2

    buffer = await disk.queue.request([struct.pack("<I", blk.IN), bytes(12)], [100, 400, 12, 1])

    assert buffer.answer == bytes(range(256)) * 2 + OK


async def test_write_reaches_the_disk(disk: Disk) -> None:
    answer = await disk.request(blk.OUT, 2, b"x" * 512)

    assert (answer, bytes(disk.memory_disk.data[1024:1536])) == (OK, b"x" * 512)
    assert disk.methods == ["pwritev"]


async def test_write_header_and_data_in_one_buffer(disk: Disk) -> None:
    buffer = await disk.queue.request([struct.pack("<IIQ", blk.OUT, 0, 3) + b"y" * 512], [1])

    assert (buffer.answer, bytes(disk.memory_disk.data[1536:2048])) == (OK, b"y" * 512)


async def test_write_last_sector_taken(disk: Disk) -> None:
    assert await disk.request(blk.OUT, SECTORS - 1, b"z" * 512) == OK


async def test_flush_reaches_the_disk(disk: Disk) -> None:
    assert await disk.request(blk.OUT, 0, bytes(512)) == OK
    assert await disk.request(blk.FLUSH) == OK
    assert disk.methods == ["pwritev", "flush"]


async def test_write_flush_not_negotiated_flushed_before_it_is_acknowledged(make_disk: Factory) -> None:
    disk = await make_disk(F_VERSION_1)

    assert await disk.request(blk.OUT, 0, bytes(512)) == OK
    assert disk.methods == ["pwritev", "flush"]


@pytest.mark.parametrize("kind", [blk.IN, blk.OUT])
@pytest.mark.parametrize(
    ("sector", "length"),
    [(SECTORS, 512), (SECTORS - 1, 1024), ((1 << 64) - 1, 512), (1 << 55, 512), (0, 511), (0, 513), (0, 1)],
)
async def test_access_outside_or_of_part_of_a_sector_io_error(disk: Disk, kind: int, sector: int, length: int) -> None:
    data, room = (bytes(length), 0) if kind == blk.OUT else (b"", length)

    assert (await disk.request(kind, sector, data, room))[-1:] == IO_ERROR
    assert disk.methods == []


async def test_access_without_data_io_error(disk: Disk) -> None:
    assert await disk.request(blk.IN) == IO_ERROR


@pytest.mark.parametrize(("sector", "status"), [(8, OK), (1, IO_ERROR)])
async def test_access_logical_block_size_4096_wants_whole_blocks(
    make_disk: Factory, sector: int, status: bytes
) -> None:
    disk = await make_disk(logical_block_size=4096)

    assert await disk.request(blk.OUT, sector, bytes(4096)) == status


async def test_write_read_only_disk_io_error_and_feature(make_disk: Factory) -> None:
    disk = await make_disk(read_only=True)

    assert await disk.request(blk.OUT, 0, b"x" * 512) == IO_ERROR
    assert disk.memory_disk.data[:512] == bytes(512)
    assert disk.driver.features & (blk.F_RO | blk.F_DISCARD | blk.F_WRITE_ZEROES) == blk.F_RO


@pytest.mark.parametrize(
    ("method", "kind", "data", "room"),
    [("preadv", blk.IN, b"", 512), ("pwritev", blk.OUT, bytes(512), 0), ("flush", blk.FLUSH, b"", 0)],
)
async def test_host_error_is_io_error_and_disk_lives_on(
    disk: Disk, method: str, kind: int, data: bytes, room: int
) -> None:
    await disk.request(blk.OUT, 0, bytes(512))  # so that there is something to flush
    disk.memory_disk.errors[method] = errno.EIO
    failed = await disk.request(kind, 0, data, room)
    disk.memory_disk.errors.clear()

    assert (failed[-1:], (await disk.request(kind, 0, data, room))[-1:]) == (IO_ERROR, OK)


# ---- rerror and werror


async def test_werror_ignore_tells_success(make_disk: Factory) -> None:
    disk = await make_disk(werror="ignore")
    disk.memory_disk.errors["pwritev"] = errno.EIO

    assert await disk.request(blk.OUT, 0, b"x" * 512) == OK


async def test_rerror_ignore_leaves_writes_alone(make_disk: Factory) -> None:
    disk = await make_disk(rerror="ignore")
    disk.memory_disk.errors.update(preadv=errno.EIO, pwritev=errno.EIO)

    assert (await disk.request(blk.IN, 0, room=512))[-1:] == OK
    assert await disk.request(blk.OUT, 0, b"x" * 512) == IO_ERROR


@pytest.mark.parametrize("werror", ["stop", "enospc", "auto"])
async def test_werror_stop_request_is_made_again_when_the_machine_goes_on(make_disk: Factory, werror: str) -> None:
    disk = await make_disk(werror=werror)
    disk.memory_disk.errors["pwritev"] = errno.ENOSPC
    answer = asyncio.ensure_future(disk.request(blk.OUT, 3, b"x" * 512))
    await until(lambda: bool(disk.platform.io_error_stops))
    await disk.device.quiesce()  # as a machine that stops
    assert not answer.done()

    disk.memory_disk.errors.clear()
    await disk.device.resume()

    assert await answer == OK
    assert disk.memory_disk.data[1536:2048] == b"x" * 512
    assert disk.methods == ["pwritev", "pwritev"]


async def test_werror_stop_reset_forgets_the_request(make_disk: Factory) -> None:
    disk = await make_disk(werror="stop")
    disk.memory_disk.errors["pwritev"] = errno.EIO
    answer = asyncio.ensure_future(disk.request(blk.OUT, 0, b"x" * 512))
    await until(lambda: bool(disk.platform.io_error_stops))

    await disk.device.reset()
    await disk.device.quiesce()
    await disk.device.resume()

    assert disk.methods == ["pwritev"]
    answer.cancel()


async def test_resize_of_the_node_is_told_to_the_driver(disk: Disk) -> None:
    disk.device.drive.size = 1 << 20
    disk.device.drive.tell_parents_of_resize()

    assert struct.unpack("<Q", await disk.driver.read_config(0, 8))[0] == 2048


# ---- get-id and types that are not there


@pytest.mark.parametrize(
    ("serial", "room", "answer"),
    [("disk-1", 20, b"disk-1" + bytes(14)), ("x" * 20, 20, b"x" * 20), ("disk-1", 4, b"disk")],
)
async def test_get_id_is_the_serial(make_disk: Factory, serial: str, room: int, answer: bytes) -> None:
    disk = await make_disk(serial=serial)

    assert await disk.request(blk.GET_ID, room=room) == answer + OK


@pytest.mark.parametrize("kind", [2, 3, 7, 12, 14, 0xFFFFFFFF])
async def test_unknown_type_unsupported(disk: Disk, kind: int) -> None:
    assert await disk.request(kind, 0, bytes(16)) == UNSUPPORTED


# ---- discard and write-zeroes: 16 bytes a segment


def segment(sector: int, count: int, flags: int = 0) -> bytes:
    return struct.pack("<QII", sector, count, flags)


async def test_discard_reaches_the_disk(disk: Disk) -> None:
    answer = await disk.request(blk.DISCARD, data=segment(1, 2) + segment(8, 4))

    assert answer == OK
    assert disk.memory_disk.requests == [("discard", 512, 1024), ("discard", 4096, 2048)]


@pytest.mark.parametrize("flags", [0, blk.UNMAP])
async def test_write_zeroes_reaches_the_disk(disk: Disk, flags: int) -> None:
    disk.memory_disk.data[:2048] = b"x" * 2048

    assert await disk.request(blk.WRITE_ZEROES, data=segment(1, 2, flags)) == OK
    assert disk.memory_disk.data[:2048] == b"x" * 512 + bytes(1024) + b"x" * 512


async def test_write_zeroes_flush_not_negotiated_flushed(make_disk: Factory) -> None:
    disk = await make_disk(F_VERSION_1 | blk.F_WRITE_ZEROES)

    assert await disk.request(blk.WRITE_ZEROES, data=segment(0, 1)) == OK
    assert disk.methods[-1] == "flush"


@pytest.mark.parametrize("kind", [blk.DISCARD, blk.WRITE_ZEROES])
@pytest.mark.parametrize(
    "data",
    [
        segment(SECTORS, 1),
        segment(0, SECTORS + 1),
        segment((1 << 64) - 1, 1),
        segment(0, blk.MAX_SEGMENT_SECTORS + 1),
        segment(0, 1) + segment(SECTORS, 1),
        segment(0, 1)[:15],
        b"",
        segment(0, 1) * (blk.MAX_SEGMENTS + 1),
    ],
)
async def test_ranges_bad_segment_io_error_and_nothing_is_done(disk: Disk, kind: int, data: bytes) -> None:
    assert await disk.request(kind, data=data) == IO_ERROR
    assert disk.methods == []


@pytest.mark.parametrize(
    ("kind", "flags"), [(blk.DISCARD, blk.UNMAP), (blk.DISCARD, 2), (blk.WRITE_ZEROES, 2), (blk.WRITE_ZEROES, 1 << 31)]
)
async def test_ranges_unknown_flag_unsupported(disk: Disk, kind: int, flags: int) -> None:
    assert await disk.request(kind, data=segment(0, 1, flags)) == UNSUPPORTED


async def test_ranges_most_segments_taken(disk: Disk) -> None:
    assert await disk.request(blk.DISCARD, data=segment(0, 1) * blk.MAX_SEGMENTS) == OK


@pytest.mark.parametrize("kind", [blk.DISCARD, blk.WRITE_ZEROES])
async def test_ranges_not_negotiated_unsupported(make_disk: Factory, kind: int) -> None:
    disk = await make_disk(F_VERSION_1)

    assert await disk.request(kind, data=segment(0, 1)) == UNSUPPORTED


@pytest.mark.parametrize(("option", "feature"), [("discard", blk.F_DISCARD), ("write_zeroes", blk.F_WRITE_ZEROES)])
async def test_option_off_takes_feature_away(make_disk: Factory, option: str, feature: int) -> None:
    disk = await make_disk(**{option: False})

    assert not disk.driver.features & feature


# ---- malformed requests


@pytest.mark.parametrize(
    ("readable", "writable"), [([bytes(15)], [1]), ([bytes(16)], []), ([], [1]), ([bytes(8), bytes(7)], [512, 1])]
)
async def test_request_without_header_or_status_needs_reset(
    disk: Disk, readable: list[bytes], writable: list[int]
) -> None:
    await disk.malformed(readable, writable)


async def test_malformed_request_disk_usable_after_reset(disk: Disk) -> None:
    await disk.malformed([bytes(15)], [1])

    await disk.driver.start()

    assert (await disk.request(blk.IN, room=512))[-1:] == OK
    assert not await disk.driver.status() & Status.NEEDS_RESET


# ---- several at a time


async def test_requests_wait_side_by_side_on_all_queues(make_disk: Factory) -> None:
    disk = await make_disk(num_queues=4)
    disk.memory_disk.gate.clear()
    requests = [asyncio.ensure_future(disk.request(blk.IN, n, room=512, queue=n)) for n in range(4)]

    await until(lambda: disk.node.in_flight == 4)
    disk.memory_disk.gate.set()

    assert [answer[-1:] for answer in await asyncio.gather(*requests)] == [OK] * 4


async def test_config_shows_geometry(make_disk: Factory) -> None:
    disk = await make_disk(num_queues=4, queue_size=128, logical_block_size=4096)

    raw = bytearray(await disk.driver.read_config(0, 60))
    config = BlkConfig.from_buffer(raw)

    assert (config.capacity, config.blk_size, config.num_queues, config.seg_max) == (SECTORS, 4096, 4, 126)
    assert (config.max_discard_seg, config.max_write_zeroes_sectors) == (blk.MAX_SEGMENTS, blk.MAX_SEGMENT_SECTORS)
    assert disk.driver.features & blk.F_MQ


async def test_reset_with_read_in_flight_ends_when_the_disk_has_answered(disk: Disk) -> None:
    disk.memory_disk.gate.clear()
    disk.queue.add([struct.pack("<IIQ", blk.IN, 0, 0)], [512, 1])
    await disk.queue.kick()
    await until(lambda: disk.node.in_flight == 1)
    reset = asyncio.ensure_future(disk.driver.reset())
    await until(lambda: disk.device.queues[0].queue is None)
    waiting = not reset.done()

    disk.memory_disk.gate.set()
    await reset

    assert (waiting, disk.node.in_flight) == (True, 0)


async def test_read_that_does_not_block_makes_no_task_and_no_future(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffers = [disk.queue.add([struct.pack("<IIQ", blk.IN, 0, 0)], [512, 1], indirect=True) for _ in range(32)]
    disk.queue.publish()
    made: list[str] = []

    class Watched:
        """The loop, but for noting what is made."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self.loop = loop

        def create_task(self, *arguments: Any, **keywords: Any) -> Any:
            made.append("task")
            return self.loop.create_task(*arguments, **keywords)

        def create_future(self) -> Any:
            made.append("future")
            return self.loop.create_future()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.loop, name)

    monkeypatch.setattr(disk.device.context, "loop", Watched(disk.device.context.loop))
    disk.device.queues[0].notify()
    await until(lambda: disk.queue.used_index == 32)
    disk.queue.collect()

    assert made == []
    assert {buffer.written for buffer in buffers} == {513}


# ---- options


@pytest.mark.parametrize(
    ("option", "value"),
    [("queue_size", 3), ("queue_size", 2048), ("logical_block_size", 1000), ("num_queues", 0), ("serial", "x" * 21)],
)
def test_options_out_of_range_refused(option: str, value: object) -> None:
    with pytest.raises(ValidationError):
        BlkOptions.model_validate({"drive": "disk0", option: value})
