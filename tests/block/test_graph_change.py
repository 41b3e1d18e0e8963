# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes replaced, filters inserted and removed, backing files changed: under I/O, in iothreads, refused, cancelled."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockBackend, BlockGraph, BlockNode, move_nodes
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_WRITE
from asyncemu.block.graph_change import insert_filter, remove_filter, replace_node, set_backing
from asyncemu.coroutines import start
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext, IOThread
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions
from tests.block.drivers import add, memory, use

FILTER = {"driver": "pass", "node-name": "filter"}


@pytest.fixture
async def graph(context: AioContext, iothreads: list[IOThread], tmp_path: Path) -> AsyncIterator[BlockGraph]:
    """Closed before the iothreads stop."""
    graph = BlockGraph(context, tmp_path)
    yield graph
    await graph.close()


def picture(graph: BlockGraph) -> dict[str, dict[str, str]]:
    """Node → child's name → node."""
    return {name: {edge.name: edge.node.name for edge in node.children} for name, node in graph.nodes.items()}


def is_consistent(graph: BlockGraph) -> bool:
    """Each edge is known at both ends, and nothing is quiet."""
    nodes = graph.nodes.values()
    edges = [edge for node in nodes for edge in node.children]
    return (
        all(edge in edge.node.parents and getattr(edge.parent.driver, edge.name) is edge for edge in edges)  # type: ignore[attr-defined]
        and not any(node.sections or node.in_flight for node in nodes)
        and not graph.lock._owners
    )


class Heavy(MemoryDisk, name="heavy"):
    """Does not move."""

    options_type = MemoryDiskOptions

    async def detach_context(self) -> None:
        raise OSError(errno.EBUSY, "too heavy")


# ---- replace


async def test_replace_node_requests_go_to_the_new_one(graph: BlockGraph) -> None:
    old, new = await add(graph, "memory", "old"), await add(graph, "memory", "new")
    backend = await use(old)
    await replace_node(graph, old, new)
    await backend.pwrite(0, b"x")
    assert (backend.node, old.parents, bytes(memory(new).data[:1]), bytes(memory(old).data[:1])) == (
        new,
        [],
        b"x",
        b"\0",
    )
    await backend.remove()


async def test_replace_node_request_in_flight_ends_first(graph: BlockGraph) -> None:
    old, new = await add(graph, "memory", "old"), await add(graph, "memory", "new")
    backend = await use(old)
    memory(old).gate.clear()
    first = start(graph.context, backend.pwrite(0, b"1"))
    replacing = start(graph.context, replace_node(graph, old, new))
    second = start(graph.context, backend.pwrite(1, b"2"))
    await asyncio.sleep(0)
    before = replacing.done(), second.done(), backend.node
    memory(old).gate.set()
    for each in (first, replacing, second):
        await each
    assert before == (False, False, old)
    assert (bytes(memory(old).data[:2]), bytes(memory(new).data[:2])) == (b"1\0", b"\0" + b"2")
    await backend.remove()


async def test_replace_node_of_another_size_tells_its_users(graph: BlockGraph) -> None:
    old, new = await add(graph, "memory", "old", size=512), await add(graph, "memory", "new", size=1024)
    top = await add(graph, "pass", "top", file="old")
    backend = await use(top)
    sizes: list[int] = []
    backend.on_resize = lambda: sizes.append(backend.size)
    await replace_node(graph, old, new)
    assert sizes == [1024]
    await backend.remove()


async def test_replace_node_those_below_the_new_one_keep_theirs(graph: BlockGraph) -> None:
    """QEMU: /bdrv-graph-mod/should-update-child: nothing comes to be below itself."""
    node = await add(graph, "memory", "node")
    root = await use(node, "root", 0, PERM_ALL)
    await add(graph, "no-permissions", "target", backing="node")
    filter_ = await add(graph, "no-permissions", "filter", target="target", backing="node")

    await replace_node(graph, node, filter_)

    assert root.node is filter_
    assert picture(graph) == {
        "node": {},
        "target": {"backing": "node"},
        "filter": {"backing": "node", "target": "target"},
    }
    await root.remove()


