# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes of all kinds against a bytearray: any requests, offsets and scattering, one after the other or at once."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

import asyncemu.testing.memory_disk  # noqa: F401  # makes the driver "memory" known
from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.flags import MAY_UNMAP
from asyncemu.coroutines import start
from asyncemu.loop import AioContext
from asyncemu.memory.buffers import Buffers
from tests.block.drivers import use

#: No multiple of any alignment.
SIZE = 5000
FILE = {"driver": "file", "filename": "disk.img", "discard": "unmap"}
NODES: dict[str, dict[str, Any]] = {
    "memory": {"driver": "memory", "size": SIZE},
    "memory, blocks of 512": {"driver": "memory", "size": SIZE, "request-alignment": 512},
    "memory, blocks of 512 at 64": {
        "driver": "memory",
        "size": SIZE,
        "request-alignment": 512,
        "memory-alignment": 64,
    },
    "file": FILE,
    "file, threads": {**FILE, "aio": "threads"},
    "raw in raw": {"driver": "raw", "offset": 7, "file": {"driver": "raw", "file": {**FILE}}},
    "raw over blocks of 512": {
        "driver": "raw",
        "offset": 100,
        "file": {"driver": "memory", "size": SIZE + 150, "request-alignment": 512},
    },
}

method = st.sampled_from(["preadv", "pwritev", "write_zeroes", "unmap", "flush"])
request = st.tuples(method, st.integers(0, SIZE), st.integers(0, SIZE), st.lists(st.integers(1, 700), max_size=4))


def scattered(data: bytearray, cuts: list[int]) -> Buffers:
    """``data`` as several views: a cut after so many bytes each."""
    rest = Buffers.of(data)
    buffers = Buffers()
    for cut in cuts:
        head, rest = rest.split(min(cut, rest.nbytes))
        buffers += head
    return Buffers([*buffers, *rest])


async def apply(node: BlockNode, model: bytearray, number: int, step: tuple[str, int, int, list[int]]) -> None:
    """Do one request to both, and compare what a read gives."""
    what, start_, end, cuts = step
    offset, length = min(start_, end), abs(end - start_)
    match what:
        case "preadv":
            got = bytearray(length)
            await node.preadv(offset, scattered(got, cuts))
            assert got == model[offset : offset + length]
        case "pwritev":
            data = bytearray([number % 255 + 1]) * length
            await node.pwritev(offset, scattered(data, cuts))
            model[offset : offset + length] = data
        case "write_zeroes" | "unmap":
            await node.write_zeroes(offset, length, MAY_UNMAP if what == "unmap" else 0)
            model[offset : offset + length] = bytes(length)
        case _:
            await node.flush()


async def compare(table: dict[str, Any], steps: list[tuple[str, int, int, list[int]]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "disk.img").write_bytes(bytes(SIZE + 7))
        context = AioContext(asyncio.get_running_loop(), "model")
        graph = BlockGraph(context, Path(directory))
        node = await graph.add_table(table, "blockdev[0]")
        user = await use(node)
        model = bytearray(node.size)
        for number, step in enumerate(steps):
            await apply(node, model, number, step)
        everything = bytearray(node.size)
        await node.preadv(0, Buffers.of(everything))
        assert everything == model
        await user.remove()
        await graph.close()
        context.close()


def run(main: Any) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


@pytest.mark.parametrize("kind", NODES)
@settings(max_examples=40, deadline=None)
@given(steps=st.lists(request, max_size=12))
def test_node_any_requests_equals_bytearray(kind: str, steps: list[tuple[str, int, int, list[int]]]) -> None:
    run(compare(NODES[kind], steps))


async def at_once(table: dict[str, Any], cuts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "disk.img").write_bytes(bytes(SIZE + 7))
        context = AioContext(asyncio.get_running_loop(), "model")
        graph = BlockGraph(context, Path(directory))
        node = await graph.add_table(table, "blockdev[0]")
        user = await use(node)
        borders = sorted({0, node.size, *cuts})
        model = b"".join(bytes([n % 255 + 1]) * (b - a) for n, (a, b) in enumerate(itertools.pairwise(borders)))
        writes = [start(context, node.pwritev(a, Buffers.of(model[a:b]))) for a, b in itertools.pairwise(borders)]
        for write in reversed(writes):
            await write
        got = bytearray(node.size)
        await node.preadv(0, Buffers.of(got))
        assert got == model
        await user.remove()
        await graph.close()
        context.close()


@pytest.mark.parametrize("kind", NODES)
@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, SIZE - 1), max_size=40))
def test_neighbouring_writes_at_once_all_arrive(kind: str, cuts: list[int]) -> None:
    run(at_once(NODES[kind], cuts))
