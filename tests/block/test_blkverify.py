# SPDX-License-Identifier: GPL-2.0-or-later
"""blkverify: two nodes that get the same requests."""

from __future__ import annotations

import asyncio
import errno
import logging

import pytest

import asyncemu.testing.memory_disk  # noqa: F401  # makes the driver "memory" known
from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.blkverify import BlkverifyDriver, VerifyError
from asyncemu.coroutines import start
from asyncemu.errors import BlockError
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.memory_disk import MemoryDisk
from tests.block.drivers import use

SIZE = 1 << 20


class Pair:
    """The node, and the disks below it."""

    def __init__(self, node: BlockNode) -> None:
        self.node = node
        driver = node.driver
        assert isinstance(driver, BlkverifyDriver)
        raw, test = driver.raw.node.driver, driver.test.node.driver
        assert isinstance(raw, MemoryDisk)
        assert isinstance(test, MemoryDisk)
        self.raw = raw
        self.test = test


async def pair(graph: BlockGraph, raw: int = SIZE, test: int = SIZE) -> Pair:
    table = {
        "driver": "blkverify",
        "node-name": "top",
        "raw": {"driver": "memory", "size": raw},
        "test": {"driver": "memory", "size": test},
        "discard": "unmap",
    }
    node = await graph.add_table(table, "blockdev[0]")
    await use(node)
    return Pair(node)


async def test_requests_go_to_both(graph: BlockGraph) -> None:
    here = await pair(graph)
    await here.node.pwritev(100, Buffers.of(b"some", b"data"))
    await here.node.write_zeroes(104, 2)
    await here.node.discard(0, 4096)
    await here.node.flush()
    assert here.raw.data == here.test.data
    assert await here.node.pread(100, 8) == b"some\0\0ta"
    assert [request[0] for request in here.raw.requests] == ["pwritev", "pwritev", "flush", "preadv"]


async def test_read_that_differs_says_where(graph: BlockGraph, caplog: pytest.LogCaptureFixture) -> None:
    here = await pair(graph)
    here.test.data[70000] = 1
    buffers = Buffers.of(bytearray(100), bytearray(100_000))
    with pytest.raises(VerifyError) as caught, caplog.at_level(logging.ERROR):
        await here.node.preadv(512, buffers)
    line = "blkverify: read offset=512 bytes=100100 contents mismatch at offset 70000"
    assert (str(caught.value), caught.value.errno) == (line, errno.EIO)
    assert [record.message for record in caplog.records] == [line]


async def test_read_of_what_does_not_differ_is_right(graph: BlockGraph) -> None:
    here = await pair(graph)
    here.test.data[70000] = 1
    assert await here.node.pread(0, 70000) == bytes(70000)


@pytest.mark.parametrize(("method", "what"), [("preadv", "read"), ("pwritev", "write")])
@pytest.mark.parametrize(("failing", "numbers"), [("test", "-28 != 0"), ("raw", "0 != -28")])
async def test_one_that_fails_is_a_difference(
    graph: BlockGraph, method: str, what: str, failing: str, numbers: str
) -> None:
    here = await pair(graph)
    getattr(here, failing).errors[method] = errno.ENOSPC
    with pytest.raises(VerifyError) as caught:
        await getattr(here.node, method)(1024, Buffers.of(bytearray(512)))
    assert str(caught.value) == f"blkverify: {what} offset=1024 bytes=512 return value mismatch {numbers}"


async def test_both_that_fail_in_one_way_are_an_error_of_the_request(graph: BlockGraph) -> None:
    here = await pair(graph)
    here.raw.errors["preadv"] = here.test.errors["preadv"] = errno.ENOSPC
    with pytest.raises(BlockError) as caught:
        await here.node.pread(0, 512)
    assert not isinstance(caught.value, VerifyError)
    assert caught.value.errno == errno.ENOSPC


async def test_test_that_is_longer_decides_on_the_size(graph: BlockGraph) -> None:
    here = await pair(graph, raw=512, test=1024)
    assert here.node.size == 1024
    assert await here.node.pread(512, 512) == bytes(512)


async def test_both_are_asked_at_once(graph: BlockGraph) -> None:
    here = await pair(graph)
    here.raw.gate.clear()
    here.test.gate.clear()
    request = start(graph.context, here.node.pread(0, 512))
    assert (here.raw.requests, here.test.requests) == ([("preadv", 0, 512)], [("preadv", 0, 512)])
    here.raw.gate.set()
    here.test.gate.set()
    assert await request == bytes(512)


async def test_cancelled_request_ends_when_both_have(graph: BlockGraph) -> None:
    here = await pair(graph)
    here.test.gate.clear()
    request = start(graph.context, here.node.pread(0, 512))
    request.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not request.done()
    here.test.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await request
