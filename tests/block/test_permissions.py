# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may do what with a node, with what QEMU's test-bdrv-graph-mod.c asks of updates."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.child import BlockChild
from asyncemu.block.flags import (
    PERM_ALL,
    PERM_CONSISTENT_READ,
    PERM_RESIZE,
    PERM_WRITE,
    PERM_WRITE_UNCHANGED,
    ROLE_COW,
    ROLE_DATA,
    ROLE_FILTER,
    ROLE_IMAGE,
)
from asyncemu.block.graph_change import insert_filter, replace_node
from asyncemu.block.permissions import default_child_permissions, permission_names, refresh_permissions
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions
from tests.block.drivers import WriteToSelected, add, use

READ = PERM_CONSISTENT_READ


def edges(node: BlockNode) -> list[tuple[int, int]]:
    """Of all edges to ``node``."""
    return [(edge.permissions, edge.shared) for edge in node.parents]


class Locking(MemoryDisk, name="locking"):
    """Notes what it is asked, as a driver with image locks does, and refuses on wish."""

    options_type = MemoryDiskOptions
    refuses = 0

    def __init__(self, options: MemoryDiskOptions, node_name: str, context: AioContext) -> None:
        super().__init__(options, node_name, context)
        self.calls: list[tuple[Any, ...]] = []

    def check_permissions(self, permissions: int, shared: int) -> None:
        self.calls.append(("check", permissions, shared))
        if permissions & self.refuses:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def set_permissions(self, permissions: int, shared: int) -> None:
        self.calls.append(("set", permissions, shared))

    def abort_permissions(self) -> None:
        self.calls.append(("abort",))


async def locking(graph: BlockGraph, name: str = "lock") -> tuple[BlockNode, Locking]:
    node = await add(graph, "locking", name)
    assert isinstance(node.driver, Locking)
    node.driver.calls.clear()
    return node, node.driver


# ---- what a child needs to be given


@pytest.mark.parametrize(
    ("role", "permissions", "shared", "expected"),
    [
        (ROLE_FILTER, READ | PERM_WRITE, PERM_RESIZE, (READ | PERM_WRITE, PERM_RESIZE)),
        # The format's own data: written without being asked, by nobody else.
        (ROLE_IMAGE, 0, PERM_ALL, (READ | PERM_WRITE | PERM_RESIZE, READ | PERM_WRITE_UNCHANGED)),
        (ROLE_DATA, READ, PERM_ALL, (READ, PERM_ALL & ~PERM_RESIZE)),
        (ROLE_DATA, PERM_WRITE, PERM_ALL, (PERM_WRITE | PERM_RESIZE, PERM_ALL & ~PERM_RESIZE)),
        # A backing file is read, and must not change unless whoever is over us can bear it.
        (ROLE_COW, PERM_ALL, READ, (READ, READ | PERM_WRITE_UNCHANGED)),
        (ROLE_COW, PERM_WRITE, PERM_WRITE, (0, PERM_ALL)),
    ],
)
async def test_default_permissions_by_role(
    graph: BlockGraph, role: int, permissions: int, shared: int, expected: tuple[int, int]
) -> None:
    node = await add(graph, "memory", "node")
    child = BlockChild(node, "file", role, node)
    assert default_child_permissions(node.driver, child, permissions, shared) == expected


async def test_default_permissions_read_only_image_does_not_write(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "node", read_only=True)
    child = BlockChild(node, "file", ROLE_IMAGE, node)
    assert default_child_permissions(node.driver, child, 0, PERM_ALL) == (READ, READ | PERM_WRITE_UNCHANGED)


async def test_node_has_the_union_and_leaves_what_all_leave(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "node")
    one = await use(node, "one", READ, PERM_ALL & ~PERM_RESIZE)
    other = await use(node, "other", PERM_WRITE, PERM_ALL & ~PERM_WRITE_UNCHANGED)
    assert (node.permissions, node.shared) == (READ | PERM_WRITE, READ | PERM_WRITE)
    await one.remove()
    await other.remove()
    assert (node.permissions, node.shared) == (0, PERM_ALL)


