# SPDX-License-Identifier: GPL-2.0-or-later
"""The throttle filter in a graph, on a clock that stands still until the test moves it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import asyncemu.testing.memory_disk  # noqa: F401  # makes the driver "memory" known
from asyncemu.block import BlockBackend, BlockGraph, BlockNode, drained, move_nodes
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_WRITE
from asyncemu.block.graph_change import insert_filter, remove_filter
from asyncemu.block.reopen import reopen
from asyncemu.block.throttle.buckets import SECOND_NS
from asyncemu.block.throttle.config import ThrottleLimits
from asyncemu.block.throttle.driver import ThrottleDriver
from asyncemu.coroutines import Coroutine, start
from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext, Clock, ClockKind, IOThread
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.fake_clock import FakeClock

DISK = {"driver": "memory", "node-name": "disk", "size": 1 << 20, "discard": "unmap"}


@pytest.fixture
def time(graph: BlockGraph) -> FakeClock:
    """The time of the graph's throttle groups."""
    time = FakeClock()
    graph.throttle_groups.clock = Clock(ClockKind.REALTIME, time)
    return time


def add_group(graph: BlockGraph, name: str = "g", **limits: int) -> None:
    graph.throttle_groups.add(name, ThrottleLimits(**limits).config("limits"), "throttle-group[0]")


async def throttle(graph: BlockGraph, **options: Any) -> BlockNode:
    table = {"driver": "throttle", "node-name": "top", "file": DISK, "discard": "unmap"}
    return await graph.add_table({**table, **{key.replace("_", "-"): value for key, value in options.items()}}, "b")


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def advance(time: FakeClock, ns: int) -> None:
    await settle()
    time.advance(ns)
    await settle()


def write(node: BlockNode, length: int = 512) -> Coroutine[None]:
    return start(node.context, node.pwritev(0, Buffers.of(bytes(length))))


async def test_requests_of_all_kinds_but_flush_count(graph: BlockGraph, time: FakeClock) -> None:
    add_group(graph, iops_total=10, iops_total_max=10)
    node = await throttle(graph, throttle_group="g")
    requests = [
        start(node.context, body)
        for body in (
            node.preadv(0, Buffers.of(bytearray(512))),
            node.pwritev(0, Buffers.of(bytes(512))),
            node.write_zeroes(0, 512),
            node.discard(0, 512),
        )
        for _ in range(1)
    ]
    more = [write(node) for _ in range(8)]
    flush = start(node.context, node.flush())
    await settle()
    assert all(request.done() for request in requests)
    assert sum(request.done() for request in more) == 7
    assert flush.done()
    await advance(time, SECOND_NS)
    assert more[-1].done()


async def test_bytes_are_limited_by_direction(graph: BlockGraph, time: FakeClock) -> None:
    add_group(graph, bps_write=1 << 20)
    node = await throttle(graph, throttle_group="g")
    first, second = write(node, 1 << 20), write(node, 512)
    read = start(node.context, node.preadv(0, Buffers.of(bytearray(1 << 20))))
    assert (first.done(), second.done(), read.done()) == (True, False, True)
    await advance(time, SECOND_NS)
    assert second.done()


async def test_nodes_of_one_group_share_its_limits(graph: BlockGraph, time: FakeClock) -> None:
    add_group(graph, iops_total=10)
    one = await throttle(graph, node_name="one", throttle_group="g")
    two = await throttle(graph, node_name="two", file="disk", throttle_group="g")
    requests = [write(node) for node in (one, two, one, two)]
    assert [request.done() for request in requests] == [True, True, False, False]
    await advance(time, SECOND_NS)
    await advance(time, SECOND_NS)
    assert all(request.done() for request in requests)


async def test_limits_in_the_node_are_its_own(graph: BlockGraph, time: FakeClock) -> None:
    one = await throttle(graph, node_name="one", limits={"iops-total": 10})
    two = await throttle(graph, node_name="two", file="disk", limits={"iops-total": "10"})
    requests = [write(node) for node in (one, two, one, two)]
    assert all(request.done() for request in requests)
    waits = write(one)
    assert not waits.done()
    await advance(time, SECOND_NS)
    assert waits.done()


