# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of a MemoryDisk."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext
from asyncemu.memory import Buffers
from asyncemu.testing import Fault
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions


@pytest.fixture
async def disk(context: AioContext) -> AsyncIterator[BlockNode]:
    graph = BlockGraph(context, None)
    yield await graph.add(MemoryDisk, MemoryDiskOptions(size=16384), "disk0")
    await graph.close()


def driver(disk: BlockNode) -> MemoryDisk:
    assert isinstance(disk.driver, MemoryDisk)
    return disk.driver


async def errno_of(request: Any) -> int:
    """0: it was done."""
    try:
        await request
    except BlockError as error:
        return error.errno
    return 0


async def test_nth_request_fails_and_no_other(disk: BlockNode) -> None:
    driver(disk).inject(Fault("preadv", nth=3, error=errno.ENXIO))

    assert [await errno_of(disk.pread(0, 512)) for _ in range(5)] == [0, 0, errno.ENXIO, 0, 0]


async def test_times_says_how_many_fail(disk: BlockNode) -> None:
    fault = driver(disk).inject(Fault("preadv", nth=2, times=2))

    assert [await errno_of(disk.pread(0, 512)) for _ in range(4)] == [0, errno.EIO, errno.EIO, 0]
    assert fault.hits == 2


async def test_only_its_method_fails(disk: BlockNode) -> None:
    driver(disk).inject(Fault("pwritev", times=None))

    assert await errno_of(disk.pread(0, 512)) == 0
    assert await errno_of(disk.pwritev(0, Buffers.of(b"x" * 512))) == errno.EIO


async def test_any_method_fails_without_one(disk: BlockNode) -> None:
    driver(disk).inject(Fault(times=None))

    assert await errno_of(disk.pread(0, 512)) == errno.EIO
    assert await errno_of(disk.write_zeroes(0, 512)) == errno.EIO
    driver(disk).faults.clear()


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 2048, 0), (0, 2049, errno.EIO), (3583, 1, errno.EIO), (3584, 512, 0)],
    ids=["before", "into", "last-byte", "behind"],
)
async def test_sectors_decide_by_what_is_touched(disk: BlockNode, offset: int, length: int, expected: int) -> None:
    driver(disk).inject(Fault("preadv", sectors=range(4, 7), times=None))

    assert await errno_of(disk.pread(offset, length)) == expected


async def test_torn_write_leaves_its_first_part(disk: BlockNode) -> None:
    driver(disk).inject(Fault("pwritev", stored=512))

    assert await errno_of(disk.pwritev(0, Buffers.of(b"x" * 1024))) == errno.EIO

    assert driver(disk).data[:1024] == b"x" * 512 + bytes(512)


async def test_held_request_waits_until_it_is_released_and_is_done(disk: BlockNode) -> None:
    fault = driver(disk).inject(Fault("pwritev", held=True, error=0))
    write = asyncio.ensure_future(disk.pwritev(0, Buffers.of(b"x" * 512)))
    await fault.reached()
    assert not write.done()

    fault.release()
    await write

    assert driver(disk).data[:512] == b"x" * 512


async def test_first_fault_that_fits_decides(disk: BlockNode) -> None:
    driver(disk).inject(Fault("preadv", nth=2, error=errno.ENXIO))
    driver(disk).inject(Fault("preadv", times=None, error=errno.EIO))

    assert [await errno_of(disk.pread(0, 512)) for _ in range(3)] == [errno.EIO, errno.ENXIO, errno.EIO]


@pytest.mark.parametrize("arguments", [{"nth": 0}, {"times": 0}, {"stored": -1}])
def test_fault_that_makes_no_sense_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"nth -?\d+, times -?\d+, stored -?\d+"):
        Fault(**arguments)  # type: ignore[arg-type]
