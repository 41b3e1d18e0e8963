# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockBackend: a medium or none, bounds, errors, what it counts, waits, and lets go of."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from asyncemu.block import BlockBackend, BlockGraph, BlockNode
from asyncemu.block.drain import drained
from asyncemu.block.error_policy import ErrorAction, ErrorPolicy
from asyncemu.block.flags import (
    PERM_ALL,
    PERM_CONSISTENT_READ,
    PERM_WRITE,
    PERM_WRITE_UNCHANGED,
    STATUS_ALLOCATED,
    STATUS_DATA,
    STATUS_EOF,
    STATUS_ZERO,
    WRITE_UNCHANGED,
)
from asyncemu.block.statistics import FLUSH, READ, UNMAP, WRITE
from asyncemu.coroutines import start
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext
from asyncemu.memory.buffers import Buffers
from tests.block.drivers import add, memory, use

Request = Callable[[BlockBackend], Awaitable[Any]]

REQUESTS: dict[str, Request] = {
    "preadv": lambda backend: backend.preadv(0, Buffers.of(bytearray(512))),
    "pwritev": lambda backend: backend.pwritev(0, Buffers.of(bytes(512))),
    "write_zeroes": lambda backend: backend.write_zeroes(0, 512),
    "discard": lambda backend: backend.discard(0, 512),
    "flush": lambda backend: backend.flush(),
    "block_status": lambda backend: backend.block_status(0, 512),
    "truncate": lambda backend: backend.truncate(1 << 20),
}

each_request = pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())


async def disk(graph: BlockGraph, **options: Any) -> tuple[BlockBackend, BlockNode]:
    """A BlockBackend over a MemoryDisk."""
    node = await add(graph, "memory", "disk", discard="unmap", **options)
    return await use(node), node


# ---- permissions


@pytest.mark.parametrize("name", ["pwritev", "write_zeroes", "discard", "truncate"])
async def test_request_without_its_permission_raises_eperm(graph: BlockGraph, name: str) -> None:
    backend, node = await disk(graph)
    backend.set_permissions(PERM_CONSISTENT_READ, PERM_ALL)
    with pytest.raises(BlockError, match=r"disk: .* by block device 'dev0', which has no permission") as caught:
        await REQUESTS[name](backend)
    assert (caught.value.errno, backend.in_flight, node.in_flight) == (errno.EPERM, 0, 0)


async def test_write_of_what_is_there_needs_write_unchanged_only(graph: BlockGraph) -> None:
    backend, _ = await disk(graph)
    backend.set_permissions(PERM_WRITE_UNCHANGED, PERM_ALL)
    await backend.pwrite(0, b"\0", WRITE_UNCHANGED)
    with pytest.raises(BlockError, match="no permission 'write'"):
        await backend.pwrite(0, b"x")


async def test_write_past_the_end_without_resize_raises_eperm(graph: BlockGraph) -> None:
    backend, node = await disk(graph, growable=True)
    backend.allow_write_beyond_end = True
    backend.set_permissions(PERM_WRITE, PERM_ALL)
    with pytest.raises(BlockError, match="Operation not permitted"):
        await backend.pwrite(node.size, b"x")


@pytest.mark.parametrize("name", ["pwritev", "write_zeroes", "discard", "truncate"])
async def test_request_of_a_parent_without_its_permission_raises_eperm(graph: BlockGraph, name: str) -> None:
    await add(graph, "memory", "disk", discard="unmap")
    top = await add(graph, "pass", "top", file="disk", discard="unmap")
    with pytest.raises(BlockError, match=r"disk: .* by node 'top', which has no permission") as caught:
        await REQUESTS[name](top)  # type: ignore[arg-type]  # the same methods
    assert (caught.value.errno, top.in_flight) == (errno.EPERM, 0)


# ---- the medium


@each_request
async def test_request_without_medium_raises_enomedium(context: AioContext, request_: Request) -> None:
    backend = BlockBackend("dev0", context)
    with pytest.raises(BlockError, match=r"^dev0: [\w ]+: No medium found$") as caught:
        await request_(backend)
    assert (caught.value.errno, backend.in_flight) == (errno.ENOMEDIUM, 0)


async def test_properties_without_medium_raise_enomedium(context: AioContext) -> None:
    backend = BlockBackend("dev0", context)
    for name in ("node", "size", "read_only"):
        with pytest.raises(BlockError, match="No medium found"):
            getattr(backend, name)


async def test_request_without_medium_in_flight_is_drained(context: AioContext) -> None:
    """QEMU: /block-backend/drain_aio_error: it has failed by the end of the drain."""
    backend = BlockBackend("dev0", context)
    flush = start(context, backend.flush())
    await backend.drain()
    assert flush.done()
    assert isinstance(flush.error, BlockError)


