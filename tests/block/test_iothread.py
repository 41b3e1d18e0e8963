# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes whose home is an iothread, used from the main context. QEMU: test-block-iothread.c."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockBackend, BlockGraph, BlockNode, move_nodes
from asyncemu.block.filter import FilterDriver
from asyncemu.block.flags import STATUS_DATA, WRITE_COMPRESSED
from asyncemu.block.homes import at_home
from asyncemu.block.types import CheckResult, Repair
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext, IOThread
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions
from tests.block.drivers import PassOptions, add, memory, use

SIZE = 4096


class Everything(MemoryDisk, name="everything"):
    """Does what an image format does, too."""

    options_type = MemoryDiskOptions

    async def pwritev_compressed(self, offset: int, buffers: Buffers) -> None:
        self.requests.append(("compressed", offset, buffers.nbytes))
        self._store(offset, buffers.tobytes())

    async def check(self, repair: Repair, progress: Callable[[int, int], None]) -> CheckResult:
        return CheckResult(total_clusters=7)

    async def save_vmstate(self, offset: int, buffers: Buffers) -> None:
        self.state = buffers.tobytes()

    async def load_vmstate(self, offset: int, buffers: Buffers) -> None:
        buffers.write(self.state)


@pytest.fixture
async def graph(context: AioContext, iothreads: list[IOThread], tmp_path: Path) -> AsyncIterator[BlockGraph]:
    """Closed before the iothreads stop."""
    graph = BlockGraph(context, tmp_path)
    yield graph
    await graph.close()


@pytest.fixture
async def backend(graph: BlockGraph, iothreads: list[IOThread]) -> AsyncIterator[BlockBackend]:
    """Over ``disk``, both in io0."""
    node = await add(graph, "everything", "disk", size=SIZE, discard="unmap")
    await move_nodes(node, iothreads[0].aio_context)
    backend = await use(node)
    yield backend
    await at_home(backend, backend.remove)


# ---- every request from the main context (QEMU: /sync-op)


def reads(backend: BlockBackend, offset: int) -> Coroutine[Any, Any, Any]:
    return backend.preadv(offset, Buffers.of(bytearray(512)))


def writes(backend: BlockBackend, offset: int) -> Coroutine[Any, Any, Any]:
    return backend.pwritev(offset, Buffers.of(bytes(512)))


