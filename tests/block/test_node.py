# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockNode over a MemoryDisk: bounds, alignment, fallbacks, overlap, drain, close."""

from __future__ import annotations

import asyncio
import errno
import mmap
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.driver import BlockDriver, BlockDriverOptions
from asyncemu.block.flags import FUA, NO_FALLBACK, NO_WAIT, SERIALISING, WRITE_COMPRESSED
from asyncemu.coroutines import start
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.memory_disk import MemoryDisk


async def memory(graph: BlockGraph, **options: Any) -> tuple[BlockNode, MemoryDisk]:
    table = {key.replace("_", "-"): value for key, value in options.items()}
    node = await graph.add_table({"driver": "memory", "node-name": "disk", **table}, "blockdev[0]")
    assert isinstance(node.driver, MemoryDisk)
    return node, node.driver


async def read(node: BlockNode, offset: int, length: int) -> bytes:
    buffer = bytearray(b"?" * length)
    await node.preadv(offset, Buffers.of(buffer))
    return bytes(buffer)


# ---- bounds


@pytest.mark.parametrize("method", ["preadv", "pwritev", "discard", "write_zeroes"])
async def test_request_before_the_start_raises_einval(graph: BlockGraph, method: str) -> None:
    node, disk = await memory(graph, size=4096)
    what = Buffers.of(bytearray(1)) if method in ("preadv", "pwritev") else 1
    with pytest.raises(BlockError, match=r"disk: \w+( \w+)? of 1 bytes at -1: Invalid argument"):
        await getattr(node, method)(-1, what)
    assert disk.requests == []


async def test_read_past_the_end_gives_zeroes(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=4096)
    disk.data[:] = b"d" * 4096
    assert await read(node, 4000, 200) == b"d" * 96 + bytes(104)
    assert await read(node, 1 << 64, 3) == bytes(3)
    assert disk.requests == [("preadv", 4000, 96)]


async def test_write_past_the_end_of_a_driver_that_cannot_grow_raises_enospc(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=4096)
    with pytest.raises(BlockError, match="disk: write of 2 bytes at 4095, size 4096: No space left on device"):
        await node.pwritev(4095, Buffers.of(b"xx"))
    assert disk.requests == []


@pytest.mark.parametrize(
    ("method", "length", "number"),
    [
        ("discard", 10, errno.EINVAL),
        ("discard", -1, errno.EINVAL),
        ("write_zeroes", -1, errno.EINVAL),
        ("write_zeroes", 10, errno.ENOSPC),
    ],
)
async def test_range_request_out_of_bounds_raises(graph: BlockGraph, method: str, length: int, number: int) -> None:
    node, disk = await memory(graph, size=4096, discard="unmap")
    with pytest.raises(BlockError) as caught:
        await getattr(node, method)(4090, length)
    assert (caught.value.errno, disk.requests) == (number, [])


async def test_read_nothing_at_the_end_succeeds(graph: BlockGraph) -> None:
    node, _ = await memory(graph, size=4096)
    assert await read(node, 4096, 0) == b""


async def test_write_read_only_node_raises_erofs(graph: BlockGraph) -> None:
    node, _ = await memory(graph, read_only=True)
    with pytest.raises(BlockError, match="disk: write of 1 bytes at 0: Read-only") as caught:
        await node.pwritev(0, Buffers.of(b"x"))
    assert caught.value.errno == errno.EROFS


async def test_driver_without_pwritev_makes_read_only_node(context: AioContext) -> None:
    class ReadOnly(BlockDriver[BlockDriverOptions]):
        pass

    assert BlockNode(ReadOnly(BlockDriverOptions(), "ro", context)).read_only


# ---- errors