async def test_insert_twice_raises_ebusy(graph: BlockGraph) -> None:
    backend, node = await disk(graph)
    with pytest.raises(BlockError, match="dev0: has disk inserted: Device or resource busy"):
        await backend.insert(node)
    assert len(node.parents) == 1
    await backend.remove()


async def test_insert_of_a_closed_node_is_refused(graph: BlockGraph) -> None:
    backend, node = await disk(graph)
    await backend.remove()
    await graph.remove(node)
    with pytest.raises(BlockError, match="disk: can't be inserted into dev0"):
        await backend.insert(node)
    assert backend.root is None


async def test_insert_refused_leaves_no_medium(graph: BlockGraph) -> None:
    backend, node = await disk(graph)
    other = BlockBackend("other", graph.context, PERM_CONSISTENT_READ, PERM_ALL & ~PERM_WRITE)
    with pytest.raises(ConfigError, match="Permission conflict"):
        await other.insert(node)
    assert (other.root, len(node.parents), node.shared) == (None, 1, PERM_ALL)
    await backend.remove()


async def test_remove_waits_for_requests(graph: BlockGraph) -> None:
    backend, node = await disk(graph)
    memory(node).gate.clear()
    request = start(graph.context, backend.pread(0, 512))
    removing = start(graph.context, backend.remove())
    before = removing.done(), len(node.parents)
    memory(node).gate.set()
    await removing
    assert (before, request.done(), node.parents) == ((False, 1), True, [])
    await backend.remove()


async def test_remove_cancelled_while_it_waits_keeps_the_medium(graph: BlockGraph) -> None:
    backend, node = await disk(graph)
    memory(node).gate.clear()
    request = start(graph.context, backend.pread(0, 512))
    removing = start(graph.context, backend.remove())
    removing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await removing
    memory(node).gate.set()
    await request
    assert backend.node is node
    await backend.remove()


async def test_description_says_whose_it_is(context: AioContext) -> None:
    assert BlockBackend("dev0", context).description == "block device 'dev0'"
    assert BlockBackend("", context).description == "an unnamed block device"


# ---- requests


async def test_data_go_through(graph: BlockGraph) -> None:
    backend, node = await disk(graph, size=4096)
    await backend.pwrite(100, b"data")
    await backend.write_zeroes(101, 1)
    await backend.discard(0, 100)
    await backend.flush()
    assert await backend.pread(99, 6) == b"\0d\0ta\0"
    assert await backend.pread(0, 0) == b""
    assert (backend.size, backend.read_only) == (4096, False)
    assert [method for method, _, _ in memory(node).requests] == [
        "pwritev",
        "write_zeroes",
        "discard",
        "flush",
        "preadv",
    ]
    await backend.remove()


@pytest.mark.parametrize(("offset", "length"), [(4095, 2), (4096, 1), (-1, 1), (1 << 63, 1)])
@pytest.mark.parametrize("method", ["preadv", "pwritev", "write_zeroes", "discard", "block_status"])
async def test_request_past_the_end_raises_eio(graph: BlockGraph, method: str, offset: int, length: int) -> None:
    backend, node = await disk(graph, size=4096)
    what = Buffers.of(bytearray(length)) if method in ("preadv", "pwritev") else length
    with pytest.raises(BlockError, match="past the end of 4096 bytes: Input/output error"):
        await getattr(backend, method)(offset, what)
    assert (memory(node).requests, backend.in_flight) == ([], 0)
    await backend.remove()


async def test_write_past_the_end_that_is_allowed_grows(graph: BlockGraph) -> None:
    backend, node = await disk(graph, size=512, growable=True)
    backend.allow_write_beyond_end = True
    await backend.pwrite(1000, b"far")
    await backend.write_zeroes(1003, 5)
    assert (backend.size, bytes(memory(node).data[1000:])) == (1008, b"far" + bytes(5))
    await backend.remove()


async def test_truncate_tells_the_device(graph: BlockGraph) -> None:
    backend, _ = await disk(graph, size=512)
    sizes: list[int] = []
    backend.on_resize = lambda: sizes.append(backend.size)
    await backend.truncate(1024)
    await backend.truncate(1024)
    await backend.truncate(100)
    assert sizes == [1024, 100]
    await backend.remove()


