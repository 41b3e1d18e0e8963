# SPDX-License-Identifier: GPL-2.0-or-later
"""Other options for open nodes: all of them or none, inheritance, children, permissions."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any, ClassVar

import pytest

from asyncemu.block import BlockGraph, BlockNode, move_nodes
from asyncemu.block.driver import BlockDriverOptions, ChildSlot
from asyncemu.block.filter import FilterDriver, FilterOptions
from asyncemu.block.flags import PERM_CONSISTENT_READ, PERM_WRITE, ROLE_IMAGE
from asyncemu.block.reopen import reopen
from asyncemu.block.types import Reopening
from asyncemu.coroutines import start
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext, IOThread
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions
from asyncemu.testing.memory_overlay import MemoryOverlay, MemoryOverlayOptions
from tests.block.drivers import add, memory, use
from tests.block.test_graph_change import is_consistent, picture


class ReopenableOptions(MemoryDiskOptions):
    """Keys of ``reopenable``."""

    speed: int = option(default=1, description="May change.")


class Reopenable(MemoryDisk, name="reopenable"):
    """Notes what it goes through."""

    options_type: ClassVar[type[MemoryDiskOptions]] = ReopenableOptions
    #: Of all, in order.
    calls: list[str] = []  # noqa: RUF012  # emptied by the fixture
    fails = 0

    async def prepare_reopen(self, options: BlockDriverOptions) -> Reopening | None:
        self.calls.append(f"{self.node_name} prepare")
        if self.fails:
            raise OSError(self.fails, "no")
        return _Noting(self)

    async def flush(self) -> None:
        self.calls.append(f"{self.node_name} flush")


class ReopenableOverlayOptions(MemoryOverlayOptions):
    """Keys of ``reopenable-overlay``."""

    speed: int = option(default=1, description="May change.")


class ReopenableOverlay(Reopenable, MemoryOverlay, name="reopenable-overlay"):
    options_type = ReopenableOverlayOptions


class FormatOptions(FilterOptions):
    """Keys of ``format``."""


class Format(FilterDriver[FormatOptions], name="format"):
    """A filter as far as its data go, a format in what it needs."""

    children = (ChildSlot("file", ROLE_IMAGE),)


class SlowToAbort(MemoryDisk, name="slow-to-abort"):
    """Its reopening is not undone at once."""

    options_type = MemoryDiskOptions

    async def open(self) -> int:
        self.aborting, self.may_abort = asyncio.Event(), asyncio.Event()
        return await super().open()

    async def prepare_reopen(self, options: BlockDriverOptions) -> Reopening | None:
        return self

    async def commit(self) -> None:
        """See Reopening."""

    async def abort(self) -> None:
        self.aborting.set()
        await self.may_abort.wait()


class _Noting:
    def __init__(self, driver: Reopenable) -> None:
        self.driver = driver

    async def commit(self) -> None:
        self.driver.calls.append(f"{self.driver.node_name} commit")

    async def abort(self) -> None:
        self.driver.calls.append(f"{self.driver.node_name} abort")


@pytest.fixture(autouse=True)
def calls() -> list[str]:
    Reopenable.calls.clear()
    return Reopenable.calls


def options(node: BlockNode) -> Any:
    return node.driver.options


async def test_reopen_takes_the_new_options(graph: BlockGraph) -> None:
    node = await add(graph, "reopenable", "node")
    await reopen(graph, {node: {"speed": 7, "discard": "unmap", "detect-zeroes": "on"}})
    assert (options(node).speed, node.discards, node.detect_zeroes) == (7, True, "on")


async def test_reopen_options_not_given_take_their_defaults(graph: BlockGraph) -> None:
    node = await add(graph, "reopenable", "node", speed=7, discard="unmap")
    await reopen(graph, {node: {"detect-zeroes": "on"}})
    assert (options(node).speed, node.discards, node.detect_zeroes) == (1, False, "on")


async def test_reopen_keep_options_not_given_stay(graph: BlockGraph) -> None:
    node = await add(graph, "reopenable", "node", speed=7, cache={"no-flush": True})
    await reopen(graph, {node: {"cache": {"direct": True}}}, keep=True)
    assert (options(node).speed, options(node).cache.direct, node.no_flush) == (7, True, True)


async def test_reopen_file_keeps_its_name(context: AioContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is relative to the configuration where it was written, and not twice."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm" / "disk.img").write_bytes(bytes(512))
    graph = BlockGraph(context, Path("vm"))
    node = await add(graph, "file", "node", filename="disk.img")
    await reopen(graph, {node: {"filename": "disk.img", "discard": "unmap"}})
    await reopen(graph, {node: {"read-only": True}}, keep=True)
    assert (options(node).filename, node.discards, node.read_only) == ("vm/disk.img", True, True)
    await graph.close()


async def test_reopen_wrong_option_names_the_place(graph: BlockGraph) -> None:
    node = await add(graph, "reopenable", "node")
    with pytest.raises(ConfigError, match=r"^reopen\.sped: unknown key; did you mean 'speed'\?$"):
        await reopen(graph, {node: {"sped": 1}})


async def test_reopen_option_that_a_driver_cannot_change_is_refused(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "node", size=512)
    with pytest.raises(ConfigError, match=r"^reopen\.size: Cannot change the option 'size'$"):
        await reopen(graph, {node: {"size": 1024}})
    await reopen(graph, {node: {"size": 512, "discard": "unmap"}})
    assert (node.size, node.discards) == (512, True)


async def test_reopen_options_that_cannot_go_together_are_refused(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "node", size=512)
    with pytest.raises(ConfigError, match=r"^reopen\.force-share: force-share=on can only be used with read-only"):
        await reopen(graph, {node: {"size": 512, "force-share": True}})


# ---- read-only


async def test_reopen_read_only_flushes_first(graph: BlockGraph, calls: list[str]) -> None:
    node = await add(graph, "reopenable", "node")
    await node.pwritev(0, Buffers.of(b"x"))
    await reopen(graph, {node: {"read-only": True}})
    assert calls == ["node flush", "node prepare", "node commit"]
    with pytest.raises(BlockError, match="Read-only file system"):
        await node.pwritev(0, Buffers.of(b"x"))
    await reopen(graph, {node: {}})
    await node.pwritev(0, Buffers.of(b"y"))


async def test_reopen_read_only_with_a_writer_is_refused(graph: BlockGraph, calls: list[str]) -> None:
    node = await add(graph, "reopenable", "node")
    backend = await use(node)
    with pytest.raises(ConfigError) as caught:
        await reopen(graph, {node: {"read-only": True}})
    assert caught.value.problem == "Read-only block node 'node' cannot support read-write users"
    assert calls == ["node prepare", "node abort"]
    await backend.pwrite(0, b"x")
    assert (node.read_only, options(node).read_only, memory(node).data[:1]) == (False, False, bytearray(b"x"))
    await backend.remove()


async def test_reopen_writable_while_others_forbid_writes_is_refused(graph: BlockGraph) -> None:
    disk = await add(graph, "memory", "disk")
    top = await add(graph, "format", "top", file="disk", read_only=True)
    reader = await use(disk, "reader", PERM_CONSISTENT_READ, PERM_CONSISTENT_READ)
    with pytest.raises(ConfigError, match="Permission conflict on node 'disk'"):
        await reopen(graph, {top: {}})
    assert (top.read_only, disk.permissions) == (True, PERM_CONSISTENT_READ)
    await reader.remove()
    await reopen(graph, {top: {}})
    assert disk.permissions & PERM_WRITE


# ---- several nodes


async def test_reopen_refused_who_comes_meanwhile_sees_nothing_of_it(graph: BlockGraph) -> None:
    """One node's driver takes its time to abort; the other one is as it was from the first."""
    slow, node = await add(graph, "slow-to-abort", "slow"), await add(graph, "memory", "node")
    assert isinstance(slow.driver, SlowToAbort)
    writer = await use(node, "writer")
    reopening = start(graph.context, reopen(graph, {node: {"read-only": True}, slow: {}}))
    await slow.driver.aborting.wait()
    reader = await use(node, "reader", PERM_CONSISTENT_READ)
    assert (node.read_only, reopening.done()) == (False, False)
    slow.driver.may_abort.set()
    with pytest.raises(ConfigError, match="cannot support read-write users"):
        await reopening
    await writer.remove()
    await reader.remove()