REQUESTS: dict[str, Callable[[BlockBackend, int], Coroutine[Any, Any, Any]]] = {
    "pread": lambda backend, offset: backend.pread(offset, 512),
    "preadv": reads,
    "preadv_part": lambda backend, offset: backend.preadv(offset, Buffers.of(bytearray(600)).slice(50, 512)),
    "pwrite": lambda backend, offset: backend.pwrite(offset, bytes(512)),
    "pwritev": writes,
    "pwritev_part": lambda backend, offset: backend.pwritev(offset, Buffers.of(bytes(600)).slice(50, 512)),
    "pwrite_compressed": lambda backend, offset: backend.pwrite(offset, bytes(512), WRITE_COMPRESSED),
    "pwrite_zeroes": lambda backend, offset: backend.write_zeroes(offset, 512),
    "pdiscard": lambda backend, offset: backend.discard(offset, 512),
    "block_status": lambda backend, offset: backend.block_status(offset, 512),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
async def test_request_within_the_disk_succeeds_and_past_its_end_fails(
    backend: BlockBackend, request_: Callable[[BlockBackend, int], Coroutine[Any, Any, Any]]
) -> None:
    await at_home(backend, lambda: request_(backend, 0))
    for offset in (-1, SIZE, SIZE - 511):
        with pytest.raises(BlockError) as caught:
            await at_home(backend, lambda offset=offset: request_(backend, offset))  # type: ignore[misc]
        assert caught.value.errno == errno.EIO


async def test_flush_and_truncate_succeed(backend: BlockBackend) -> None:
    await at_home(backend, lambda: backend.pwrite(0, b"x"))
    await at_home(backend, backend.flush)
    await at_home(backend, lambda: backend.truncate(SIZE * 2))
    assert (backend.size, memory(backend.node).requests[-2:]) == (SIZE * 2, [("flush", 0, 0), ("truncate", 0, 0)])


async def test_truncate_of_a_failing_driver_fails(backend: BlockBackend) -> None:
    memory(backend.node).errors["truncate"] = errno.EINVAL
    with pytest.raises(BlockError, match="disk: truncate to 1 bytes: Invalid argument"):
        await at_home(backend, lambda: backend.truncate(1))
    assert backend.size == SIZE


async def test_block_status_tells_data(backend: BlockBackend) -> None:
    status = await at_home(backend, lambda: backend.block_status(0, SIZE))
    assert (status.flags & STATUS_DATA, status.length) == (STATUS_DATA, SIZE)


async def test_vmstate_is_saved_and_loaded(backend: BlockBackend) -> None:
    driver = backend.node.driver
    await at_home(backend, lambda: driver.save_vmstate(0, Buffers.of(b"state")))
    data = bytearray(5)
    await at_home(backend, lambda: driver.load_vmstate(0, Buffers.of(data)))
    assert data == b"state"


async def test_check_answers(backend: BlockBackend) -> None:
    driver = backend.node.driver
    result = await at_home(backend, lambda: driver.check("", lambda done, total: None))
    assert result.total_clusters == 7


async def test_request_from_the_wrong_thread_is_found(backend: BlockBackend, expected_violations: list[str]) -> None:
    with pytest.raises(AssertionError, match="belongs to <AioContext io0>"):
        await backend.pread(0, 1)
    assert expected_violations


# ---- who lives where (QEMU: /attach, /propagate)


def homes(*things: BlockNode | BlockBackend) -> set[AioContext]:
    return {each.context for each in things}


async def test_second_node_over_one_in_an_iothread_lives_there(graph: BlockGraph, backend: BlockBackend) -> None:
    over = await add(graph, "pass", "over", file="disk")
    assert homes(over, backend.node) == {backend.context}
    other = await use(over, "other")
    await at_home(over, other.remove)


async def test_backend_stays_where_it_is_without_a_node(
    graph: BlockGraph, backend: BlockBackend, iothreads: list[IOThread]
) -> None:
    home, node = backend.context, backend.node
    await at_home(backend, backend.remove)
    await move_nodes(node, iothreads[1].aio_context)
    assert (backend.context, node.context) == (home, iothreads[1].aio_context)
    with pytest.raises(BlockError, match="disk: lives in io1, dev0 in io0"):
        await at_home(backend, lambda: backend.insert(node))


async def test_move_takes_a_chain(graph: BlockGraph, iothreads: list[IOThread]) -> None:
    for index in range(3):
        await add(graph, "memory-overlay", f"layer{index}", **({"backing": f"layer{index - 1}"} if index else {}))
    home = iothreads[0].aio_context
    await move_nodes(graph.nodes["layer1"], home)
    assert homes(*graph.nodes.values()) == {home}


async def test_move_takes_a_diamond(graph: BlockGraph, iothreads: list[IOThread]) -> None:
    await add(graph, "memory", "base")
    await add(graph, "pass", "left", file="base")
    await add(graph, "pass", "right", file="base")
    await add(graph, "twice", "top", first="left", second="right")
    home = iothreads[0].aio_context
    for name in ("top", "base", "right"):
        await move_nodes(graph.nodes[name], home)
        assert homes(*graph.nodes.values()) == {home}
        home = graph.context if home is not graph.context else iothreads[1].aio_context


async def test_move_leaves_what_is_not_connected(graph: BlockGraph, iothreads: list[IOThread]) -> None:
    one, other = await add(graph, "memory", "one"), await add(graph, "memory", "other")
    await move_nodes(one, iothreads[0].aio_context)
    assert (one.context, other.context) == (iothreads[0].aio_context, graph.context)


class Fussy(MemoryDisk, name="fussy"):
    """Notes its moves, and can't live in io1."""

    options_type = MemoryDiskOptions
    moves: list[str] = []  # noqa: RUF012  # of all; emptied by each test

    async def detach_context(self) -> None:
        assert self.context.in_home()
        self.moves.append(f"{self.node_name} leaves {self.context.name}")

    async def attach_context(self) -> None:
        assert self.context.in_home()
        if self.context.name == "io1" and self.node_name == "top":
            raise OSError(errno.ENOSYS, "no")
        self.moves.append(f"{self.node_name} arrives in {self.context.name}")


class FussyFilter(FilterDriver[PassOptions], name="fussy-filter"):
    """Notes its moves, too."""

    async def detach_context(self) -> None:
        Fussy.moves.append(f"{self.node_name} leaves {self.context.name}")

    async def attach_context(self) -> None:
        Fussy.moves.append(f"{self.node_name} arrives in {self.context.name}")


async def test_move_users_leave_first_and_arrive_last(graph: BlockGraph, iothreads: list[IOThread]) -> None:
    Fussy.moves.clear()
    await add(graph, "fussy", "base")
    await add(graph, "fussy-filter", "filter", file="base")
    await move_nodes(graph.nodes["base"], iothreads[0].aio_context)
    assert Fussy.moves == ["filter leaves test", "base leaves test", "base arrives in io0", "filter arrives in io0"]


async def test_move_refused_by_one_of_two_all_are_as_they_were(graph: BlockGraph, iothreads: list[IOThread]) -> None:
    Fussy.moves.clear()
    base, top = await add(graph, "fussy", "base"), await add(graph, "fussy", "top")
    both = await add(graph, "write-to-selected", "both", first="base", second="top")
    backend = await use(both)
    with pytest.raises(BlockError, match="both: can't be moved to io1: Function not implemented"):
        await move_nodes(both, iothreads[1].aio_context, [backend])
    assert homes(base, top, both, backend) == {graph.context}
    assert Fussy.moves.count("base leaves test") == Fussy.moves.count("base arrives in test") == 1
    assert (backend.quiesced, base.sections, top.sections, both.sections) == (0, [], [], [])
    await backend.pwrite(0, b"x")
    await backend.remove()