async def test_drained_section_lets_all_go_on(graph: BlockGraph, time: FakeClock) -> None:
    add_group(graph, iops_total=1)
    node = await throttle(graph, throttle_group="g")
    requests = [write(node) for _ in range(20)]
    assert sum(request.done() for request in requests) == 1
    async with drained(node):
        assert all(request.done() for request in requests)
    waits = write(node)
    assert not waits.done()
    waits.cancel()


async def test_closing_the_node_lets_all_go_on(graph: BlockGraph, time: FakeClock) -> None:
    add_group(graph, iops_total=1)
    node = await throttle(graph, throttle_group="g")
    requests = [write(node) for _ in range(5)]
    async with drained(node):
        pass
    await graph.remove(node)
    assert all(request.done() for request in requests)
    graph.throttle_groups.remove("g")


async def test_filter_that_comes_and_goes_under_requests_loses_none(graph: BlockGraph, time: FakeClock) -> None:
    add_group(graph, iops_total=1)
    disk = await graph.add_table(DISK, "b")
    backend = BlockBackend("b", graph.context, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL)
    await backend.insert(disk)
    table = {"driver": "throttle", "node-name": "top", "throttle-group": "g"}
    node = await insert_filter(graph, disk, table, "b")
    requests = [start(graph.context, backend.pwrite(0, bytes(512))) for _ in range(5)]
    assert sum(request.done() for request in requests) == 1
    await remove_filter(graph, node)
    assert all(request.done() for request in requests)
    assert start(graph.context, backend.pwrite(0, bytes(512))).done()
    graph.throttle_groups.remove("g")
    await backend.remove()


async def test_reopen_with_another_group_takes_its_limits(graph: BlockGraph, time: FakeClock) -> None:
    add_group(graph, "slow", iops_total=1)
    add_group(graph, "fast", iops_total=1000)
    node = await throttle(graph, throttle_group="slow")
    await reopen(graph, {node: {"throttle-group": "fast"}}, keep=True)
    requests = [write(node) for _ in range(50)]
    assert all(request.done() for request in requests)
    graph.throttle_groups.remove("slow")
    with pytest.raises(ConfigError, match="Throttle group 'slow' does not exist"):
        await reopen(graph, {node: {"throttle-group": "slow"}}, keep=True)
    assert write(node).done()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Please specify a throttle group"),
        ({"throttle_group": "x"}, "Throttle group 'x' does not exist"),
        ({"throttle_group": "g", "limits": {"iops-total": 1}}, "a throttle group has limits of its own"),
        ({"limits": {"iops-total-max": 1}}, "bps_max/iops_max require corresponding bps/iops values"),
    ],
)
async def test_open_with_wrong_options_says_so(graph: BlockGraph, options: dict[str, Any], message: str) -> None:
    add_group(graph)
    with pytest.raises(ConfigError) as caught:
        await throttle(graph, **options)
    assert caught.value.problem == message
    assert graph.nodes == {}


async def test_moved_node_is_limited_in_its_new_home(
    graph: BlockGraph, context: AioContext, iothreads: list[IOThread]
) -> None:
    add_group(graph, iops_total=2000)
    node = await throttle(graph, throttle_group="g")
    backend = BlockBackend("b", context, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL)
    await backend.insert(node)
    home = iothreads[0].aio_context
    await move_nodes(node, home, [backend])

    async def several() -> int:
        before = group.clock.now()
        for request in [start(home, node.pwritev(0, Buffers.of(bytes(512)))) for _ in range(250)]:
            await request
        return group.clock.now() - before

    (group,) = graph.throttle_groups
    assert isinstance(node.driver, ThrottleDriver)
    # 201 pass at once, the others take half a millisecond each, on a real clock.
    assert await home.call(several) >= 49 * SECOND_NS // 2000 // 2
    await home.call(backend.remove)
    await move_nodes(node, context)
