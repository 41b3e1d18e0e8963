# SPDX-License-Identifier: GPL-2.0-or-later
"""chaos over a memory disk: from one seed always the same."""

from __future__ import annotations

import asyncio
import errno
import random
from collections import Counter
from typing import Any

import pytest

import asyncemu.testing.memory_disk  # noqa: F401  # makes the driver "memory" known
from asyncemu.block import BlockGraph, BlockNode, drained
from asyncemu.block.chaos import ChaosDriver
from asyncemu.block.chaos.sectors import SECTOR
from asyncemu.block.flags import FUA
from asyncemu.coroutines import Coroutine, start
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import Clock, ClockKind
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.memory_disk import MemoryDisk
from tests.block.drivers import use

SIZE = 1 << 16


class Bad:
    """A chaos node, and the good disk below."""

    def __init__(self, node: BlockNode) -> None:
        self.node = node
        assert isinstance(node.driver, ChaosDriver)
        self.chaos = node.driver
        disk = node.children[0].node.driver
        assert isinstance(disk, MemoryDisk)
        self.disk = disk

    async def write(self, number: int, value: int, count: int = 1, flags: int = 0) -> None:
        """``count`` sectors of ``value`` from sector ``number`` on."""
        await self.node.pwritev(number * SECTOR, Buffers.of(bytes([value]) * SECTOR * count), flags)

    def sectors(self, count: int) -> list[int]:
        """What is on the good disk: the first byte of each sector, all of which are of one value."""
        return [self.disk.data[number * SECTOR] for number in range(count)]

    async def end(self) -> None:
        """Let it be closed without more errors."""
        self.disk.errors.clear()
        self.chaos.power_on()


async def bad(graph: BlockGraph, name: str = "bad", /, **options: Any) -> Bad:
    table = {"driver": "chaos", "node-name": name, "file": {"driver": "memory", "size": SIZE, "discard": "unmap"}}
    table |= {"discard": "unmap", **{key.replace("_", "-"): value for key, value in options.items()}}
    node = await graph.add_table(table, "blockdev[0]")
    await use(node)
    return Bad(node)


async def outcome(request: Any) -> int:
    """0, or the errno."""
    try:
        await request
    except BlockError as error:
        return error.errno
    return 0


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


# ---- errors


@pytest.mark.parametrize(
    ("option", "method", "arguments"),
    [
        ("read_error", "preadv", (0, Buffers.of(bytearray(512)))),
        ("write_error", "pwritev", (0, Buffers.of(bytes(512)))),
        ("write_zeroes_error", "write_zeroes", (0, 512)),
        ("discard_error", "discard", (0, 512)),
    ],
)
async def test_requests_of_a_kind_fail_as_often_as_asked_for(
    graph: BlockGraph, option: str, method: str, arguments: tuple[Any, ...]
) -> None:
    here = await bad(graph, seed=5, errno=[errno.EIO, errno.ENOSPC], **{option: 0.3})
    outcomes = Counter([await outcome(getattr(here.node, method)(*arguments)) for _ in range(400)])
    assert set(outcomes) == {0, errno.EIO, errno.ENOSPC}
    assert 230 < outcomes[0] < 330
    others = [("preadv", (0, Buffers.of(bytearray(512)))), ("pwritev", (0, Buffers.of(bytes(512))))]
    for name, given in others:
        if name != method:
            assert {await outcome(getattr(here.node, name)(*given)) for _ in range(50)} == {0}


async def test_flush_fails_as_often_as_asked_for(graph: BlockGraph) -> None:
    here = await bad(graph, flush_error=0.5)
    outcomes = []
    for _ in range(50):
        await here.write(0, 1)
        outcomes.append(await outcome(here.node.flush()))
    assert 10 < outcomes.count(errno.EIO) < 40
    while await outcome(here.node.flush()):
        pass


async def test_same_seed_same_fate(graph: BlockGraph) -> None:
    async def fates(name: str, seed: int, probability: float) -> list[int]:
        here = await bad(graph, name, seed=seed, read_error=probability)
        return [await outcome(here.node.pread(0, 512)) for _ in range(100)]

    one, again, other = await fates("a", 1, 0.2), await fates("b", 1, 0.2), await fates("c", 2, 0.2)
    assert one == again != other
    more = await fates("d", 1, 0.5)
    assert all(not failed or failed_more for failed, failed_more in zip(one, more, strict=True))
    assert sum(map(bool, more)) > sum(map(bool, one))


async def test_torn_write_leaves_a_part_and_fails(graph: BlockGraph) -> None:
    here = await bad(graph, torn_write=1)
    seen: set[tuple[int, ...]] = set()
    for _ in range(40):
        here.disk.data[:] = bytes(SIZE)
        assert await outcome(here.write(0, 7, count=4)) == errno.EIO
        seen.add(tuple(here.sectors(5)))
    assert (7, 7, 7, 7, 0) not in seen
    assert len(seen) > 8
    assert {each for part in seen for each in part} == {0, 7}


async def test_errno_that_is_none_is_refused(graph: BlockGraph) -> None:
    with pytest.raises(ConfigError, match="must be numbers of errors"):
        await bad(graph, errno=[0])


# ---- order and time


