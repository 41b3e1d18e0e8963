# SPDX-License-Identifier: GPL-2.0-or-later
"""Other sizes for nodes. QEMU: bdrv_co_truncate."""

from __future__ import annotations

import asyncio
import errno

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.driver import BlockDriver
from asyncemu.coroutines import start
from asyncemu.errors import BlockError, ConfigError
from asyncemu.memory.buffers import Buffers
from asyncemu.size import LARGEST
from asyncemu.testing.memory_disk import MemoryDisk
from tests.block.drivers import add, memory, use


async def test_truncate_grows_with_zeroes_and_cuts_off(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "disk", size=1024)
    memory(node).data[:] = b"x" * 1024
    await node.truncate(2048)
    grown = bytes(memory(node).data)
    await node.truncate(10)
    assert (grown, bytes(memory(node).data), node.size) == (b"x" * 1024 + bytes(1024), b"x" * 10, 10)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (-1, "Image size cannot be negative"),
        (LARGEST + 1, f"Required too big image size, it must be not greater than {LARGEST}"),
    ],
)
async def test_truncate_to_what_cannot_be_is_refused(graph: BlockGraph, size: int, message: str) -> None:
    node = await add(graph, "memory", "disk", size=1024)
    with pytest.raises(ConfigError, match=f"^size: {message}$"):
        await node.truncate(size)
    assert (node.size, node.in_flight) == (1024, 0)


async def test_truncate_of_a_driver_without_it_is_refused(graph: BlockGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryDisk, "truncate", BlockDriver.truncate)
    node = await add(graph, "memory", "disk")
    with pytest.raises(BlockError, match="disk: Image format driver does not support resize: Operation not supported"):
        await node.truncate(512)
    assert node.in_flight == 0


async def test_truncate_failing_driver_keeps_the_size(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "disk", size=1024)
    memory(node).errors["truncate"] = errno.ENOSPC
    with pytest.raises(BlockError, match="disk: truncate to 2048 bytes: No space left on device"):
        await node.truncate(2048)
    assert (node.size, node.in_flight, node.tracked.serialising) == (1024, 0, 0)


async def test_truncate_of_a_filter_is_that_of_what_is_below(graph: BlockGraph) -> None:
    below = await add(graph, "memory", "below", size=1024)
    top = await add(graph, "pass", "top", file={"driver": "pass", "file": "below"})
    backend = await use(top)
    sizes: list[int] = []
    backend.on_resize = lambda: sizes.append(backend.size)
    await top.truncate(2048)
    assert (below.size, top.size, sizes) == (2048, 2048, [2048])
    await backend.remove()


async def test_truncate_below_tells_those_over_it(graph: BlockGraph) -> None:
    below = await add(graph, "memory", "below", size=1024)
    backend = await use(await add(graph, "pass", "top", file="below"))
    sizes: list[int] = []
    backend.on_resize = lambda: sizes.append(backend.size)
    await below.truncate(2048)
    await below.truncate(2048)
    assert sizes == [2048]
    await backend.remove()


async def test_truncate_does_not_show_what_the_backing_file_hides(graph: BlockGraph) -> None:
    base = await add(graph, "memory", "base", size=4096)
    memory(base).data[:] = b"b" * 4096
    node = await add(graph, "memory-overlay", "top", size=700, backing="base")
    await node.truncate(2048)
    assert await node.pread(0, 2048) == b"b" * 700 + bytes(1348)


async def test_truncate_past_a_short_backing_file_allocates_nothing(graph: BlockGraph) -> None:
    await add(graph, "memory", "base", size=512)
    node = await add(graph, "memory-overlay", "top", size=512, backing="base")
    await node.truncate(1 << 20)
    assert node.driver.allocated == set()  # type: ignore[attr-defined]


async def test_cut_waits_for_requests_behind_the_new_end(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "disk", size=4096)
    memory(node).gate.clear()
    behind = start(graph.context, node.pwritev(2048, Buffers.of(b"x")))
    before = start(graph.context, node.pwritev(0, Buffers.of(b"y")))
    cutting = start(graph.context, node.truncate(1024))
    assert [method for method, _, _ in memory(node).requests] == ["pwritev", "pwritev"]
    memory(node).gate.set()
    for each in (behind, before, cutting):
        await each
    assert [method for method, _, _ in memory(node).requests] == ["pwritev", "pwritev", "truncate"]


@pytest.mark.parametrize("method", ["pwritev", "write_zeroes"])
async def test_write_that_waited_for_a_cut_has_no_space(graph: BlockGraph, method: str) -> None:
    node = await add(graph, "memory", "disk", size=4096)
    memory(node).gate.clear()
    cutting = start(graph.context, node.truncate(1024))
    what = Buffers.of(b"x" * 512) if method == "pwritev" else 512
    writing = start(graph.context, getattr(node, method)(2048, what))
    await asyncio.sleep(0)
    memory(node).gate.set()
    await cutting
    with pytest.raises(BlockError, match="disk: write of 512 bytes at 2048, size 1024: No space left on device"):
        await writing
    assert node.in_flight == 0


async def test_read_that_waited_for_a_cut_gets_zeroes(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "disk", size=4096)
    memory(node).data[:] = b"d" * 4096
    memory(node).gate.clear()
    cutting = start(graph.context, node.truncate(1024))
    data = bytearray(b"?" * 200)
    reading = start(graph.context, node.preadv(1000, Buffers.of(data)))
    await asyncio.sleep(0)
    memory(node).gate.set()
    await cutting
    await reading
    assert data == b"d" * 24 + bytes(176)


async def test_truncates_at_once_end_with_the_last(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "disk", size=4096)
    memory(node).gate.clear()
    cuts = [start(graph.context, node.truncate(size)) for size in (100, 9000, 500)]
    await asyncio.sleep(0)
    assert [method for method, _, _ in memory(node).requests] == ["truncate"]
    memory(node).gate.set()
    for each in cuts:
        await each
    assert (node.size, len(memory(node).data)) == (500, 500)


async def test_growing_write_and_truncate_do_not_mix(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "disk", size=512, growable=True)
    await use(node)
    memory(node).gate.clear()
    writing = start(graph.context, node.pwritev(1000, Buffers.of(b"far")))
    growing = start(graph.context, node.truncate(2000))
    await asyncio.sleep(0)
    assert [method for method, _, _ in memory(node).requests] == ["pwritev"]
    memory(node).gate.set()
    await writing
    await growing
    assert (node.size, bytes(memory(node).data[1000:1003])) == (2000, b"far")


async def test_write_of_an_odd_end_grows_no_further(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "disk", size=512, growable=True, request_alignment=512)
    await use(node)
    await node.pwritev(1000, Buffers.of(b"far"))
    assert (node.size, len(memory(node).data), bytes(memory(node).data[-3:])) == (1003, 1003, b"far")