async def test_replace_node_refused_leaves_all_as_it_was(graph: BlockGraph) -> None:
    old, new = await add(graph, "memory", "old"), await add(graph, "memory", "new")
    writer = await use(old, "writer")
    reader = await use(new, "reader", PERM_CONSISTENT_READ, PERM_ALL & ~PERM_WRITE)
    with pytest.raises(ConfigError, match="Permission conflict on node 'new'"):
        await replace_node(graph, old, new)
    await writer.pwrite(0, b"x")
    assert (writer.node, reader.node, bytes(memory(old).data[:1])) == (old, new, b"x")
    assert is_consistent(graph)
    await writer.remove()
    await reader.remove()


async def test_replace_node_cancelled_while_it_drains_leaves_all_as_it_was(graph: BlockGraph) -> None:
    old, new = await add(graph, "memory", "old"), await add(graph, "memory", "new")
    backend = await use(old)
    memory(old).gate.clear()
    request = start(graph.context, backend.pwrite(0, b"1"))
    replacing = start(graph.context, replace_node(graph, old, new))
    replacing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await replacing
    memory(old).gate.set()
    await request
    assert (backend.node, backend.quiesced) == (old, 0)
    assert is_consistent(graph)
    await backend.remove()


# ---- filters


async def test_insert_filter_comes_between(graph: BlockGraph) -> None:
    disk = await add(graph, "memory", "disk")
    top = await add(graph, "pass", "top", file="disk")
    backend = await use(disk)
    inserted = await insert_filter(graph, disk, FILTER, "filter")
    await backend.pwrite(0, b"x")
    assert backend.node is inserted
    assert picture(graph) == {"disk": {}, "top": {"file": "filter"}, "filter": {"file": "disk"}}
    assert memory(disk).data[:1] == b"x"
    assert (inserted.kept, top.size) == (True, disk.size)
    await backend.remove()


async def test_insert_filter_over_a_filter_goes_in_both_orders(graph: BlockGraph) -> None:
    disk = await add(graph, "memory", "disk")
    backend = await use(disk)
    lower = await insert_filter(graph, disk, {"driver": "pass", "node-name": "lower"}, "filter")
    upper = await insert_filter(graph, lower, {"driver": "pass", "node-name": "upper"}, "filter")
    between = await insert_filter(graph, lower, {"driver": "pass", "node-name": "between"}, "filter")
    assert backend.node is upper
    assert picture(graph) == {
        "disk": {},
        "lower": {"file": "disk"},
        "upper": {"file": "between"},
        "between": {"file": "lower"},
    }
    for node in (lower, upper, between):
        await remove_filter(graph, node)
    assert (backend.node, list(graph.nodes)) == (disk, ["disk"])
    await backend.remove()


async def test_insert_filter_that_cannot_be_opened_leaves_all_as_it_was(graph: BlockGraph) -> None:
    disk = await add(graph, "memory", "disk")
    backend = await use(disk)
    with pytest.raises(ConfigError, match=r"filter\.offset"):
        await insert_filter(graph, disk, {"driver": "raw", "offset": 1 << 40}, "filter")
    assert (backend.node, picture(graph)) == (disk, {"disk": {}})
    assert is_consistent(graph)
    await backend.remove()


async def test_insert_filter_that_may_not_stand_there_is_closed_again(graph: BlockGraph) -> None:
    disk = await add(graph, "memory", "disk", read_only=True)
    reader = await use(disk, "reader", PERM_CONSISTENT_READ, PERM_CONSISTENT_READ)
    with pytest.raises(ConfigError, match="disk: Block node is read-only"):
        await insert_filter(graph, disk, {"driver": "exclusive-writer"}, "filter")
    assert (reader.node, picture(graph)) == (disk, {"disk": {}})
    assert is_consistent(graph)
    await reader.remove()