async def test_read_failing_driver_raises_block_error_with_node_name(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    disk.errors["preadv"] = errno.EIO
    with pytest.raises(BlockError, match=r"^disk: read of 512 bytes at 1024: Input/output error$") as caught:
        await read(node, 1024, 512)
    assert (caught.value.errno, node.in_flight) == (errno.EIO, 0)


async def test_flush_failing_driver_raises_block_error(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    disk.errors["flush"] = errno.ENOSPC
    await node.pwritev(0, Buffers.of(b"x"))
    with pytest.raises(BlockError, match=r"^disk: flush: No space left on device$"):
        await node.flush()
    disk.errors.clear()


# ---- alignment


async def test_read_unaligned_asks_for_whole_blocks(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=4096, request_alignment=512)
    disk.data[500:530] = bytes(range(30))
    assert await read(node, 500, 30) == bytes(range(30))
    assert disk.requests == [("preadv", 0, 1024)]


async def test_write_unaligned_reads_only_the_edges(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=8192, request_alignment=512)
    disk.data[:] = b"o" * 8192
    await node.pwritev(100, Buffers.of(b"n" * 3000))
    assert disk.data == b"o" * 100 + b"n" * 3000 + b"o" * 5092
    assert disk.requests == [("preadv", 0, 512), ("preadv", 3072, 512), ("pwritev", 0, 3584)]


async def test_write_within_one_block_reads_it_once(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=4096, request_alignment=512)
    await node.pwritev(1030, Buffers.of(b"abc"))
    assert disk.requests == [("preadv", 1024, 512), ("pwritev", 1024, 512)]
    assert disk.data[1028:1036] == b"\0\0abc\0\0\0"


async def test_read_tail_of_odd_size_gives_the_last_bytes(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=1000, request_alignment=512)
    disk.data[:] = b"t" * 1000
    assert await read(node, 990, 10) == b"t" * 10


async def test_write_tail_of_odd_size_keeps_the_size(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=1000, request_alignment=512)
    await node.pwritev(990, Buffers.of(b"w" * 10))
    assert disk.data == bytes(990) + b"w" * 10


async def test_large_unaligned_request_goes_in_pieces(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=4 << 20, request_alignment=512)
    data = bytes(range(251)) * 12_000
    await node.pwritev(7, Buffers.of(data))
    assert await read(node, 7, len(data)) == data
    assert max(length for _, _, length in disk.requests) == 1 << 20


async def test_buffers_unaligned_in_memory_are_bounced(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=8192, request_alignment=512, memory_alignment=512)
    ram = memoryview(mmap.mmap(-1, 8192))
    ram[1:1025] = b"m" * 1024
    await node.pwritev(512, Buffers([ram[1:101], ram[101:1025]]))
    assert disk.data[512:1536] == b"m" * 1024
    assert disk.requests == [("pwritev", 512, 1024)]


async def test_buffers_aligned_in_memory_go_straight_to_the_driver(
    graph: BlockGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, disk = await memory(graph, size=8192, request_alignment=512, memory_alignment=512)
    seen: list[Buffers] = []

    async def preadv(offset: int, buffers: Buffers) -> None:
        seen.append(buffers)

    monkeypatch.setattr(disk, "preadv", preadv)
    buffers = Buffers([memoryview(mmap.mmap(-1, 4096))])
    await node.preadv(512, buffers)
    assert seen[0] is buffers


# ---- discard and write zeroes


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 4096, [("discard", 0, 4096)]),
        (1, 1600, [("discard", 512, 1024)]),
        (1, 600, []),
        (513, 510, []),
        (3900, 100, []),
    ],
)
async def test_discard_spares_the_edges(
    graph: BlockGraph, offset: int, length: int, expected: list[tuple[str, int, int]]
) -> None:
    node, disk = await memory(graph, size=4096, request_alignment=512, discard="unmap")
    await node.discard(offset, length)
    assert disk.requests == expected


async def test_write_zeroes_unaligned_splits_off_the_edges(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=4096, request_alignment=512)
    disk.data[:] = b"x" * 4096
    await node.write_zeroes(100, 2000)
    assert disk.data == b"x" * 100 + bytes(2000) + b"x" * 1996
    assert ("write_zeroes", 512, 1536) in disk.requests


