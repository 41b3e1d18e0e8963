# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes in flight together: who waits for whom, and what becomes of failed ones."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.driver import BlockDriver
from asyncemu.coroutines import start
from asyncemu.errors import BlockError
from asyncemu.memory.buffers import Buffers
from tests.block.qcow2.conftest import create, image_of, opened, pattern, qemu_reads, qemu_says_clean, write

SIZE = 1 << 20
CLUSTER = 65536


class Gate:
    """Holds up writes of data to a file, or makes them fail."""

    def __init__(self, driver: BlockDriver[Any]) -> None:
        self._pwritev = driver.pwritev
        self.open = asyncio.Event()
        self.held = 0
        self.error = 0
        #: Host bytes from here on are data; the first clusters are tables.
        self.data_begins = 0
        driver.pwritev = self.pwritev  # type: ignore[method-assign]

    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        if offset >= self.data_begins and buffers.nbytes >= 4096:
            self.held += 1
            await self.open.wait()
            self.held -= 1
            if self.error:
                raise OSError(self.error, "injected")
        await self._pwritev(offset, buffers)


@pytest.fixture
async def node(graph: BlockGraph, tmp_path: Path) -> AsyncIterator[BlockNode]:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        # The L2 table is there, and so are its first and its last cluster.
        await write(node, SIZE - 1, b"x")
        await node.flush()
        yield node


@pytest.fixture
def gate(node: BlockNode) -> Iterator[Gate]:
    gate = Gate(image_of(node).file.node.driver)
    gate.data_begins = image_of(node).file.size // CLUSTER * CLUSTER
    yield gate
    gate.error = 0
    gate.open.set()


async def test_writes_to_neighbouring_clusters_run_side_by_side(node: BlockNode, gate: Gate) -> None:
    writes = [start(node.context, write(node, index * CLUSTER, b"a" * CLUSTER)) for index in range(4)]

    assert gate.held == 4
    gate.open.set()
    for each in writes:
        await each
    assert await node.pread(0, 4 * CLUSTER) == b"a" * 4 * CLUSTER


async def test_writes_to_one_new_cluster_wait_for_the_first(node: BlockNode, gate: Gate) -> None:
    first = start(node.context, write(node, 0, b"a" * 4096))
    second = start(node.context, write(node, 8192, b"b" * 4096))

    assert gate.held == 1
    assert len(image_of(node).allocator.in_flight) == 1
    gate.open.set()
    await first
    await second
    assert await node.pread(0, 12288) == b"a" * 4096 + bytes(4096) + b"b" * 4096


async def test_write_up_to_a_cluster_in_flight_goes_on_with_what_is_before(node: BlockNode, gate: Gate) -> None:
    first = start(node.context, write(node, 2 * CLUSTER, b"a" * CLUSTER))
    second = start(node.context, write(node, 0, b"b" * 3 * CLUSTER))

    # The second writes its first two clusters beside the first, and waits with its third.
    assert gate.held == 2
    gate.open.set()
    await first
    await second
    assert await node.pread(0, 3 * CLUSTER) == b"b" * 3 * CLUSTER


async def test_zeroes_over_a_cluster_in_flight_wait_for_it(node: BlockNode, gate: Gate) -> None:
    first = start(node.context, write(node, 0, b"a" * CLUSTER))
    second = start(node.context, node.write_zeroes(0, CLUSTER))

    assert not second.done()
    gate.open.set()
    await first
    await second
    assert await node.pread(0, CLUSTER) == bytes(CLUSTER)


async def test_discard_over_a_cluster_in_flight_leaves_no_freed_cluster_mapped(
    node: BlockNode, gate: Gate, tmp_path: Path
) -> None:
    first = start(node.context, write(node, 0, b"a" * CLUSTER))
    second = start(node.context, node.discard(0, CLUSTER))
    gate.open.set()
    await first
    await second
    await node.flush()

    copy = tmp_path / "copy"
    copy.write_bytes((tmp_path / "image").read_bytes())
    assert qemu_reads(copy)[:CLUSTER] == bytes(CLUSTER)


async def test_failed_write_gives_its_clusters_back(node: BlockNode, gate: Gate, tmp_path: Path) -> None:
    gate.error = errno.EIO
    gate.open.set()

    with pytest.raises(BlockError) as failed:
        await write(node, 0, b"a" * CLUSTER)
    gate.error = 0
    await write(node, CLUSTER, b"b" * CLUSTER)
    await node.flush()

    assert failed.value.errno == errno.EIO
    assert not image_of(node).allocator.in_flight
    assert await node.pread(0, 2 * CLUSTER) == bytes(CLUSTER) + b"b" * CLUSTER
    copy = tmp_path / "copy"
    copy.write_bytes((tmp_path / "image").read_bytes())
    assert qemu_says_clean(copy)


async def test_write_that_waits_for_a_failed_one_allocates_itself(node: BlockNode, gate: Gate) -> None:
    first = start(node.context, write(node, 0, b"a" * 4096))
    second = start(node.context, write(node, 8192, b"b" * 4096))
    gate.error = errno.EIO
    gate.open.set()

    with pytest.raises(BlockError):
        await first
    with pytest.raises(BlockError):
        await second
    gate.error = 0
    await write(node, 8192, b"c" * 4096)

    assert await node.pread(0, 12288) == bytes(8192) + b"c" * 4096


async def test_cancelled_write_lets_those_behind_it_go_on(node: BlockNode, gate: Gate) -> None:
    first = asyncio.ensure_future(write(node, 0, b"a" * 4096))
    await asyncio.sleep(0)
    second = start(node.context, write(node, 8192, b"b" * 4096))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first

    gate.open.set()
    await second

    assert (await node.pread(8192, 4096)) == b"b" * 4096
    assert not image_of(node).allocator.in_flight


async def test_many_writes_at_once_all_arrive_and_leak_nothing(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, cluster_size=512)
    data = pattern(SIZE)
    async with opened(graph, path, l2_cache_entry_size=512, l2_cache_size=1024) as node:
        steps = range(0, SIZE, 3001)
        writes = [start(node.context, write(node, at, data[at : at + 3001])) for at in steps]
        for each in writes:
            await each

    assert qemu_reads(path) == data
    assert qemu_says_clean(path)