class SlowToResume:
    """A user of a BlockBackend that takes its time to go on."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.resuming = asyncio.Event()

    async def quiesce(self) -> None:
        pass

    async def resume(self) -> None:
        self.resuming.set()
        await self.gate.wait()


async def test_insert_filter_cancelled_when_it_is_in_place_is_taken_out_again(graph: BlockGraph) -> None:
    disk = await add(graph, "memory", "disk")
    backend = await use(disk)
    user = backend.user = SlowToResume()
    inserting = start(graph.context, insert_filter(graph, disk, FILTER, "filter"))
    await user.resuming.wait()
    in_place = backend.node.name
    inserting.cancel()
    user.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await inserting
    assert (in_place, backend.node, picture(graph)) == ("filter", disk, {"disk": {}})
    assert is_consistent(graph)
    await backend.remove()


async def test_remove_filter_what_is_below_stays(graph: BlockGraph) -> None:
    top = await add(graph, "pass", "top", file={"driver": "memory", "node-name": "disk"})
    backend = await use(top)
    await remove_filter(graph, top)
    await backend.pwrite(0, b"x")
    assert (backend.node.name, picture(graph)) == ("disk", {"disk": {}})
    await backend.remove()


async def test_remove_filter_that_nobody_is_over_leaves_what_is_below(graph: BlockGraph) -> None:
    top = await add(graph, "pass", "top", file={"driver": "memory", "node-name": "disk"})
    await remove_filter(graph, top)
    assert picture(graph) == {"disk": {}}


async def test_remove_filter_of_an_overlay_is_refused(graph: BlockGraph) -> None:
    await add(graph, "memory", "base")
    top = await add(graph, "memory-overlay", "top", backing="base")
    with pytest.raises(BlockError, match="top: is no filter: Invalid argument"):
        await remove_filter(graph, top)


async def test_filter_inserted_and_removed_under_writes_none_is_lost(graph: BlockGraph) -> None:
    disk = await add(graph, "memory", "disk", size=1 << 16)
    backend = await use(disk)

    async def write_all() -> None:
        for block in range(128):
            await backend.pwrite(block * 512, bytes([block + 1]) * 512)
            await asyncio.sleep(0)

    writing = start(graph.context, write_all())
    for _ in range(10):
        await remove_filter(graph, await insert_filter(graph, backend.node, FILTER, "filter"))
    await writing
    assert memory(disk).data == b"".join(bytes([block + 1]) * 512 for block in range(128))
    assert [method for method, _, _ in memory(disk).requests].count("pwritev") == 128
    await backend.remove()


# ---- backing files


async def test_set_backing_reads_come_from_the_new_one(graph: BlockGraph) -> None:
    one, other = await add(graph, "memory", "one"), await add(graph, "memory", "other")
    memory(other).data[:2] = b"ot"
    top = await add(graph, "memory-overlay", "top", backing="one")
    await set_backing(graph, top, other)
    assert await top.pread(0, 2) == b"ot"
    assert one.parents == []
    await set_backing(graph, top, None)
    assert await top.pread(0, 2) == bytes(2)
    assert picture(graph) == {"one": {}, "other": {}, "top": {}}


async def test_set_backing_the_old_one_goes_when_nobody_asked_for_it(graph: BlockGraph) -> None:
    top = await add(graph, "memory-overlay", "top", backing={"driver": "memory", "node-name": "base"})
    base = memory(graph.nodes["base"])
    await set_backing(graph, top, None)
    assert (list(graph.nodes), base.closed) == (["top"], True)


async def test_set_backing_over_itself_is_refused(graph: BlockGraph) -> None:
    await add(graph, "memory", "base")
    middle = await add(graph, "memory-overlay", "middle", backing="base")
    top = await add(graph, "pass", "top", file="middle")
    with pytest.raises(ConfigError, match="Making 'top' a backing child of 'middle' would create a cycle"):
        await set_backing(graph, middle, top)
    assert picture(graph) == {"base": {}, "middle": {"backing": "base"}, "top": {"file": "middle"}}
    assert is_consistent(graph)


async def test_set_backing_refused_keeps_the_old_one(graph: BlockGraph) -> None:
    await add(graph, "memory", "base")
    other = await add(graph, "memory", "other")
    top = await add(graph, "memory-overlay", "top", backing="base")
    reader = await use(top, "reader", PERM_CONSISTENT_READ, PERM_CONSISTENT_READ)
    writer = await use(other, "writer")
    with pytest.raises(ConfigError, match="Permission conflict on node 'other'"):
        await set_backing(graph, top, other)
    assert picture(graph)["top"] == {"backing": "base"}
    assert is_consistent(graph)
    await reader.remove()
    await writer.remove()


async def test_set_backing_of_what_has_none_is_refused(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "node")
    with pytest.raises(BlockError, match="node: driver 'memory' has no backing file"):
        await set_backing(graph, node, None)


# ---- in an iothread


@pytest.fixture
async def disk(graph: BlockGraph, iothreads: list[IOThread]) -> BlockNode:
    """``disk``, in io0."""
    node = await add(graph, "memory-overlay", "disk")
    await move_nodes(node, iothreads[0].aio_context)
    return node


async def there(backend: BlockBackend, data: bytes) -> None:
    await backend.context.call(lambda: backend.pwrite(0, data))


async def test_filter_over_a_node_in_an_iothread_comes_and_goes(graph: BlockGraph, disk: BlockNode) -> None:
    backend = await use(disk)
    inserted = await insert_filter(graph, disk, FILTER, "filter")
    await there(backend, b"1")
    assert (inserted.context, backend.node) == (disk.context, inserted)
    await remove_filter(graph, inserted)
    await there(backend, b"2")
    assert (backend.node, bytes(memory(disk).data[:1])) == (disk, b"2")
    assert is_consistent(graph)
    await disk.context.call(backend.remove)


async def test_replace_node_in_an_iothread_the_new_one_comes_there(graph: BlockGraph, disk: BlockNode) -> None:
    backend = await use(disk)
    new = await add(graph, "memory", "new")
    await replace_node(graph, disk, new)
    await there(backend, b"x")
    assert (new.context, bytes(memory(new).data[:1])) == (disk.context, b"x")
    await disk.context.call(backend.remove)


async def test_replace_node_with_one_in_an_iothread_the_old_one_goes_there(graph: BlockGraph, disk: BlockNode) -> None:
    backend = await use(disk)
    old = await add(graph, "memory", "old")
    top = await add(graph, "pass", "top", file="old")
    await replace_node(graph, old, disk)
    assert (top.context, picture(graph)["top"]) == (disk.context, {"file": "disk"})
    await disk.context.call(backend.remove)


async def test_replace_node_that_cannot_move_is_refused(graph: BlockGraph, disk: BlockNode) -> None:
    backend = await use(disk)
    heavy = await add(graph, "heavy", "heavy")
    with pytest.raises(BlockError, match="heavy: can't be moved to io0: Device or resource busy"):
        await replace_node(graph, disk, heavy)
    assert (backend.node, heavy.context) == (disk, graph.context)
    assert is_consistent(graph)
    await disk.context.call(backend.remove)


async def test_set_backing_in_an_iothread_brings_it_there(graph: BlockGraph, disk: BlockNode) -> None:
    base = await add(graph, "memory", "base")
    memory(base).data[:1] = b"b"
    await set_backing(graph, disk, base)
    assert base.context is disk.context
    assert await disk.context.call(lambda: disk.pread(0, 1)) == b"b"
    await set_backing(graph, disk, None)
    assert is_consistent(graph)


async def test_add_over_nodes_of_two_homes_brings_them_together(graph: BlockGraph, disk: BlockNode) -> None:
    await add(graph, "memory", "second")
    top = await add(graph, "write-to-selected", "top", first="second", second="disk")
    assert {node.context for node in graph.nodes.values()} == {top.context}


async def test_add_over_nodes_that_cannot_come_together_is_refused(
    graph: BlockGraph, disk: BlockNode, iothreads: list[IOThread]
) -> None:
    other = await add(graph, "memory", "other")
    await move_nodes(other, iothreads[1].aio_context)
    backends = [await use(disk), await use(other)]
    with pytest.raises(ConfigError, match="top: its children are in several iothreads; move them into one"):
        await add(graph, "write-to-selected", "top", first="other", second="disk")
    assert is_consistent(graph)
    for backend in backends:
        await backend.context.call(backend.remove)


async def test_remove_of_a_node_in_an_iothread_closes_it_there(graph: BlockGraph, disk: BlockNode) -> None:
    top = await add(graph, "pass", "top", file="disk")
    await graph.remove(top)
    await graph.remove(disk)
    assert (graph.nodes, memory(disk).closed) == ({}, True)


# ---- removing


async def test_remove_used_node_raises_ebusy(graph: BlockGraph) -> None:
    disk = await add(graph, "memory", "disk")
    await add(graph, "pass", "top", file="disk")
    with pytest.raises(BlockError, match=r"^disk: is in use: node 'top': Device or resource busy$"):
        await graph.remove(disk)


async def test_remove_twice_raises_enoent(graph: BlockGraph) -> None:
    disk = await add(graph, "memory", "disk")
    await graph.remove(disk)
    with pytest.raises(BlockError, match="disk: is removed already: No such file or directory"):
        await graph.remove(disk)


async def test_remove_failing_flush_removes_it_and_raises(graph: BlockGraph) -> None:
    top = await add(graph, "pass", "top", file={"driver": "memory", "node-name": "disk"})
    disk = memory(graph.nodes["disk"])
    backend = await use(top)
    await backend.pwrite(0, b"x")
    await backend.flush()
    await top.children[0].pwrite(0, b"y")
    await backend.remove()
    disk.errors["flush"] = errno.EIO
    with pytest.raises(BlockError, match="disk: flush: Input/output error"):
        await graph.remove(top)
    assert (graph.nodes, disk.closed) == ({}, True)


async def test_remove_cancelled_while_it_drains_keeps_the_node(graph: BlockGraph) -> None:
    disk = await add(graph, "memory", "disk")
    memory(disk).gate.clear()
    request = start(graph.context, disk.pread(0, 1))
    removing = start(graph.context, graph.remove(disk))
    removing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await removing
    memory(disk).gate.set()
    await request
    backend = await use(disk)
    assert (list(graph.nodes), disk.closed, disk.closing) == (["disk"], False, False)
    await backend.remove()


async def test_node_that_is_being_removed_takes_no_parents(graph: BlockGraph) -> None:
    disk = await add(graph, "memory", "disk")
    memory(disk).gate.clear()
    request = start(graph.context, disk.pread(0, 1))
    removing = start(graph.context, graph.remove(disk))
    with pytest.raises(BlockError, match="disk: can't be inserted into dev0: Cannot send after transport endpoint"):
        await use(disk)
    memory(disk).gate.set()
    await request
    await removing


async def test_add_cancelled_while_it_opens_leaves_nothing(graph: BlockGraph) -> None:
    table: dict[str, Any] = {"driver": "slow", "node-name": "top", "file": {"driver": "memory", "node-name": "disk"}}
    adding = start(graph.context, graph.add_table(table, "top"))
    disk = memory(graph.nodes["disk"])
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert (graph.nodes, disk.closed) == ({}, True)
    assert is_consistent(graph)


async def test_add_in_an_iothread_cancelled_while_it_opens_leaves_nothing(graph: BlockGraph, disk: BlockNode) -> None:
    adding = start(graph.context, graph.add_table({"driver": "slow", "node-name": "top", "file": "disk"}, "top"))
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert (list(graph.nodes), disk.parents) == (["disk"], [])
    assert is_consistent(graph)
