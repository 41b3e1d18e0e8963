# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``null-co`` and ``null-aio`` drivers."""

from __future__ import annotations

import time
from typing import Any

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.flags import (
    FUA,
    STATUS_ALLOCATED,
    STATUS_EOF,
    STATUS_OFFSET_VALID,
    STATUS_ZERO,
)
from asyncemu.block.null_co import NullDriver
from asyncemu.block.reopen import reopen
from asyncemu.coroutines import start
from asyncemu.errors import BlockError, ConfigError
from asyncemu.memory.buffers import Buffers

BOTH = pytest.mark.parametrize("driver", ["null-co", "null-aio"])

#: Method → arguments.
REQUESTS: dict[str, tuple[Any, ...]] = {
    "preadv": (0, Buffers.of(bytearray(512))),
    "pwritev": (0, Buffers.of(b"x" * 512)),
    "write_zeroes": (0, 4096),
}


async def opened(graph: BlockGraph, kind: str = "null-co", **options: Any) -> BlockNode:
    return await graph.add_table({"driver": kind, **options}, "blockdev[0]")


@BOTH
async def test_size_left_out_is_one_gibibyte(graph: BlockGraph, driver: str) -> None:
    assert (await opened(graph, driver)).size == 1 << 30


@BOTH
@pytest.mark.parametrize(("read_zeroes", "expected"), [(False, b"abc"), (True, b"\0\0\0")])
async def test_read_leaves_buffers_alone_unless_told_to_zero(
    graph: BlockGraph, driver: str, read_zeroes: bool, expected: bytes
) -> None:
    node = await opened(graph, driver, **{"read-zeroes": read_zeroes})
    buffer = bytearray(b"abc")
    await node.preadv(0, Buffers.of(buffer))
    assert buffer == expected


@pytest.mark.parametrize("method", REQUESTS)
async def test_null_co_request_ends_in_place(graph: BlockGraph, method: str) -> None:
    node = await opened(graph)
    assert start(node.context, getattr(node, method)(*REQUESTS[method])).done()


@pytest.mark.parametrize("method", REQUESTS)
async def test_null_aio_request_ends_in_a_later_round(graph: BlockGraph, method: str) -> None:
    node = await opened(graph, "null-aio")
    request = start(node.context, getattr(node, method)(*REQUESTS[method]))
    assert (request.done(), node.in_flight > 0) == (False, True)
    await request
    assert node.in_flight == 0


async def test_null_aio_requests_end_in_the_order_in_which_they_came(graph: BlockGraph) -> None:
    node = await opened(graph, "null-aio")
    ended: list[int] = []

    async def one(number: int) -> None:
        await node.preadv(0, Buffers.of(bytearray(1)))
        ended.append(number)

    requests = [start(node.context, one(number)) for number in range(20)]
    for request in reversed(requests):
        await request
    assert ended == list(range(20))


async def test_null_aio_cancelled_request_ends_and_the_next_one_is_served(graph: BlockGraph) -> None:
    node = await opened(graph, "null-aio")
    request = start(node.context, node.preadv(0, Buffers.of(bytearray(1))))
    request.cancel()
    await node.drain()
    await node.preadv(0, Buffers.of(bytearray(1)))
    assert (request.done(), node.in_flight) == (True, 0)


@BOTH
async def test_flush_of_nothing_and_fua_are_taken(graph: BlockGraph, driver: str) -> None:
    node = await opened(graph, driver)
    await node.pwritev(0, Buffers.of(b"x"), FUA)
    await node.flush()
    assert node.flushed_generation == node.write_generation == 1


@BOTH
async def test_request_with_latency_takes_at_least_that_long(graph: BlockGraph, driver: str) -> None:
    node = await opened(graph, driver, **{"latency-ns": 2_000_000})
    begun = time.monotonic_ns()
    await node.preadv(0, Buffers.of(bytearray(1)))
    assert time.monotonic_ns() - begun >= 2_000_000


@BOTH
async def test_request_with_latency_cancelled_ends_at_once(graph: BlockGraph, driver: str) -> None:
    node = await opened(graph, driver, **{"latency-ns": 10**15})
    request = start(node.context, node.preadv(0, Buffers.of(bytearray(1))))
    request.cancel()
    await node.drain()
    assert node.in_flight == 0


async def test_negative_latency_raises_config_error(graph: BlockGraph) -> None:
    with pytest.raises(ConfigError, match=r"blockdev\[0\]\.latency-ns: must be at least 0, not -1"):
        await opened(graph, "null-co", **{"latency-ns": -1})


@BOTH
@pytest.mark.parametrize(
    ("read_zeroes", "flags"),
    [(False, STATUS_OFFSET_VALID), (True, STATUS_OFFSET_VALID | STATUS_ZERO | STATUS_ALLOCATED)],
)
async def test_block_status_is_zeroes_or_nothing(graph: BlockGraph, driver: str, read_zeroes: bool, flags: int) -> None:
    node = await opened(graph, driver, size=8192, **{"read-zeroes": read_zeroes})
    assert await node.block_status(0, 4096) == (flags, 4096, 0, node)
    assert await node.block_status(4096, 8192) == (flags | STATUS_EOF, 4096, 4096, node)


async def test_allocated_size_is_nothing(graph: BlockGraph) -> None:
    assert await (await opened(graph)).driver.allocated_size() == 0


async def test_truncate_is_not_supported(graph: BlockGraph) -> None:
    node = await opened(graph)
    with pytest.raises(BlockError, match="Image format driver does not support resize"):
        await node.truncate(4096)


@pytest.mark.parametrize(("key", "value"), [("size", 4096), ("read-zeroes", True), ("latency-ns", 1)])
async def test_reopen_with_other_options_of_its_own_is_refused(graph: BlockGraph, key: str, value: object) -> None:
    node = await opened(graph)
    with pytest.raises(ConfigError, match=f"Cannot change the option '{key}'"):
        await reopen(graph, {node: {key: value}})


async def test_reopen_read_only_refuses_writes(graph: BlockGraph) -> None:
    node = await opened(graph)
    await reopen(graph, {node: {"read-only": True}})
    assert isinstance(node.driver, NullDriver)
    with pytest.raises(BlockError, match="Read-only file system"):
        await node.pwritev(0, Buffers.of(b"x"))
