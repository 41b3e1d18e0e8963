# SPDX-License-Identifier: GPL-2.0-or-later
"""Block nodes that move to another context, and drained sections."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncemu.block import BlockBackend, BlockGraph, BlockNode, drained, move_nodes
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext, IOThread
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions
from tests.block.conftest import IMAGE_SIZE, needs_io_uring


class User:
    """Notes when it is to be quiet."""

    def __init__(self, id: str, calls: list[str]) -> None:
        self.id = id
        self.calls = calls

    async def quiesce(self) -> None:
        self.calls.append(f"{self.id} quiet")

    async def resume(self) -> None:
        self.calls.append(f"{self.id} resumed")


async def use(node: BlockNode, id: str, calls: list[str]) -> BlockBackend:
    backend = BlockBackend(id, node.context)
    backend.user = User(id, calls)
    await backend.insert(node)
    return backend


class Clumsy(MemoryDisk):
    """Can't work where it has not been opened."""

    async def open(self) -> int:
        self.home = self.context
        return await super().open()

    async def attach_context(self) -> None:
        if self.context is not self.home:
            raise OSError(errno.ENOSYS, "no such thing here")


@pytest.fixture
async def graph(context: AioContext, iothreads: list[IOThread], tmp_path: Path) -> AsyncIterator[BlockGraph]:
    """Closed before the iothreads stop."""
    graph = BlockGraph(context, tmp_path)
    yield graph
    await graph.close()


async def chain(graph: BlockGraph, image: Path, **file: str) -> tuple[BlockNode, BlockNode]:
    """raw over file."""
    below = {"node-name": "below", "driver": "file", "filename": str(image), **file}
    top = await graph.add_table({"node-name": "top", "driver": "raw", "file": below}, "blockdev[0]")
    return top, graph.nodes["below"]


async def read(node: BlockNode, offset: int, length: int) -> bytes:
    data = bytearray(length)

    async def there() -> None:
        await node.preadv(offset, Buffers([memoryview(data)]))

    await node.context.call(there)
    return bytes(data)


@pytest.mark.parametrize("aio", ["threads", pytest.param("io_uring", marks=needs_io_uring)])
async def test_move_takes_all_that_is_connected(
    graph: BlockGraph, image: Path, iothreads: list[IOThread], aio: str
) -> None:
    top, below = await chain(graph, image, aio=aio)
    home = iothreads[0].aio_context

    await move_nodes(below, home)

    assert (top.context, below.context, below.driver.context) == (home, home, home)
    assert await read(top, 512, 512) == image.read_bytes()[512:1024]


@needs_io_uring
async def test_move_there_and_back_direct_io_still_reads(
    graph: BlockGraph, image: Path, iothreads: list[IOThread]
) -> None:
    try:
        top, _ = await chain(graph, image, aio="io_uring", cache={"direct": True})  # type: ignore[arg-type]
    except ConfigError as error:
        pytest.skip(str(error))
    for context in (iothreads[0].aio_context, iothreads[1].aio_context, graph.context):
        await move_nodes(top, context)
        assert await read(top, 0, IMAGE_SIZE) == image.read_bytes()


async def test_move_fails_all_is_as_it_was(graph: BlockGraph, iothreads: list[IOThread]) -> None:
    clumsy = await graph.add(Clumsy, MemoryDiskOptions(), "clumsy")
    top = await graph.add_table({"node-name": "top", "driver": "raw", "file": "clumsy"}, "blockdev[1]")

    with pytest.raises(BlockError, match="top: can't be moved to io0: Function not implemented"):
        await move_nodes(top, iothreads[0].aio_context)

    assert (top.context, clumsy.context, clumsy.driver.context) == (graph.context,) * 3
    assert await read(top, 0, 512) == bytes(512)


async def test_move_backend_elsewhere_is_refused_the_mover_goes_along(
    graph: BlockGraph, iothreads: list[IOThread]
) -> None:
    node = await graph.add(MemoryDisk, MemoryDiskOptions(), "disk0")
    mover, other = await use(node, "mover", []), await use(node, "other", [])
    home = iothreads[0].aio_context

    with pytest.raises(BlockError, match="disk0: is used by block device 'other' in test, not moved: Device or resour"):
        await move_nodes(node, home, [mover])

    await other.remove()
    await move_nodes(node, home, [mover])
    assert (node.context, mover.context) == (home, home)
    await home.call(mover.remove)


async def test_backend_of_another_context_is_refused(graph: BlockGraph, iothreads: list[IOThread]) -> None:
    node = await graph.add(MemoryDisk, MemoryDiskOptions(), "disk0")
    home = iothreads[0].aio_context
    backend = BlockBackend("dev0", home)

    with pytest.raises(BlockError, match="disk0: lives in test, dev0 in io0: Device or resource busy"):
        await home.call(lambda: backend.insert(node))


async def test_node_over_one_in_an_iothread_lives_there(graph: BlockGraph, iothreads: list[IOThread]) -> None:
    below = await graph.add(MemoryDisk, MemoryDiskOptions(), "below")
    await move_nodes(below, iothreads[0].aio_context)

    top = await graph.add_table({"node-name": "top", "driver": "raw", "file": "below"}, "blockdev[1]")

    assert top.context is iothreads[0].aio_context
    assert await read(top, 0, 512) == bytes(512)


async def test_drained_asks_users_of_all_that_is_over_the_node(graph: BlockGraph) -> None:
    calls: list[str] = []
    below = await graph.add(MemoryDisk, MemoryDiskOptions(), "below")
    top = await graph.add_table({"node-name": "top", "driver": "raw", "file": "below"}, "blockdev[1]")
    export, device = await use(below, "export", calls), await use(top, "device", calls)

    async with drained(below):
        inside = list(calls)

    assert inside == ["device quiet", "export quiet"]
    assert calls[2:] == ["export resumed", "device resumed"]
    await export.remove()
    await device.remove()


async def test_drained_leaves_those_below_alone(graph: BlockGraph) -> None:
    calls: list[str] = []
    below = await graph.add(MemoryDisk, MemoryDiskOptions(), "below")
    top = await graph.add_table({"node-name": "top", "driver": "raw", "file": "below"}, "blockdev[1]")
    export = await use(below, "export", calls)

    async with drained(top):
        pass

    assert calls == []
    await export.remove()