async def test_block_status_is_of_the_whole_chain(graph: BlockGraph) -> None:
    await add(graph, "memory-overlay", "base", size=1024)
    top = await add(graph, "memory-overlay", "top", backing="base", size=2048)
    await graph.nodes["base"].pwritev(0, Buffers.of(b"x" * 512))
    backend = await use(top)
    found = [await backend.block_status(offset, 2048 - offset) for offset in (0, 512, 1024)]
    assert [
        (status.flags & (STATUS_DATA | STATUS_ZERO | STATUS_ALLOCATED | STATUS_EOF), status.length) for status in found
    ] == [
        (STATUS_DATA | STATUS_ALLOCATED, 512),
        (STATUS_ZERO, 512),
        (STATUS_ZERO | STATUS_ALLOCATED | STATUS_EOF, 1024),
    ]
    await backend.remove()


@each_request
async def test_request_of_a_failing_driver_ends_and_counts_no_more(graph: BlockGraph, request_: Request) -> None:
    node = await add(graph, "memory-overlay", "disk", discard="unmap")
    backend = await use(node)
    await backend.pwrite(0, b"x")
    memory(node).errors.update(dict.fromkeys([*REQUESTS], errno.EIO))
    with pytest.raises(BlockError, match="Input/output error"):
        await request_(backend)
    assert (backend.in_flight, node.in_flight, node.tracked.in_order) == (0, 0, {})
    memory(node).errors.clear()
    await backend.remove()


@each_request
async def test_request_cancelled_ends_and_counts_no_more(graph: BlockGraph, request_: Request) -> None:
    node = await add(graph, "memory-overlay", "disk", discard="unmap")
    backend = await use(node)
    await backend.pwrite(0, b"x")
    memory(node).gate.clear()

    async def run() -> None:
        await request_(backend)

    running = start(graph.context, run())
    in_flight = backend.in_flight, node.in_flight > 0
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert in_flight == (1, True)
    assert (backend.in_flight, node.in_flight, node.tracked.in_order, node.flushing) == (0, 0, {}, None)
    memory(node).gate.set()
    await backend.remove()


@each_request
async def test_request_that_comes_in_a_drained_section_waits(graph: BlockGraph, request_: Request) -> None:
    backend, node = await disk(graph)
    await backend.pwrite(0, b"x")

    async def run() -> None:
        await request_(backend)

    async with drained(node):
        running = start(graph.context, run())
        await asyncio.sleep(0)
        inside = running.done(), len(memory(node).requests)
    await running
    assert inside == (False, 1)
    await backend.remove()


# ---- what it counts


async def test_statistics_by_kind(graph: BlockGraph) -> None:
    backend, node = await disk(graph, size=4096)
    await backend.pwrite(0, b"x" * 100)
    await backend.write_zeroes(0, 50)
    await backend.pread(0, 10)
    await backend.discard(0, 512)
    await backend.flush()
    memory(node).errors["preadv"] = errno.EIO
    with pytest.raises(BlockError):
        await backend.pread(0, 1)
    with pytest.raises(BlockError):
        await backend.pwrite(4096, b"x")
    statistics = backend.statistics
    assert [statistics.operations[kind] for kind in (READ, WRITE, FLUSH, UNMAP)] == [1, 2, 1, 1]
    assert [statistics.bytes[kind] for kind in (READ, WRITE, FLUSH, UNMAP)] == [10, 150, 0, 512]
    assert [statistics.failed_operations[kind] for kind in (READ, WRITE, FLUSH, UNMAP)] == [1, 0, 0, 0]
    assert [statistics.invalid_operations[kind] for kind in (READ, WRITE, FLUSH, UNMAP)] == [0, 1, 0, 0]
    await backend.remove()


async def test_error_action_is_the_policys(context: AioContext) -> None:
    backend = BlockBackend("dev0", context)
    backend.policy = ErrorPolicy("ignore", "stop")
    error = BlockError("disk", errno.EIO)
    assert (backend.error_action(True, error), backend.error_action(False, error)) == (
        ErrorAction.IGNORE,
        ErrorAction.STOP,
    )


# ---- copies between two


async def test_copy_range_waits_while_the_target_is_drained(graph: BlockGraph) -> None:
    source, node = await disk(graph, size=4096)
    target = await use(await add(graph, "memory", "target"), "dev1")
    async with drained(target.node):
        copying = start(graph.context, source.copy_range(0, target, 0, 512))
        await asyncio.sleep(0)
        # In flight nowhere: who drains both must not wait for it.
        inside = copying.done(), source.in_flight, target.in_flight
    with pytest.raises(BlockError, match="Operation not supported"):
        await copying
    assert (inside, source.in_flight, target.in_flight, node.in_flight) == ((False, 0, 0), 0, 0, 0)
    await source.remove()
    await target.remove()