async def test_write_zeroes_unsupported_now_writes_zeroes_in_pieces(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=3 << 20)
    disk.data[:] = b"x" * (3 << 20)
    disk.errors["write_zeroes"] = errno.EOPNOTSUPP
    await node.write_zeroes(10, (3 << 20) - 20)
    assert disk.data == b"x" * 10 + bytes((3 << 20) - 20) + b"x" * 10
    assert [length for method, _, length in disk.requests if method == "pwritev"] == [1 << 20, 1 << 20, (1 << 20) - 20]


async def test_write_zeroes_failing_driver_does_not_fall_back(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=4096)
    disk.errors["write_zeroes"] = errno.EIO
    with pytest.raises(BlockError, match="disk: write zeroes of 4096 bytes at 0: Input/output error"):
        await node.write_zeroes(0, 4096)
    assert [method for method, _, _ in disk.requests] == ["write_zeroes"]


async def test_write_zeroes_method_not_defined_writes_zeroes(
    graph: BlockGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryDisk, "write_zeroes", BlockDriver.write_zeroes)
    node, disk = await memory(graph, size=4096, request_alignment=512, memory_alignment=512)
    disk.data[:] = b"x" * 4096
    await node.write_zeroes(1000, 2000)
    assert disk.data == b"x" * 1000 + bytes(2000) + b"x" * 1096


# ---- overlap


async def test_neighbours_in_one_block_at_the_same_time_both_arrive(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=4096, request_alignment=512)
    disk.gate.clear()
    writes = [start(node.context, node.pwritev(index * 16, Buffers.of(bytes([index]) * 16))) for index in range(32)]
    disk.gate.set()
    for write in writes:
        await write
    assert disk.data[:512] == b"".join(bytes([index]) * 16 for index in range(32))


async def test_aligned_write_waits_for_a_modifying_one_in_its_block(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=4096, request_alignment=512)
    disk.gate.clear()
    small = start(node.context, node.pwritev(0, Buffers.of(b"s")))
    large = start(node.context, node.pwritev(0, Buffers.of(b"L" * 1024)))
    assert disk.requests == [("preadv", 0, 512)]
    disk.gate.set()
    await small
    await large
    assert disk.data[:1024] == b"L" * 1024


async def test_aligned_writes_run_side_by_side(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=4096, request_alignment=512)
    disk.gate.clear()
    writes = [start(node.context, node.pwritev(0, Buffers.of(b"a" * 512))) for _ in range(2)]
    assert disk.requests == [("pwritev", 0, 512)] * 2
    disk.gate.set()
    for write in writes:
        await write


async def test_cancelled_modifying_write_lets_the_next_one_pass(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=4096, request_alignment=512)
    disk.gate.clear()
    first = start(node.context, node.pwritev(0, Buffers.of(b"1")))
    second = start(node.context, node.pwritev(1, Buffers.of(b"2")))
    first.cancel()
    disk.gate.set()
    await second
    assert disk.data[:2] == b"\0002"


# ---- in flight, drain, close