async def test_permissions_go_down_through_filters(graph: BlockGraph) -> None:
    below = await add(graph, "memory", "below")
    top = await add(graph, "pass", "top", file={"driver": "pass", "file": "below"})
    backend = await use(top, "dev", READ | PERM_WRITE, READ)
    assert edges(below) == [(READ | PERM_WRITE, READ)]
    await backend.remove()
    assert edges(below) == [(0, PERM_ALL)]


async def test_conflict_names_both_sides_and_changes_nothing(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "node")
    first = await use(node, "first", READ, PERM_ALL & ~(PERM_WRITE | PERM_RESIZE))
    before = node.permissions, node.shared, edges(node)

    with pytest.raises(ConfigError) as caught:
        await use(node, "second", READ | PERM_WRITE | PERM_RESIZE)

    assert caught.value.problem == (
        "Permission conflict on node 'node': permissions 'write, resize' are both required by block device 'second' "
        "(uses node 'node' as 'root' child) and unshared by block device 'first' (uses node 'node' as 'root' child)."
    )
    assert (node.permissions, node.shared, edges(node)) == before
    await first.remove()


async def test_conflict_far_below_refuses_the_parent(graph: BlockGraph) -> None:
    below = await add(graph, "memory", "below")
    top = await add(graph, "pass", "top", file="below")
    reader = await use(below, "reader", READ, READ)

    with pytest.raises(ConfigError, match="Permission conflict on node 'below': permissions 'write' are both required"):
        await use(top, "writer", PERM_WRITE)

    assert (top.parents, edges(below)) == ([], [(0, PERM_ALL), (READ, READ)])
    await reader.remove()


async def test_write_to_read_only_node_is_refused(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "node", read_only=True)
    with pytest.raises(ConfigError, match=r"^node: Block node is read-only$"):
        await use(node, "dev", PERM_WRITE)


async def test_set_permissions_refused_keeps_what_was(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "node")
    one, other = await use(node, "one", READ, PERM_ALL & ~PERM_WRITE), await use(node, "other", READ)

    with pytest.raises(ConfigError, match="are both required by block device 'other'"):
        other.set_permissions(READ | PERM_WRITE, PERM_ALL)

    assert (other.permissions, edges(node)) == (READ, [(READ, PERM_ALL & ~PERM_WRITE), (READ, PERM_ALL)])
    one.set_permissions(READ, PERM_ALL)
    other.set_permissions(READ | PERM_WRITE, PERM_ALL)
    assert node.permissions == READ | PERM_WRITE
    await one.remove()
    await other.remove()


async def test_force_share_of_a_child_shares_all(graph: BlockGraph) -> None:
    below = await add(graph, "memory", "below", read_only=True, force_share=True)
    await add(graph, "raw", "top", file="below", read_only=True)
    reader = await use(graph.nodes["top"], "reader", READ, READ)
    assert edges(below) == [(READ, PERM_ALL)]
    await reader.remove()


async def test_force_share_of_what_can_be_written_is_refused(graph: BlockGraph) -> None:
    with pytest.raises(ConfigError, match="force-share=on can only be used with read-only images"):
        await add(graph, "memory", "node", force_share=True)


# ---- drivers are asked


async def test_driver_is_asked_then_told(graph: BlockGraph) -> None:
    node, driver = await locking(graph)
    backend = await use(node, "dev", PERM_WRITE, READ)
    assert driver.calls == [("check", PERM_WRITE, READ), ("set", PERM_WRITE, READ)]
    await backend.remove()


async def test_driver_that_refuses_undoes_all(graph: BlockGraph) -> None:
    node, driver = await locking(graph)
    other, other_driver = await locking(graph, "other")
    top = await add(graph, "write-to-selected", "top", first="lock", second="other")
    driver.calls.clear()
    other_driver.calls.clear()
    driver.refuses = PERM_RESIZE
    before = edges(node), edges(other)

    top_driver = top.driver
    assert isinstance(top_driver, WriteToSelected)
    with pytest.raises(BlockError, match="lock: permissions: Resource temporarily unavailable"):
        await use(node, "dev", PERM_RESIZE)

    assert driver.calls == [("check", PERM_WRITE | PERM_RESIZE, PERM_ALL & ~PERM_WRITE), ("abort",)]
    assert other_driver.calls == []
    assert (edges(node), edges(other)) == before


