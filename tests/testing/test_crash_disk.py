# SPDX-License-Identifier: GPL-2.0-or-later
"""CrashDisk: what survives a crash, and what may."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.coroutines import start
from asyncemu.loop import AioContext
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.crash_disk import CrashDisk, CrashDiskOptions
from tests.block.drivers import use


@pytest.fixture
async def graph(context: AioContext) -> AsyncIterator[BlockGraph]:
    graph = BlockGraph(context)
    yield graph
    await graph.close()


async def crash_disk(graph: BlockGraph, **options: Any) -> tuple[BlockNode, CrashDisk]:
    node = await graph.add(CrashDisk, CrashDiskOptions(**options), "disk")
    assert isinstance(node.driver, CrashDisk)
    return node, node.driver


def crashes(disk: CrashDisk, position: int) -> set[bytes]:
    return {disk.after_crash(position, random.Random(seed)) for seed in range(200)}


async def test_after_crash_flushed_write_is_there_in_every_case(graph: BlockGraph) -> None:
    node, disk = await crash_disk(graph, size=1024)
    await node.pwritev(0, Buffers.of(b"f" * 512))
    await node.flush()

    assert crashes(disk, len(disk.events)) == {b"f" * 512 + bytes(512)}


async def test_after_crash_unflushed_write_is_there_or_not_or_torn_by_sectors(graph: BlockGraph) -> None:
    node, disk = await crash_disk(graph, size=1024)
    await node.pwritev(0, Buffers.of(b"w" * 1024))

    sectors = {image[:512] + image[512:] for image in crashes(disk, 1)}

    old, new = bytes(512), b"w" * 512
    assert sectors == {old + old, new + new, old + new, new + old}


async def test_after_crash_discard_may_have_come_before_an_earlier_write(graph: BlockGraph) -> None:
    node, disk = await crash_disk(graph, size=1024, discard="unmap")
    await node.pwritev(0, Buffers.of(b"f" * 1024))
    await node.flush()
    await node.pwritev(512, Buffers.of(b"w" * 512))
    await node.discard(0, 512)

    first, second = {bytes(512), b"f" * 512}, {b"f" * 512, b"w" * 512}
    assert crashes(disk, len(disk.events)) == {a + b for a in first for b in second}


async def test_after_crash_later_write_does_not_give_way_to_the_earlier(graph: BlockGraph) -> None:
    node, disk = await crash_disk(graph, size=512)
    await node.pwritev(0, Buffers.of(b"1" * 512))
    await node.flush()
    await node.pwritev(0, Buffers.of(b"2" * 512))
    await node.flush()

    assert crashes(disk, len(disk.events)) == {b"2" * 512}


async def test_flush_does_not_cover_a_write_that_had_not_ended(graph: BlockGraph) -> None:
    node, disk = await crash_disk(graph, size=512, seed=1)
    await node.pwritev(0, Buffers.of(b"a" * 512))
    flush = start(node.context, disk.flush())
    write = start(node.context, node.pwritev(0, Buffers.of(b"b" * 512)))
    await flush
    await write

    assert crashes(disk, len(disk.events)) == {b"a" * 512, b"b" * 512}


async def test_after_crash_position_counts_events(graph: BlockGraph) -> None:
    node, disk = await crash_disk(graph)
    await use(node)  # who writes past the end needs a user who may
    for index in range(3):
        await node.pwritev(index * 512, Buffers.of(bytes([65 + index]) * 512))

    assert [len(disk.after_crash(position)) for position in range(4)] == [0, 512, 1024, 1536]


async def test_after_crash_truncation_is_a_change_as_any(graph: BlockGraph) -> None:
    node, disk = await crash_disk(graph, size=1024)
    await node.truncate(512)

    assert {len(image) for image in crashes(disk, 1)} == {512, 1024}


async def test_seed_decides_the_order_in_which_requests_end(graph: BlockGraph) -> None:
    async def order(seed: int) -> list[int]:
        node = await graph.add(CrashDisk, CrashDiskOptions(size=8192, seed=seed), f"disk{seed}")
        ended: list[int] = []

        async def write(number: int) -> None:
            await node.pwritev(number * 512, Buffers.of(bytes(512)))
            ended.append(number)

        for each in [start(node.context, write(number)) for number in range(8)]:
            await each
        await graph.remove(node)
        return ended

    assert await order(1) == await order(1)
    assert await order(1) != await order(2)
