# SPDX-License-Identifier: GPL-2.0-or-later
"""Sparse as a node, with all that the runtime adds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sparse import BLOCK, Sparse, SparseOptions

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.loop import AioContext
from asyncemu.memory import Buffers


@pytest.fixture
async def disk() -> AsyncIterator[BlockNode]:
    context = AioContext(asyncio.get_running_loop(), "test")
    graph = BlockGraph(context, None)
    yield await graph.add(Sparse, SparseOptions(size=1 << 40), "disk0")
    await graph.close()
    context.close()


async def test_what_is_written_is_read_also_in_the_middle_of_blocks(disk: BlockNode) -> None:
    await disk.pwritev((1 << 39) + BLOCK - 1, Buffers.of(b"two blocks"))

    assert await disk.pread((1 << 39) + BLOCK - 2, 12) == b"\0two blocks\0"


async def test_zeroes_take_no_memory(disk: BlockNode) -> None:
    await disk.pwritev(0, Buffers.of(b"x" * 4 * BLOCK))

    await disk.write_zeroes(BLOCK, 2 * BLOCK)

    assert isinstance(disk.driver, Sparse)
    assert sorted(disk.driver._blocks) == [0, 3]
