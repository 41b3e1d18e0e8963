# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the bytes of a node and of a chain are. QEMU: bdrv_co_block_status, bdrv_co_common_block_status_above."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.flags import (
    STATUS_ALLOCATED,
    STATUS_DATA,
    STATUS_EOF,
    STATUS_OFFSET_VALID,
    STATUS_RECURSE,
    STATUS_ZERO,
)
from asyncemu.block.status import block_status_above, is_allocated, is_allocated_above
from asyncemu.block.types import BlockStatus
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions
from asyncemu.testing.memory_overlay import MemoryOverlay
from tests.block.drivers import Pass, PassOptions, add

ALL_DATA = STATUS_DATA | STATUS_ALLOCATED | STATUS_OFFSET_VALID


class Mapped(MemoryDisk, name="mapped"):
    """Says what ``answer`` says."""

    options_type = MemoryDiskOptions
    answer: BlockStatus

    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        await self._begin("block_status", offset, length)
        return self.answer


class Format(Pass, name="format-in-a-file"):
    """Its bytes are in its file, at the same offsets; ``file`` may know more."""

    options_type = PassOptions
    is_format = True
    recurse = STATUS_RECURSE

    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        return BlockStatus(STATUS_DATA | STATUS_OFFSET_VALID | self.recurse, length, offset, self.file.node)


async def mapped(graph: BlockGraph, answer: BlockStatus, **options: Any) -> tuple[BlockNode, Mapped]:
    node = await add(graph, "mapped", "mapped", **options)
    assert isinstance(node.driver, Mapped)
    node.driver.answer = answer
    return node, node.driver


# ---- one node


async def test_driver_that_does_not_know_all_is_data(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "disk", size=4096)
    assert await node.block_status(100, 1000) == (ALL_DATA, 1000, 100, node)
    assert await node.block_status(100, 9999) == (ALL_DATA | STATUS_EOF, 3996, 100, node)


async def test_at_and_past_the_end_nothing_is_known(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "disk", size=4096)
    assert await node.block_status(4096, 10) == (STATUS_EOF, 0, 0, None)
    assert await node.block_status(1 << 50, 10) == (STATUS_EOF, 0, 0, None)
    assert await node.block_status(10, 0) == (0, 0, 0, None)


@pytest.mark.parametrize(("offset", "length"), [(-1, 10), (0, -1)])
async def test_negative_ranges_are_refused(graph: BlockGraph, offset: int, length: int) -> None:
    node = await add(graph, "memory", "disk", size=4096)
    with pytest.raises(BlockError, match=r"disk: block status of .*: Invalid argument"):
        await node.block_status(offset, length)


async def test_driver_is_asked_about_whole_blocks_and_the_answer_is_cut(graph: BlockGraph) -> None:
    answer = BlockStatus(STATUS_DATA | STATUS_OFFSET_VALID, 2048, 8192)
    node, driver = await mapped(graph, answer, size=4096, request_alignment=512)
    status = await node.block_status(700, 600)
    assert driver.requests[-1] == ("block_status", 512, 1024)
    assert (status.length, status.map) == (600, 8192 + 700 - 512)


async def test_driver_that_knows_nothing_of_its_bytes_is_a_bug(graph: BlockGraph) -> None:
    node, _ = await mapped(graph, BlockStatus(STATUS_DATA, 0))
    with pytest.raises(RuntimeError, match="knows nothing of its bytes at 7"):
        await node.block_status(7, 1)
    assert node.in_flight == 0


async def test_failing_driver_raises_with_the_request(graph: BlockGraph) -> None:
    node, driver = await mapped(graph, BlockStatus(STATUS_DATA, 1))
    driver.errors["block_status"] = errno.EIO
    with pytest.raises(BlockError, match="mapped: block status of 512 bytes at 0: Input/output error"):
        await node.block_status(0, 512)
    assert node.in_flight == 0


async def test_filter_answers_what_is_below(graph: BlockGraph) -> None:
    below, _ = await mapped(graph, BlockStatus(STATUS_ZERO | STATUS_OFFSET_VALID, 512, 0), size=1024)
    top = await add(graph, "pass", "top", file="mapped")
    assert await top.block_status(0, 1024) == await below.block_status(0, 1024)