async def test_drain_waits_for_all_requests(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    disk.gate.clear()
    requests = [start(node.context, node.preadv(0, Buffers.of(bytearray(1)))) for _ in range(3)]
    drains = [start(node.context, node.drain()) for _ in range(2)]
    assert (node.in_flight, [drain.done() for drain in drains]) == (3, [False, False])
    disk.gate.set()
    for drain in drains:
        await drain
    assert (node.in_flight, [request.done() for request in requests]) == (0, [True] * 3)


async def test_drain_cancelled_leaves_other_drainers_waiting(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    disk.gate.clear()
    request = start(node.context, node.preadv(0, Buffers.of(bytearray(1))))
    one, other = start(node.context, node.drain()), start(node.context, node.drain())
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    assert not other.done()
    disk.gate.set()
    await other
    assert request.done()


async def test_close_drains_then_flushes_then_closes(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    disk.gate.clear()
    write = start(node.context, node.pwritev(0, Buffers.of(b"w")))
    closing = start(node.context, node.close())
    assert disk.requests == [("pwritev", 0, 1)]
    disk.gate.set()
    await closing
    assert write.done()
    assert (disk.requests, disk.closed) == ([("pwritev", 0, 1), ("flush", 0, 0)], True)


async def test_close_failing_flush_closes_the_driver_and_raises(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    await node.pwritev(0, Buffers.of(b"x"))
    disk.errors["flush"] = errno.EIO
    with pytest.raises(BlockError, match="disk: flush"):
        await node.close()
    assert disk.closed


@pytest.mark.parametrize("method", ["flush", "preadv"])
async def test_request_after_close_raises_block_error(graph: BlockGraph, method: str) -> None:
    node, _ = await memory(graph)
    await node.close()
    requests: dict[str, Callable[[], Awaitable[None]]] = {
        "flush": node.flush,
        "preadv": partial(node.preadv, 0, Buffers()),
    }
    with pytest.raises(BlockError) as caught:
        await requests[method]()
    assert caught.value.errno == errno.ESHUTDOWN


# ---- flush


async def test_flush_without_writes_since_the_last_one_asks_nobody(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    await node.pwritev(0, Buffers.of(b"x"))
    await node.flush()
    await node.flush()
    assert [method for method, _, _ in disk.requests] == ["pwritev", "flush"]


async def test_flush_failed_the_next_one_does_it_again(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    await node.pwritev(0, Buffers.of(b"x"))
    disk.errors["flush"] = errno.EIO
    with pytest.raises(BlockError):
        await node.flush()
    del disk.errors["flush"]
    await node.flush()
    assert [method for method, _, _ in disk.requests] == ["pwritev", "flush", "flush"]


async def test_flushes_at_once_go_one_after_the_other(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    await node.pwritev(0, Buffers.of(b"x"))
    disk.gate.clear()
    flushes = [start(node.context, node.flush()) for _ in range(3)]
    assert [method for method, _, _ in disk.requests] == ["pwritev", "flush"]
    disk.gate.set()
    for flush in flushes:
        await flush
    assert [method for method, _, _ in disk.requests] == ["pwritev", "flush"]


async def test_write_with_fua_driver_without_it_flushes(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    await node.pwritev(0, Buffers.of(b"x"), FUA)
    await node.write_zeroes(0, 10, FUA)
    assert [method for method, _, _ in disk.requests] == ["pwritev", "flush", "write_zeroes", "flush"]


async def test_no_flush_asks_nobody(graph: BlockGraph) -> None:
    node, disk = await memory(graph, cache={"no-flush": True})
    await node.pwritev(0, Buffers.of(b"x"))
    await node.flush()
    assert [method for method, _, _ in disk.requests] == ["pwritev"]


# ---- flags


async def test_serialising_write_waits_for_a_read_of_its_bytes(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    disk.gate.clear()
    reading = start(node.context, node.preadv(100, Buffers.of(bytearray(10))))
    writing = start(node.context, node.pwritev(105, Buffers.of(b"x"), SERIALISING))
    assert [method for method, _, _ in disk.requests] == ["preadv"]
    disk.gate.set()
    await reading
    await writing


async def test_read_waits_for_a_serialising_write_of_its_bytes(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    disk.gate.clear()
    writing = start(node.context, node.pwritev(105, Buffers.of(b"x"), SERIALISING))
    reading = start(node.context, node.preadv(100, Buffers.of(bytearray(10))))
    elsewhere = start(node.context, node.preadv(200, Buffers.of(bytearray(10))))
    assert [(method, offset) for method, offset, _ in disk.requests] == [("pwritev", 105), ("preadv", 200)]
    disk.gate.set()
    for request in (writing, reading, elsewhere):
        await request


async def test_serialising_write_that_would_wait_and_must_not_raises_ebusy(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    disk.gate.clear()
    reading = start(node.context, node.preadv(100, Buffers.of(bytearray(10))))
    with pytest.raises(BlockError, match="Device or resource busy"):
        await node.pwritev(105, Buffers.of(b"x"), SERIALISING | NO_WAIT)
    disk.gate.set()
    await reading


async def test_compressed_write_without_a_driver_for_it_raises_enotsup(graph: BlockGraph) -> None:
    node, _ = await memory(graph)
    with pytest.raises(BlockError, match="compressed write of 1 bytes at 0: Operation not supported"):
        await node.pwritev(0, Buffers.of(b"x"), WRITE_COMPRESSED)


async def test_write_zeroes_without_fallback_raises_enotsup(graph: BlockGraph) -> None:
    node, disk = await memory(graph)
    disk.errors["write_zeroes"] = errno.ENOTSUP
    with pytest.raises(BlockError, match="write zeroes of 10 bytes at 0: Operation not supported"):
        await node.write_zeroes(0, 10, NO_FALLBACK)
    assert [method for method, _, _ in disk.requests] == ["write_zeroes"]


@pytest.mark.parametrize(("offset", "length"), [(0, 700), (100, 512)])
async def test_write_zeroes_of_parts_of_blocks_without_fallback_raises_enotsup(
    graph: BlockGraph, offset: int, length: int
) -> None:
    node, disk = await memory(graph, size=4096, request_alignment=512)
    with pytest.raises(BlockError, match=f"write zeroes of {length} bytes at {offset}: Operation not supported"):
        await node.write_zeroes(offset, length, NO_FALLBACK)
    assert disk.requests == []


@pytest.mark.parametrize(
    ("detect", "expected"), [("off", "pwritev"), ("on", "write_zeroes"), ("unmap", "write_zeroes")]
)
async def test_write_of_zeroes_is_what_detect_zeroes_says(graph: BlockGraph, detect: str, expected: str) -> None:
    node, disk = await memory(graph, detect_zeroes=detect, discard="unmap")
    await node.pwritev(0, Buffers.of(bytes(1000)))
    await node.pwritev(0, Buffers.of(bytes(999), b"x"))
    assert [method for method, _, _ in disk.requests] == [expected, "pwritev"]


# ---- limits


async def test_request_longer_than_max_transfer_is_split(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=4096)
    node.limits.max_transfer = 1000
    node.set_limits()
    data = bytes(range(250)) * 10
    await node.pwritev(3, Buffers.of(data))
    assert await read(node, 3, 2500) == data
    assert disk.requests == [
        (method, offset, length)
        for method in ("pwritev", "preadv")
        for offset, length in [(3, 1000), (1003, 1000), (2003, 500)]
    ]


async def test_request_in_more_views_than_max_iov_is_split(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=4096)
    node.limits.max_iov = 2
    node.set_limits()
    await node.pwritev(0, Buffers.of(*[bytes([n]) * 3 for n in range(5)]))
    assert disk.data[:15] == b"".join(bytes([n]) * 3 for n in range(5))
    assert disk.requests == [("pwritev", 0, 6), ("pwritev", 6, 6), ("pwritev", 12, 3)]


async def test_write_zeroes_and_discard_keep_to_their_limits(graph: BlockGraph) -> None:
    node, disk = await memory(graph, size=1 << 20, discard="unmap")
    node.limits.write_zeroes_alignment = node.limits.discard_alignment = 4096
    node.limits.max_write_zeroes = node.limits.max_discard = 10_000
    await node.write_zeroes(4000, 17_000)
    await node.discard(4000, 17_000)
    pieces = [(4000, 96), (4096, 8192), (12288, 8192), (20480, 520)]
    assert disk.requests == [(method, *piece) for method in ("write_zeroes", "discard") for piece in pieces]
