# SPDX-License-Identifier: GPL-2.0-or-later
"""Flushes: what goes down, in which order, and what is done again. QEMU: bdrv_co_flush."""

from __future__ import annotations

import asyncio
import errno

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.child import BlockChild
from asyncemu.block.driver import ChildSlot
from asyncemu.block.filter import FilterDriver
from asyncemu.block.flags import FUA, ROLE_DATA, ROLE_IMAGE
from asyncemu.coroutines import start
from asyncemu.errors import BlockError
from asyncemu.memory.buffers import Buffers
from tests.block.drivers import SelectedOptions, add, memory, use


class TwoFiles(FilterDriver[SelectedOptions], name="two-files"):
    """A format with a data file."""

    children = (ChildSlot("first", ROLE_IMAGE), ChildSlot("second", ROLE_DATA))
    first: BlockChild
    calls: list[str]

    @property
    def below(self) -> BlockChild:
        return self.first

    async def open(self) -> int:
        self.calls = []
        return await super().open()

    async def flush_to_os(self) -> None:
        self.calls.append("to os")


def methods(node: BlockNode) -> list[str]:
    return [method for method, _, _ in memory(node).requests]


async def two_files(graph: BlockGraph) -> tuple[BlockNode, TwoFiles, BlockNode, BlockNode]:
    first, second = await add(graph, "memory", "first"), await add(graph, "memory", "second")
    node = await add(graph, "two-files", "top", first="first", second="second")
    for below in (first, second):
        await below.pwritev(0, Buffers.of(b"x"))
        memory(below).requests.clear()
    assert isinstance(node.driver, TwoFiles)
    return node, node.driver, first, second


async def test_flush_writes_the_cache_then_flushes_all_children_with_data(graph: BlockGraph) -> None:
    node, driver, first, second = await two_files(graph)
    await node.flush()
    assert (driver.calls, methods(first), methods(second)) == (["to os"], ["flush"], ["flush"])


async def test_flush_leaves_backing_files_alone(graph: BlockGraph) -> None:
    base = await add(graph, "memory", "base")
    top = await add(graph, "memory-overlay", "top", backing="base")
    await base.pwritev(0, Buffers.of(b"x"))
    await top.pwritev(0, Buffers.of(b"x"))
    await top.flush()
    assert (methods(base), methods(top)) == (["pwritev", "preadv"], ["pwritev", "flush"])


async def test_flush_one_child_fails_the_others_are_flushed_and_it_raises(graph: BlockGraph) -> None:
    node, _, first, second = await two_files(graph)
    memory(first).errors["flush"] = errno.EIO
    with pytest.raises(BlockError, match="first: flush: Input/output error"):
        await node.flush()
    assert (methods(second), node.in_flight, node.flushing) == (["flush"], 0, None)
    memory(first).errors.clear()
    await node.flush()
    assert (methods(first), methods(second)) == (["flush", "flush"], ["flush"])


async def test_flush_of_a_read_only_node_is_nothing(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "disk", read_only=True)
    await node.flush()
    assert methods(node) == []


async def test_no_flush_children_that_do_flush_are_flushed(graph: BlockGraph) -> None:
    disk = await add(graph, "memory", "disk")
    top = await add(graph, "pass", "top", file="disk", cache={"no-flush": True})
    await use(top)
    await top.pwritev(0, Buffers.of(b"x"))
    await top.flush()
    assert methods(disk) == ["pwritev", "flush"]


async def test_write_while_a_flush_runs_needs_another_one(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "disk")
    await node.pwritev(0, Buffers.of(b"1"))
    memory(node).gate.clear()
    flushing = start(graph.context, node.flush())
    writing = start(graph.context, node.pwritev(0, Buffers.of(b"2")))
    await asyncio.sleep(0)
    memory(node).gate.set()
    await flushing
    await writing
    await node.flush()
    await node.flush()
    assert methods(node) == ["pwritev", "flush", "pwritev", "flush"]


async def test_flush_cancelled_the_next_one_goes_on(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "disk")
    await node.pwritev(0, Buffers.of(b"1"))
    memory(node).gate.clear()
    first, second, third = [start(graph.context, node.flush()) for _ in range(3)]
    first.cancel()
    second.cancel()
    memory(node).gate.set()
    await third
    assert (methods(node), node.in_flight, node.flushing) == (["pwritev", "flush", "flush"], 0, None)
    assert [first.done(), second.done()] == [True, True]


async def test_flush_tells_blkdebug_below_before_the_caches_are_written(graph: BlockGraph) -> None:
    await add(
        graph, "blkdebug", "debug", image={"driver": "memory"}, inject_error=[{"event": "flush_to_os", "once": True}]
    )
    top = await add(graph, "raw", "top", file="debug")
    backend = await use(top)
    await backend.pwrite(0, b"x")
    with pytest.raises(BlockError, match="debug: flush: Input/output error"):
        await backend.flush()


async def test_write_with_fua_flushes_each_node_that_blkdebug_can_stop(graph: BlockGraph) -> None:
    await add(
        graph,
        "blkdebug",
        "debug",
        image={"driver": "memory"},
        inject_error=[{"event": "none", "iotype": "flush", "once": True}],
    )
    top = await add(graph, "raw", "top", file="debug")
    backend = await use(top)
    with pytest.raises(BlockError, match="Input/output error"):
        await backend.pwrite(0, b"x", FUA)


async def test_flush_tells_blkdebug_below_once(graph: BlockGraph) -> None:
    await add(graph, "memory", "disk")
    debug = await add(graph, "blkdebug", "debug", image="disk", inject_error=[{"event": "flush_to_disk", "once": True}])
    top = await add(graph, "raw", "top", file="debug")
    assert debug.debugged
    assert top.debugged
    await use(top)
    await top.pwritev(0, Buffers.of(b"x"))
    with pytest.raises(BlockError, match="Input/output error"):
        await top.flush()
    await top.flush()
