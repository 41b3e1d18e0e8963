# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockGraph: names, children, errors with their TOML path, closing order."""

from __future__ import annotations

import asyncio
import errno
import threading
from typing import Any

import pytest

from asyncemu.block import BlockBackend, BlockGraph, BlockNode, move_nodes
from asyncemu.block.raw import RawDriver
from asyncemu.errors import ConfigError
from asyncemu.loop import IOThread
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.memory_disk import MemoryDisk
from tests.block.drivers import use


class FailingUser:
    """Does not become quiet."""

    async def quiesce(self) -> None:
        raise OSError(errno.EIO, "is stuck")

    async def resume(self) -> None:
        """Nothing has stopped."""


def below(node: BlockNode) -> BlockNode:
    assert isinstance(node.driver, RawDriver)
    return node.driver.file.node


def memory(node: BlockNode) -> MemoryDisk:
    assert isinstance(node.driver, MemoryDisk)
    return node.driver


async def test_add_node_name_taken_raises_config_error(graph: BlockGraph) -> None:
    table = {"driver": "null-co", "node-name": "a"}
    await graph.add_table(table, "blockdev[0]")
    with pytest.raises(ConfigError, match=r"^blockdev\[1\]\.node-name: Duplicate nodes with node-name='a'$"):
        await graph.add_table(table, "blockdev[1]")


async def test_add_child_by_unknown_name_raises_config_error(graph: BlockGraph) -> None:
    with pytest.raises(
        ConfigError, match=r"^blockdev\[0\]\.file: Cannot find device='b' nor node-name='b'; name a node that is"
    ):
        await graph.add_table({"driver": "raw", "file": "b"}, "blockdev[0]")


async def test_add_child_by_name_uses_that_node(graph: BlockGraph) -> None:
    null = await graph.add_table({"driver": "null-co", "node-name": "below", "size": "4KiB"}, "blockdev[0]")
    raw = await graph.add_table({"driver": "raw", "file": "below"}, "blockdev[1]")
    assert (raw.size, below(raw)) == (4096, null)


async def test_add_nested_table_makes_an_anonymous_node(graph: BlockGraph) -> None:
    await graph.add_table({"driver": "raw", "node-name": "top", "file": {"driver": "memory"}}, "blockdev[0]")
    assert list(graph.nodes) == ["#block001", "top"]


async def test_add_failing_parent_closes_what_was_made_for_it(graph: BlockGraph) -> None:
    table: dict[str, Any] = {"driver": "raw", "offset": "2GiB", "file": {"driver": "null-co"}}
    with pytest.raises(ConfigError, match=r"^blockdev\[0\]\.offset: Offset \(2147483648\) cannot be greater"):
        await graph.add_table(table, "blockdev[0]")
    assert graph.nodes == {}


async def test_add_wrong_nested_option_names_the_whole_path(graph: BlockGraph) -> None:
    with pytest.raises(
        ConfigError, match=r"^blockdev\[0\]\.file\.read-zeros: unknown key; did you mean 'read-zeroes'\?"
    ):
        await graph.add_table({"driver": "raw", "file": {"driver": "null-co", "read-zeros": True}}, "blockdev[0]")


async def test_read_only_parent_makes_its_nested_child_read_only(graph: BlockGraph) -> None:
    raw = await graph.add_table({"driver": "raw", "read-only": True, "file": {"driver": "memory"}}, "blockdev[0]")
    assert (raw.read_only, below(raw).read_only) == (True, True)


async def test_close_users_before_what_they_use(graph: BlockGraph) -> None:
    raw = await graph.add_table({"driver": "raw", "node-name": "top", "file": {"driver": "memory"}}, "blockdev[0]")
    disk = memory(below(raw))
    backend = await use(raw)
    await backend.pwrite(0, b"x")
    await backend.remove()
    await graph.close()
    assert disk.closed
    assert disk.requests == [("pwritev", 0, 1), ("flush", 0, 0)]


async def test_close_failing_node_closes_the_others_and_raises_a_group(graph: BlockGraph) -> None:
    first = await graph.add_table({"driver": "memory", "node-name": "first"}, "blockdev[0]")
    second = await graph.add_table({"driver": "memory", "node-name": "second"}, "blockdev[1]")
    memory(second).errors["flush"] = errno.EIO
    await second.pwritev(0, Buffers.of(b"x"))
    with pytest.raises(ExceptionGroup) as caught:
        await graph.close()
    assert [str(error) for error in caught.value.exceptions] == ["second: flush: Input/output error"]
    assert memory(first).closed


async def test_close_user_that_fails_closes_the_other_nodes_and_raises_a_group(graph: BlockGraph) -> None:
    held = await graph.add_table({"driver": "memory", "node-name": "held"}, "blockdev[0]")
    await graph.add_table({"driver": "memory", "node-name": "free"}, "blockdev[1]")
    backend = await use(held)
    backend.user = FailingUser()
    with pytest.raises(ExceptionGroup, match=r"^closing the block graph$"):
        await graph.close()
    assert list(graph.nodes) == ["held"]
    backend.user = None
    await backend.remove()


async def test_remove_cancelled_behind_the_claim_node_takes_new_parents(
    graph: BlockGraph, iothreads: list[IOThread]
) -> None:
    node = await graph.add_table({"driver": "memory", "node-name": "node"}, "blockdev[0]")
    await move_nodes(node, iothreads[0].aio_context)
    removing = asyncio.ensure_future(graph.remove(node))
    await asyncio.sleep(0)
    claimed = threading.Event()
    iothreads[0].aio_context.schedule_oneshot(claimed.set)
    claimed.wait()
    removing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await removing
    over = await graph.add_table({"driver": "raw", "file": "node"}, "blockdev[1]")
    assert below(over) is node
    await graph.close()


async def test_remove_node_frees_its_name(graph: BlockGraph) -> None:
    table = {"driver": "null-co", "node-name": "a"}
    await graph.remove(await graph.add_table(table, "blockdev[0]"))
    await graph.add_table(table, "blockdev[0]")
    assert list(graph.nodes) == ["a"]


# ---- devices that are quiet


class QuietUser:
    """A device: how often it has been asked to be quiet."""

    def __init__(self) -> None:
        self.asked = 0

    async def quiesce(self) -> None:
        self.asked += 1

    async def resume(self) -> None:
        self.asked -= 1


async def device(node: BlockNode) -> tuple[BlockBackend, QuietUser]:
    backend = await use(node)
    backend.is_device = True
    backend.user = user = QuietUser()
    return backend, user


async def test_devices_quiet_others_go_on(graph: BlockGraph) -> None:
    node = await graph.add_table({"driver": "memory", "node-name": "disk"}, "blockdev[0]")
    other = await use(node)
    _, user = await device(node)
    async with graph.devices_quiet():
        asked = user.asked
        await other.pread(0, 512)
    assert (asked, user.asked, other.statistics.operations[0]) == (1, 0, 1)


async def test_devices_quiet_one_that_goes_meanwhile_is_left_alone(graph: BlockGraph) -> None:
    node = await graph.add_table({"driver": "memory", "node-name": "disk"}, "blockdev[0]")
    backend, user = await device(node)
    async with graph.devices_quiet():
        await backend.remove()
    assert user.asked == 1