async def test_reopen_several_prepares_from_above_and_commits_from_below(graph: BlockGraph, calls: list[str]) -> None:
    disk = await add(graph, "reopenable", "disk")
    top = await add(graph, "reopenable-overlay", "top", backing="disk")
    await reopen(graph, {disk: {"speed": 2}, top: {"speed": 3}})
    assert calls == ["top prepare", "disk prepare", "disk commit", "top commit"]
    assert (options(disk).speed, options(top).speed) == (2, 3)


async def test_reopen_one_of_several_fails_all_are_as_they_were(graph: BlockGraph, calls: list[str]) -> None:
    disk = await add(graph, "reopenable", "disk")
    top = await add(graph, "reopenable-overlay", "top", backing="disk")
    assert isinstance(disk.driver, Reopenable)
    disk.driver.fails = errno.EIO
    await disk.pwritev(0, Buffers.of(b"x"))
    with pytest.raises(BlockError, match="top: reopen: Input/output error"):
        await reopen(graph, {disk: {"speed": 2, "read-only": True}, top: {"speed": 3}})
    assert calls == ["top prepare", "disk flush", "disk prepare", "top abort"]
    assert (options(disk).speed, options(top).speed, disk.read_only, disk.driver.read_only) == (1, 1, False, False)
    assert is_consistent(graph)


async def test_reopen_nested_children_inherit_what_they_were_not_told(graph: BlockGraph) -> None:
    top = await add(graph, "pass", "top", file={"driver": "memory", "node-name": "disk", "discard": "ignore"})
    disk = graph.nodes["disk"]
    await reopen(graph, {top: {"read-only": True, "discard": "unmap", "cache": {"no-flush": True}}})
    assert (disk.read_only, disk.discards, disk.no_flush) == (True, False, True)
    await reopen(graph, {top: {}})
    assert (disk.read_only, disk.no_flush) == (False, False)


