# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads that copy what they find below. QEMU: bdrv_co_do_copy_on_readv."""

from __future__ import annotations

import asyncio
import errno

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.drain import drained
from asyncemu.block.flags import COPY_ON_READ, PREFETCH
from asyncemu.block.graph_change import set_backing
from asyncemu.coroutines import start
from asyncemu.errors import BlockError
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.memory_disk import MemoryDisk
from asyncemu.testing.memory_overlay import MemoryOverlay
from tests.block.drivers import add, memory

BASE = bytes(range(256)) * 16


async def overlay(graph: BlockGraph, **options: object) -> tuple[BlockNode, MemoryOverlay, MemoryDisk]:
    """Over 4096 bytes that don't repeat within a cluster."""
    base = memory(await add(graph, "memory", "base", size=4096))
    base.data[:] = BASE
    node = await add(graph, "memory-overlay", "top", size=4096, backing="base", **options)
    assert isinstance(node.driver, MemoryOverlay)
    return node, node.driver, base


async def read(node: BlockNode, offset: int, length: int, flags: int = COPY_ON_READ) -> bytes:
    buffer = bytearray(b"?" * length)
    await node.preadv(offset, Buffers.of(buffer), flags)
    return bytes(buffer)


async def test_read_copies_the_whole_clusters(graph: BlockGraph) -> None:
    node, driver, _ = await overlay(graph)
    assert await read(node, 700, 400) == BASE[700:1100]
    assert driver.allocated == {1, 2}
    await set_backing(graph, node, None)
    assert await read(node, 512, 1024, 0) == BASE[512:1536]


async def test_read_again_reads_no_more_from_below(graph: BlockGraph) -> None:
    node, _, base = await overlay(graph)
    await read(node, 0, 512)
    base.requests.clear()
    assert await read(node, 0, 512) == BASE[:512]
    assert base.requests == []


async def test_read_of_what_is_there_writes_nothing(graph: BlockGraph) -> None:
    node, driver, _ = await overlay(graph)
    await node.pwritev(512, Buffers.of(b"w" * 512))
    driver.requests.clear()
    assert await read(node, 512, 512) == b"w" * 512
    assert [method for method, _, _ in driver.requests] == ["block_status", "preadv"]


async def test_read_over_both_kinds_is_put_together(graph: BlockGraph) -> None:
    node, driver, _ = await overlay(graph)
    await node.pwritev(1024, Buffers.of(b"w" * 512))
    expected = BASE[:1024] + b"w" * 512 + BASE[1536:]
    assert await read(node, 100, 3000) == expected[100:3100]
    assert driver.allocated == {0, 1, 2, 3, 4, 5, 6}


async def test_read_into_scattered_buffers(graph: BlockGraph) -> None:
    node, _, _ = await overlay(graph)
    parts = [bytearray(3), bytearray(600), bytearray(1)]
    await node.preadv(500, Buffers([memoryview(part) for part in parts]), COPY_ON_READ)
    assert b"".join(parts) == BASE[500:1104]


async def test_prefetch_copies_and_leaves_the_buffers_alone(graph: BlockGraph) -> None:
    node, driver, _ = await overlay(graph)
    assert await read(node, 0, 1024, COPY_ON_READ | PREFETCH) == b"?" * 1024
    assert driver.allocated == {0, 1}


async def test_zeroes_are_copied_as_zeroes(graph: BlockGraph) -> None:
    node, driver, base = await overlay(graph)
    base.data[512:1024] = bytes(512)
    await read(node, 512, 512)
    assert [method for method, _, _ in driver.requests if method != "block_status"] == ["preadv", "write_zeroes"]


async def test_end_of_an_odd_size_is_copied(graph: BlockGraph) -> None:
    base = memory(await add(graph, "memory", "base", size=1000))
    base.data[:] = BASE[:1000]
    node = await add(graph, "memory-overlay", "top", size=1000, backing="base")
    assert await read(node, 900, 200) == BASE[900:1000] + bytes(100)
    base.data[:] = bytes(1000)
    assert await read(node, 512, 488, 0) == BASE[512:1000]


async def test_odd_size_of_zeroes_with_alignment_is_copied(graph: BlockGraph) -> None:
    await add(graph, "memory", "base", size=1000)
    node = await add(graph, "memory-overlay", "top", size=1000, backing="base", request_alignment=512)
    assert await read(node, 0, 1000) == bytes(1000)
    assert isinstance(node.driver, MemoryOverlay)
    assert node.driver.allocated == {0, 1}


async def test_alignment_larger_than_a_cluster_counts(graph: BlockGraph) -> None:
    node, driver, _ = await overlay(graph, cluster_size=256, request_alignment=1024)
    assert await read(node, 1500, 10) == BASE[1500:1510]
    assert driver.allocated == {4, 5, 6, 7}


async def test_read_only_node_is_read_and_not_written(graph: BlockGraph) -> None:
    node, driver, _ = await overlay(graph, read_only=True)
    assert await read(node, 0, 512) == BASE[:512]
    assert driver.allocated == set()


async def test_node_that_always_copies_needs_no_flag(graph: BlockGraph) -> None:
    node, driver, _ = await overlay(graph)
    node.copy_on_read += 1
    await read(node, 0, 1, 0)
    assert driver.allocated == {0}


async def test_write_that_comes_meanwhile_is_not_overwritten(graph: BlockGraph) -> None:
    node, _, base = await overlay(graph)
    base.gate.clear()
    reading = start(graph.context, read(node, 0, 512))
    writing = start(graph.context, node.pwritev(10, Buffers.of(b"new")))
    await asyncio.sleep(0)
    base.gate.set()
    assert await reading == BASE[:512]
    await writing
    assert await read(node, 0, 20, 0) == BASE[:10] + b"new" + BASE[13:20]


async def test_copy_that_cannot_be_written_fails_the_read(graph: BlockGraph) -> None:
    node, driver, _ = await overlay(graph)
    driver.errors["pwritev"] = errno.ENOSPC
    with pytest.raises(BlockError, match="top: read of 512 bytes at 0: No space left on device"):
        await read(node, 0, 512)
    assert (node.in_flight, node.tracked.in_order) == (0, {})


async def test_cancelled_copy_lets_the_next_request_pass(graph: BlockGraph) -> None:
    node, _, base = await overlay(graph)
    base.gate.clear()
    reading = start(graph.context, read(node, 0, 512))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    base.gate.set()
    await node.pwritev(0, Buffers.of(b"new"))
    assert (await read(node, 0, 4), node.in_flight) == (b"new" + BASE[3:4], 0)


async def test_drained_section_waits_for_a_copy_from_its_beginning(graph: BlockGraph) -> None:
    node, driver, base = await overlay(graph)
    base.gate.clear()
    reading = start(graph.context, read(node, 0, 512))
    graph.context.loop.call_soon(base.gate.set)
    async with drained(node):
        assert (reading.done(), driver.allocated) == (True, {0})


async def test_node_cut_off_meanwhile_reads_zeroes_there(graph: BlockGraph) -> None:
    node, driver, _ = await overlay(graph)
    driver.gate.clear()
    cutting = start(graph.context, node.truncate(256, exact=True))
    reading = start(graph.context, read(node, 200, 100))
    await asyncio.sleep(0)
    driver.gate.set()
    await cutting
    assert await reading == BASE[200:256] + bytes(44)
