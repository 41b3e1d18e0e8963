# SPDX-License-Identifier: GPL-2.0-or-later
"""delay, on a clock that stands still until the test moves it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import asyncemu.testing.memory_disk  # noqa: F401  # makes the driver "memory" known
from asyncemu.block import BlockGraph, BlockNode, drained
from asyncemu.block.delay import DelayDriver
from asyncemu.block.reopen import reopen
from asyncemu.coroutines import start
from asyncemu.loop import Clock, ClockKind
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.fake_clock import FakeClock
from tests.block.drivers import use


async def delaying(graph: BlockGraph, **options: Any) -> tuple[BlockNode, FakeClock]:
    table = {"driver": "delay", "node-name": "slow", "file": {"driver": "memory", "discard": "unmap"}}
    table |= {"discard": "unmap", **{key.replace("_", "-"): value for key, value in options.items()}}
    node = await graph.add_table(table, "blockdev[0]")
    assert isinstance(node.driver, DelayDriver)
    time = FakeClock()
    node.driver.clock = Clock(ClockKind.REALTIME, time)
    await use(node)
    return node, time


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def advance(time: FakeClock, ns: int) -> None:
    time.advance(ns)
    await settle()


@pytest.mark.parametrize(
    ("option", "method", "arguments"),
    [
        ("read_ns", "preadv", (0, Buffers.of(bytearray(512)))),
        ("write_ns", "pwritev", (0, Buffers.of(bytes(512)))),
        ("write_zeroes_ns", "write_zeroes", (0, 512)),
        ("discard_ns", "discard", (0, 512)),
        ("flush_ns", "flush", ()),
    ],
)
async def test_each_kind_waits_for_its_own_time(
    graph: BlockGraph, option: str, method: str, arguments: tuple[Any, ...]
) -> None:
    node, time = await delaying(graph, **{option: 1000})
    if method == "flush":
        await node.pwritev(0, Buffers.of(b"x"))
    request = start(node.context, getattr(node, method)(*arguments))
    await advance(time, 999)
    assert not request.done()
    await advance(time, 1)
    assert request.done()


async def test_kinds_without_a_time_do_not_wait(graph: BlockGraph) -> None:
    node, _ = await delaying(graph, write_ns=1000, jitter_ns=1000)
    assert start(node.context, node.pread(0, 512)).done()


async def test_jitter_is_the_same_for_the_same_seed(graph: BlockGraph) -> None:
    async def waits(name: str, seed: int) -> list[int]:
        node, time = await delaying(graph, node_name=name, read_ns=100, jitter_ns=1000, seed=seed)
        ends: list[int] = []
        for _ in range(10):
            start(node.context, node.pread(0, 512), lambda _: ends.append(time.monotonic_ns()))
        for _ in range(1100):
            await asyncio.sleep(0)
            time.advance(1)
        await settle()
        return ends

    one, again, other = await waits("a", 7), await waits("b", 7), await waits("c", 8)
    assert one == again != other
    assert all(100 <= end <= 1101 for end in one)
    assert len(set(one)) > 5


async def test_drained_section_waits_for_nobody(graph: BlockGraph) -> None:
    node, _ = await delaying(graph, read_ns=1 << 40)
    requests = [start(node.context, node.pread(0, 512)) for _ in range(5)]
    async with drained(node):
        assert all(request.done() for request in requests)
    request = start(node.context, node.pread(0, 512))
    assert not request.done()
    async with drained(node):
        assert request.done()


async def test_reopen_with_other_times(graph: BlockGraph) -> None:
    node, time = await delaying(graph, read_ns=1 << 40)
    await reopen(graph, {node: {"read-ns": 10}}, keep=True)
    request = start(node.context, node.pread(0, 512))
    await advance(time, 10)
    assert request.done()
