# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``null-co`` driver."""

from __future__ import annotations

import time

import pytest

from asyncemu.block import BlockGraph
from asyncemu.coroutines import start
from asyncemu.errors import ConfigError
from asyncemu.memory.buffers import Buffers


async def test_size_left_out_is_one_gibibyte(graph: BlockGraph) -> None:
    assert (await graph.add_table({"driver": "null-co"}, "blockdev[0]")).size == 1 << 30


@pytest.mark.parametrize(("read_zeroes", "expected"), [(False, b"abc"), (True, b"\0\0\0")])
async def test_read_leaves_buffers_alone_unless_told_to_zero(
    graph: BlockGraph, read_zeroes: bool, expected: bytes
) -> None:
    node = await graph.add_table({"driver": "null-co", "read-zeroes": read_zeroes}, "blockdev[0]")
    buffer = bytearray(b"abc")
    await node.preadv(0, Buffers.of(buffer))
    assert buffer == expected


@pytest.mark.parametrize("method", ["preadv", "pwritev", "flush", "discard", "write_zeroes"])
async def test_request_without_latency_ends_in_place(graph: BlockGraph, method: str) -> None:
    node = await graph.add_table({"driver": "null-co"}, "blockdev[0]")
    arguments = {"preadv": (0, Buffers()), "pwritev": (0, Buffers()), "flush": ()}.get(method, (0, 4096))
    assert start(node.context, getattr(node, method)(*arguments)).done()


async def test_request_with_latency_takes_at_least_that_long(graph: BlockGraph) -> None:
    node = await graph.add_table({"driver": "null-co", "latency-ns": 2_000_000}, "blockdev[0]")
    begun = time.monotonic_ns()
    await node.preadv(0, Buffers.of(bytearray(1)))
    assert time.monotonic_ns() - begun >= 2_000_000


async def test_request_with_latency_cancelled_ends_at_once(graph: BlockGraph) -> None:
    node = await graph.add_table({"driver": "null-co", "latency-ns": 10**15}, "blockdev[0]")
    request = start(node.context, node.preadv(0, Buffers.of(bytearray(1))))
    request.cancel()
    await node.drain()
    assert node.in_flight == 0
    node.driver.options = node.driver.options.replaced(latency_ns=0)


async def test_negative_latency_raises_config_error(graph: BlockGraph) -> None:
    with pytest.raises(ConfigError, match=r"blockdev\[0\]\.latency-ns: must be at least 0, not -1"):
        await graph.add_table({"driver": "null-co", "latency-ns": -1}, "blockdev[0]")