async def test_filter_longer_than_what_is_below_has_zeroes_there(graph: BlockGraph) -> None:
    below = await add(graph, "memory", "below", size=1024)
    top = await add(graph, "pass", "top", file="below")
    below.size = 512
    assert await top.block_status(512, 512) == (STATUS_ZERO | STATUS_ALLOCATED | STATUS_EOF, 512, 0, None)


async def test_raw_window_answers_with_the_offsets_of_its_file(graph: BlockGraph) -> None:
    below = await add(graph, "memory", "below", size=4096)
    window = await add(graph, "raw", "window", file="below", offset=1024, size=1024)
    assert await window.block_status(512, 512) == (ALL_DATA | STATUS_EOF, 512, 1536, below)


async def test_format_whose_file_has_a_hole_is_zero_there(graph: BlockGraph) -> None:
    await mapped(graph, BlockStatus(STATUS_ZERO | STATUS_OFFSET_VALID, 300, 0), size=1024)
    node = await add(graph, "format-in-a-file", "top", file="mapped")
    status = await node.block_status(0, 1024)
    assert (status.flags, status.length) == (ALL_DATA | STATUS_ZERO, 300)


async def test_format_whose_file_is_not_asked_when_zeroes_do_not_matter(graph: BlockGraph) -> None:
    _, driver = await mapped(graph, BlockStatus(STATUS_ZERO, 300, 0), size=1024)
    node = await add(graph, "format-in-a-file", "top", file="mapped")
    status = await node.block_status(0, 1024, want_zero=False)
    assert (status.flags, status.length, driver.requests) == (ALL_DATA | STATUS_EOF, 1024, [])


async def test_format_that_reaches_past_the_end_of_its_file_is_zero_there(graph: BlockGraph) -> None:
    below = await add(graph, "memory", "below", size=1024)
    node = await add(graph, "format-in-a-file", "top", file="below")
    below.size = 512
    status = await node.block_status(512, 512)
    assert (status.flags, status.length) == (ALL_DATA | STATUS_ZERO | STATUS_EOF, 512)


async def test_format_whose_file_fails_to_say_is_data(graph: BlockGraph) -> None:
    """What the file says is more than was asked for."""
    _, driver = await mapped(graph, BlockStatus(STATUS_ZERO, 300, 0), size=1024)
    driver.errors["block_status"] = errno.EIO
    node = await add(graph, "format-in-a-file", "top", file="mapped")
    status = await node.block_status(0, 1024)
    assert (status.flags, status.length) == (ALL_DATA | STATUS_EOF, 1024)


async def test_overlay_not_allocated_and_without_backing_file_is_zero(graph: BlockGraph) -> None:
    node = await add(graph, "memory-overlay", "top", size=1024)
    await node.pwritev(512, Buffers.of(b"x"))
    assert [
        (await node.block_status(offset, 512, want_zero)).flags for offset, want_zero in ((0, True), (0, False))
    ] == [
        STATUS_ZERO,
        STATUS_ZERO,
    ]
    assert (await node.block_status(512, 512)).flags == ALL_DATA | STATUS_EOF


async def test_overlay_past_the_end_of_its_backing_file_is_zero(graph: BlockGraph) -> None:
    await add(graph, "memory", "base", size=512)
    node = await add(graph, "memory-overlay", "top", size=2048, backing="base")
    flags = [(await node.block_status(offset, 512)).flags for offset in (0, 512)]
    assert flags == [0, STATUS_ZERO]
    assert (await node.block_status(512, 512, want_zero=False)).flags == 0


# ---- a chain


@pytest.fixture
async def layers(graph: BlockGraph) -> list[BlockNode]:
    """Three layers, the one on top first: base is shorter; middle has the first two clusters, top the first."""
    base = await add(graph, "memory-overlay", "base", size=2048)
    middle = await add(graph, "memory-overlay", "middle", size=4096, backing="base")
    top = await add(graph, "memory-overlay", "top", size=4096, backing="middle")
    await base.pwritev(0, Buffers.of(b"b" * 1536))
    await middle.pwritev(0, Buffers.of(b"m" * 1024))
    await top.pwritev(0, Buffers.of(b"t" * 512))
    return [top, middle, base]