async def test_reordered_requests_end_in_another_order_and_all_of_them(graph: BlockGraph) -> None:
    async def order(name: str, seed: int) -> list[int]:
        here = await bad(graph, name, seed=seed, reorder=True)
        ends: list[int] = []
        for number in range(8):
            start(graph.context, here.write(number, 1), lambda _, number=number: ends.append(number))  # type: ignore[misc]
        await settle()
        return ends

    one, again, other = await order("a", 1), await order("b", 1), await order("c", 2)
    assert one == again != other
    assert sorted(one) == sorted(other) == list(range(8))
    assert one != sorted(one)


async def test_stalled_request_waits_and_the_others_do_not(graph: BlockGraph) -> None:
    here = await bad(graph, stall=0.5, stall_ns=1000)
    time = FakeClock()
    here.chaos.clock = Clock(ClockKind.REALTIME, time)
    requests: list[Coroutine[None]] = [start(graph.context, here.write(0, 1)) for _ in range(20)]
    assert 2 < sum(request.done() for request in requests) < 18
    time.advance(999)
    await settle()
    assert not all(request.done() for request in requests)
    time.advance(1)
    await settle()
    assert all(request.done() for request in requests)


async def test_drained_section_waits_for_no_stall(graph: BlockGraph) -> None:
    here = await bad(graph, stall=1, stall_ns=60_000_000_000)
    request = start(graph.context, here.write(0, 1))
    assert not request.done()
    async with drained(here.node):
        assert request.done()


# ---- the volatile cache


async def test_cached_write_is_read_and_not_on_the_disk_until_flushed(graph: BlockGraph) -> None:
    here = await bad(graph, volatile_cache=True)
    await here.write(1, 5, count=2)
    assert here.sectors(4) == [0, 0, 0, 0]
    assert await here.node.pread(300, 1400) == bytes(212) + b"\5" * 1024 + bytes(164)
    await here.node.flush()
    assert here.sectors(4) == [0, 5, 5, 0]
    assert here.disk.requests[-1][0] == "flush"


async def test_cached_write_with_fua_is_on_the_disk(graph: BlockGraph) -> None:
    here = await bad(graph, volatile_cache=True)
    await here.write(0, 1)
    await here.write(1, 2, flags=FUA)
    assert here.sectors(2) == [0, 2]
    await here.chaos.power_cut()
    assert here.sectors(2)[1] == 2
    await here.end()


async def test_power_cut_keeps_what_was_flushed_and_parts_of_the_rest(graph: BlockGraph) -> None:
    seen: set[tuple[int, ...]] = set()
    for seed in range(60):
        here = await bad(graph, f"bad{seed}", seed=seed, volatile_cache=True)
        await here.write(0, 1, count=4)
        await here.node.flush()
        await here.write(1, 2, count=2)
        await here.write(2, 3, count=2)
        await here.chaos.power_cut()
        assert await outcome(here.node.pread(0, 512)) == errno.EIO
        await here.end()
        left = await here.node.pread(0, 4 * SECTOR)
        assert left == here.disk.data[: 4 * SECTOR]
        seen.add(tuple(here.sectors(4)))
    assert seen == {(1, a, b, c) for a in (1, 2) for b in (1, 2, 3) for c in (1, 3)}


async def test_power_cut_is_the_same_for_the_same_seed(graph: BlockGraph) -> None:
    async def left(name: str, seed: int) -> bytes:
        here = await bad(graph, name, seed=seed, volatile_cache=True, reorder=True)
        rng = random.Random(3)
        requests = [
            start(graph.context, here.write(rng.randrange(100), number + 1, rng.randrange(1, 9)))
            for number in range(60)
        ]
        for request in requests:
            await request
        await here.chaos.power_cut()
        await here.end()
        return bytes(here.disk.data)

    one, again, other = await left("a", 1), await left("b", 1), await left("c", 2)
    assert one == again != other


async def test_power_cut_fails_what_is_in_flight(graph: BlockGraph) -> None:
    here = await bad(graph, volatile_cache=True, stall=1, stall_ns=60_000_000_000)
    request = start(graph.context, here.write(0, 1))
    await here.chaos.power_cut()
    here.chaos.power_on()
    async with drained(here.node):
        assert await outcome(request) == errno.EIO
    assert here.sectors(1) == [0]


async def test_cache_writes_the_oldest_back_when_it_is_full(graph: BlockGraph) -> None:
    here = await bad(graph, volatile_cache=True, cache_size=8 * SECTOR)
    for number in range(20):
        await here.write(number, number + 1)
    on_disk = here.sectors(20)
    assert on_disk[:12] == list(range(1, 13))
    assert 0 in on_disk
    assert await here.node.pread(0, 20 * SECTOR) == b"".join(bytes([number + 1]) * SECTOR for number in range(20))


async def test_long_zero_write_goes_through_in_order(graph: BlockGraph) -> None:
    here = await bad(graph, volatile_cache=True, file={"driver": "memory", "size": 4 << 20})
    await here.write(0, 1, count=3)
    await here.node.write_zeroes(SECTOR, 2 << 20)
    assert await here.node.pread(0, 3 * SECTOR) == b"\1" * SECTOR + bytes(2 * SECTOR)
    await here.node.flush()
    assert here.sectors(3) == [1, 0, 0]


async def test_block_status_is_of_what_was_written(graph: BlockGraph) -> None:
    here = await bad(graph, volatile_cache=True)
    await here.write(0, 1)
    status = await here.node.block_status(0, SIZE)
    assert (status.length, here.sectors(1)) == (SIZE, [1])