async def test_reopen_children_by_name_inherit_nothing(graph: BlockGraph) -> None:
    disk = await add(graph, "memory", "disk")
    top = await add(graph, "pass", "top", file="disk")
    await reopen(graph, {top: {"read-only": True}})
    assert (top.read_only, disk.read_only) == (True, False)


# ---- children


async def test_reopen_with_another_backing_file_reads_from_that(graph: BlockGraph) -> None:
    await add(graph, "memory", "one")
    other = await add(graph, "memory", "other")
    memory(other).data[:1] = b"o"
    top = await add(graph, "memory-overlay", "top", backing="one")
    await reopen(graph, {top: {"backing": "other"}})
    assert await top.pread(0, 1) == b"o"
    await reopen(graph, {top: {"backing": None}})
    assert await top.pread(0, 1) == b"\0"
    assert picture(graph)["top"] == {}


async def test_reopen_with_another_file_goes_on_there(graph: BlockGraph) -> None:
    await add(graph, "memory", "one")
    other = await add(graph, "memory", "other")
    top = await add(graph, "pass", "top", file="one")
    backend = await use(top)
    await reopen(graph, {top: {"file": "other"}})
    await backend.pwrite(0, b"x")
    assert bytes(memory(other).data[:1]) == b"x"
    await backend.remove()


async def test_reopen_child_that_goes_with_its_last_parent_goes(graph: BlockGraph) -> None:
    await add(graph, "memory", "other")
    top = await add(graph, "memory-overlay", "top", backing={"driver": "memory", "node-name": "base"})
    await reopen(graph, {top: {"backing": "other"}})
    assert picture(graph) == {"other": {}, "top": {"backing": "other"}}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"backing": "nobody"}, r"reopen\.backing: Cannot find device='' nor node-name='nobody'"),
        ({"backing": "above"}, "Making 'above' a backing child of 'top' would create a cycle"),
        ({"backing": {"driver": "memory"}}, r"reopen\.backing: Cannot change the option 'backing'"),
        ({"backing": "locked"}, "Permission conflict on node 'locked'"),
    ],
)
async def test_reopen_child_refused_all_is_as_it_was(graph: BlockGraph, table: dict[str, Any], message: str) -> None:
    await add(graph, "memory", "base")
    locked = await add(graph, "memory", "locked")
    top = await add(graph, "memory-overlay", "top", backing="base")
    await add(graph, "pass", "above", file="top")
    backends = [await use(locked, "writer"), await use(top, "reader", PERM_CONSISTENT_READ, PERM_CONSISTENT_READ)]
    with pytest.raises(ConfigError, match=message):
        await reopen(graph, {top: {"discard": "unmap", **table}})
    assert (picture(graph)["top"], top.discards) == ({"backing": "base"}, False)
    assert is_consistent(graph)
    for backend in backends:
        await backend.remove()


# ---- requests, iothreads, cancellation


async def test_reopen_waits_for_requests_and_holds_those_that_come(graph: BlockGraph) -> None:
    node = await add(graph, "reopenable", "node")
    backend = await use(node)
    memory(node).gate.clear()
    first = start(graph.context, backend.pwrite(0, b"1"))
    reopening = start(graph.context, reopen(graph, {node: {"speed": 2}}))
    second = start(graph.context, backend.pwrite(1, b"2"))
    await asyncio.sleep(0)
    before = reopening.done(), options(node).speed
    memory(node).gate.set()
    for each in (first, reopening, second):
        await each
    assert (before, options(node).speed, bytes(memory(node).data[:2])) == ((False, 1), 2, b"12")
    await backend.remove()


async def test_reopen_cancelled_while_it_drains_changes_nothing(graph: BlockGraph, calls: list[str]) -> None:
    node = await add(graph, "reopenable", "node")
    backend = await use(node)
    memory(node).gate.clear()
    request = start(graph.context, backend.pwrite(0, b"1"))
    reopening = start(graph.context, reopen(graph, {node: {"speed": 2}}))
    reopening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reopening
    memory(node).gate.set()
    await request
    assert (calls, options(node).speed) == ([], 1)
    assert is_consistent(graph)
    await backend.remove()


async def test_reopen_of_nodes_in_several_homes(context: AioContext, iothreads: list[IOThread]) -> None:
    graph = BlockGraph(context)
    one, other = [await add(graph, "reopenable", name) for name in ("one", "other")]
    await move_nodes(one, iothreads[0].aio_context)
    await reopen(graph, {one: {"speed": 2}, other: {"speed": 3}})
    after = options(one).speed, options(other).speed
    backend = await use(other)
    with pytest.raises(ConfigError, match="cannot support read-write users"):
        await reopen(graph, {one: {"read-only": True}, other: {"read-only": True}})
    assert (after, one.read_only, other.read_only) == ((2, 3), False, False)
    assert is_consistent(graph)
    await backend.remove()
    await graph.close()


async def test_reopen_nothing_does_nothing(graph: BlockGraph) -> None:
    await reopen(graph, {})
    assert graph.nodes == {}