async def test_conflict_below_aborts_those_asked_above(graph: BlockGraph) -> None:
    below = await add(graph, "memory", "below")
    reader = await use(below, "reader", READ, READ)
    above, driver = await locking(graph, "above")
    assert driver.calls == []
    top = await add(graph, "no-permissions", "top", target="above")
    driver.calls.clear()
    # Both in one update: the one that could have it must not keep it.
    with pytest.raises(ConfigError, match="Permission conflict"):
        for node in (above, below):
            edge = BlockChild(top, "extra", ROLE_FILTER, node)
            edge.permissions = PERM_WRITE
            node.parents.append(edge)
        try:
            refresh_permissions([above, below])
        finally:
            above.parents.pop()
            below.parents.pop()
    assert driver.calls == [("check", PERM_WRITE, PERM_ALL), ("abort",)]
    await reader.remove()


# ---- updates of several nodes (QEMU: test-bdrv-graph-mod.c)


async def test_update_perm_tree_two_edges_of_one_parent_conflict(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "node")
    root = await use(node, "root", READ | PERM_WRITE, PERM_ALL & ~PERM_WRITE)
    twice = await add(graph, "twice", "twice", first="node", second="node")

    with pytest.raises(ConfigError, match="Permission conflict on node 'node': permissions 'write'"):
        await replace_node(graph, node, twice)

    assert root.node is node
    assert edges(node) == [(READ | PERM_WRITE, PERM_ALL & ~PERM_WRITE), (0, PERM_ALL), (0, PERM_ALL)]
    await root.remove()


async def test_parallel_exclusive_write_old_permissions_do_not_count(graph: BlockGraph) -> None:
    await add(graph, "memory", "base")
    one, other = [await add(graph, "pass", name, file="base") for name in ("fl1", "fl2")]
    top = await add(graph, "exclusive-writer", "top", file="fl1")

    await replace_node(graph, one, other)

    assert [edge.node for edge in top.children] == [other]
    assert edges(graph.nodes["base"]) == [(0, PERM_ALL), (PERM_WRITE, PERM_ALL & ~PERM_WRITE)]


async def test_parallel_perm_update_parents_come_before_children(graph: BlockGraph) -> None:
    await add(graph, "memory", "base")
    for name in ("fl1", "fl2"):
        await add(graph, "pass", name, file="base")
    chooser = await add(graph, "write-to-selected", "ws", first="fl1", second="fl2")
    await add(graph, "no-permissions", "top", target="ws")
    assert isinstance(chooser.driver, WriteToSelected)
    found = []
    for chooser.driver.selected in ("first", "second", "first"):
        refresh_permissions([chooser])
        found.append([edge.permissions for edge in chooser.children])
    assert found == [[PERM_WRITE, 0], [0, PERM_WRITE], [PERM_WRITE, 0]]


async def test_append_greedy_filter_is_inserted_where_it_could_not_stand_beside(graph: BlockGraph) -> None:
    base = await add(graph, "memory", "base")
    top = await add(graph, "exclusive-writer", "top", file="base")
    with pytest.raises(ConfigError, match="Permission conflict"):
        await add(graph, "exclusive-writer", "beside", file="base")

    inserted = await insert_filter(graph, base, {"driver": "exclusive-writer", "node-name": "fl"}, "filter")

    assert [edge.node for edge in top.children] == [inserted]
    assert edges(base) == edges(inserted) == [(PERM_WRITE, PERM_ALL & ~PERM_WRITE)]


def test_permission_names_are_qemus() -> None:
    assert permission_names(PERM_ALL) == "consistent read, write, write unchanged, resize"