async def answers(top: BlockNode, base: BlockNode | None) -> list[tuple[int, int, int]]:
    """(flags, length, depth) of all pieces."""
    found = []
    offset = 0
    while offset < top.size:
        status, depth = await block_status_above(top, base, offset, top.size - offset)
        found.append((status.flags & (STATUS_DATA | STATUS_ZERO | STATUS_ALLOCATED | STATUS_EOF), status.length, depth))
        offset += status.length
    return found


async def test_chain_is_answered_by_the_first_layer_that_has_the_bytes(layers: list[BlockNode]) -> None:
    here, zero = STATUS_DATA | STATUS_ALLOCATED, STATUS_ZERO
    assert await answers(layers[0], None) == [
        (here, 512, 1),
        (here, 512, 2),
        (here, 512, 3),
        (zero, 512, 3),
        # Behind the end of base: as if the layer that reads from it had zeroes.
        (zero | STATUS_ALLOCATED | STATUS_EOF, 2048, 3),
    ]


async def test_chain_down_to_a_base_says_nothing_of_that(layers: list[BlockNode]) -> None:
    top, middle, base = layers
    here = STATUS_DATA | STATUS_ALLOCATED
    assert await answers(top, base) == [(here, 512, 1), (here, 512, 2), (STATUS_EOF, 3072, 2)]
    assert await answers(top, middle) == [(here, 512, 1), (STATUS_EOF, 3584, 1)]
    assert await block_status_above(top, top, 1024, 10_000) == ((0, 3072, 0, None), 0)


async def test_is_allocated_is_of_one_layer(layers: list[BlockNode]) -> None:
    assert [await is_allocated(node, 0, 4096) for node in layers] == [(True, 512), (True, 1024), (True, 1536)]
    assert await is_allocated(layers[0], 512, 4096) == (False, 3584)


async def test_is_allocated_above_tells_the_depth(layers: list[BlockNode]) -> None:
    top, middle, base = layers
    assert await is_allocated_above(top, None, 512, 4096) == (2, 512)
    assert await is_allocated_above(top, middle, 512, 4096) == (0, 3584)
    assert await is_allocated_above(top, middle, 512, 4096, include_base=True) == (2, 512)
    assert await is_allocated_above(top, base, 1024, 512, include_base=True) == (3, 512)


async def test_chain_with_filters_in_between_counts_them(graph: BlockGraph, layers: list[BlockNode]) -> None:
    await add(graph, "pass", "filter", file="middle")
    top = await add(graph, "memory-overlay", "over", size=4096, backing="filter")
    assert await is_allocated_above(top, None, 512, 512) == (2, 512)


WRITES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4095), st.integers(1, 1500)), max_size=8)


@settings(max_examples=40, deadline=None)
@given(WRITES)
def test_chain_tells_data_from_zeroes_as_reading_does(writes: list[tuple[int, int, int]]) -> None:
    """What is said to be zero reads as zero, and each piece is of the layer that a model says."""
    asyncio.run(_compared(writes))


async def _compared(writes: list[tuple[int, int, int]]) -> None:
    context = AioContext(asyncio.get_running_loop(), "test")
    graph = BlockGraph(context)
    nodes: list[BlockNode] = []
    for index, size in enumerate((2048, 4096, 3000)):
        below = {"backing": nodes[-1].name} if nodes else {}
        nodes.append(await add(graph, "memory-overlay", f"layer{index}", size=size, cluster_size=256, **below))
    for layer, offset, length in writes:
        room = max(nodes[layer].size - offset, 0)
        await nodes[layer].pwritev(min(offset, nodes[layer].size), Buffers.of(b"x" * min(length, room)))
    top = nodes[-1]
    offset = 0
    while offset < top.size:
        status, depth = await block_status_above(top, None, offset, top.size - offset)
        data = await top.pread(offset, status.length)
        owner = next((each for each in reversed(nodes) if offset // 256 in _allocated(each)), None)
        assert not (status.flags & STATUS_ZERO and any(data))
        assert bool(status.flags & STATUS_DATA) is (owner is not None and offset < owner.size)
        assert status.length > 0
        assert 1 <= depth <= 3
        offset += status.length
    await graph.close()
    context.close()


def _allocated(node: BlockNode) -> set[int]:
    assert isinstance(node.driver, MemoryOverlay)
    return node.driver.allocated
