# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``raw`` driver: a window of another node."""

from __future__ import annotations

import pytest

from asyncemu.block import BlockGraph
from asyncemu.errors import BlockError, ConfigError
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.memory_disk import MemoryDisk


async def window(graph: BlockGraph, **options: object) -> tuple[BlockGraph, MemoryDisk]:
    await graph.add_table({"driver": "memory", "node-name": "below", "size": 4096}, "blockdev[0]")
    await graph.add_table({"driver": "raw", "node-name": "raw", "file": "below", **options}, "blockdev[1]")
    driver = graph.nodes["below"].driver
    assert isinstance(driver, MemoryDisk)
    return graph, driver


async def test_requests_are_shifted_by_the_offset(graph: BlockGraph) -> None:
    _, disk = await window(graph, offset=1024, size=2048)
    raw = graph.nodes["raw"]
    await raw.pwritev(0, Buffers.of(b"x" * 10))
    await raw.preadv(5, Buffers.of(bytearray(3)))
    await raw.discard(100, 200)
    await raw.write_zeroes(2, 4, may_unmap=True)
    await raw.flush()
    assert disk.requests == [
        ("pwritev", 1024, 10),
        ("preadv", 1029, 3),
        ("discard", 1124, 200),
        ("write_zeroes", 1026, 4),
        ("flush", 0, 0),
    ]
    assert disk.data[1024:1034] == b"xx\0\0\0\0xxxx"


async def test_read_past_the_window_raises_though_more_is_below(graph: BlockGraph) -> None:
    await window(graph, offset=1024, size=2048)
    with pytest.raises(BlockError, match="raw: read of 2 bytes at 2047, size 2048"):
        await graph.nodes["raw"].preadv(2047, Buffers.of(bytearray(2)))


async def test_size_left_out_reaches_the_end(graph: BlockGraph) -> None:
    await window(graph, offset="1KiB")
    assert graph.nodes["raw"].size == 3072


async def test_size_zero_is_an_empty_disk(graph: BlockGraph) -> None:
    await window(graph, size=0)
    assert graph.nodes["raw"].size == 0


async def test_offset_past_the_end_raises_config_error(graph: BlockGraph) -> None:
    with pytest.raises(ConfigError) as caught:
        await window(graph, offset=4097)
    assert str(caught.value) == "blockdev[1].offset: 4097 is past the end of 'below', which has 4096 bytes"


async def test_size_past_the_end_raises_config_error(graph: BlockGraph) -> None:
    with pytest.raises(ConfigError) as caught:
        await window(graph, offset=4000, size=97)
    assert str(caught.value) == ("blockdev[1].size: 97 bytes at offset 4000 reach past the end of 'below'; at most 96")


async def test_negative_offset_raises_config_error(graph: BlockGraph) -> None:
    with pytest.raises(ConfigError, match=r"blockdev\[1\]\.offset: must be at least 0, not -1"):
        await window(graph, offset=-1)


async def test_read_only_below_makes_raw_read_only(graph: BlockGraph) -> None:
    raw = await graph.add_table({"driver": "raw", "file": {"driver": "memory", "read-only": True}}, "blockdev[0]")
    with pytest.raises(BlockError, match="Read-only file system"):
        await raw.pwritev(0, Buffers.of(b"x"))
