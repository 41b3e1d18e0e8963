# SPDX-License-Identifier: GPL-2.0-or-later
"""Any requests to images of all forms, one after the other or at once, against a bytearray; QEMU checks the image."""

from __future__ import annotations

import asyncio
import errno
import itertools
import random
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.flags import MAY_UNMAP, WRITE_COMPRESSED
from asyncemu.coroutines import start
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext
from tests.block.qcow2.conftest import create, image_of, open_image, qemu_reads, qemu_says_clean, write

pytestmark = pytest.mark.slow

#: No multiple of any cluster size.
SIZE = 150 * 512

FORMS: dict[str, dict[str, Any]] = {
    "clusters of 512": {"cluster_size": 512},
    "refcounts of 1 bit": {"cluster_size": 512, "refcount_bits": 1},
    "refcounts of 2 bits": {"cluster_size": 1024, "refcount_bits": 2},
    "refcounts of 4 bits": {"cluster_size": 512, "refcount_bits": 4},
    "refcounts of 8 bits": {"cluster_size": 512, "refcount_bits": 8},
    "refcounts of 32 bits": {"cluster_size": 512, "refcount_bits": 32},
    "refcounts of 64 bits": {"cluster_size": 512, "refcount_bits": 64},
    "version 2": {"cluster_size": 1024, "compat": "0.10"},
    "subclusters": {"cluster_size": 16384, "extended_l2": True},
    "lazy refcounts": {"cluster_size": 512, "lazy_refcounts": True},
    "preallocated": {"cluster_size": 4096, "preallocation": "falloc"},
    "clusters of 64 KiB": {},
}

Step: TypeAlias = tuple[str, int, int]
method = st.sampled_from(["write", "write", "write", "zero", "unmap", "discard", "compress", "flush", "reopen", "read"])
step = st.tuples(method, st.integers(0, SIZE), st.integers(0, SIZE))
steps = st.lists(step | st.tuples(st.just("resize"), st.integers(1, 250), st.just(0)), max_size=14)


class Subject:
    """An image, and what it must read as."""

    def __init__(self, graph: BlockGraph, path: Path, small_caches: bool) -> None:
        self.graph = graph
        self.path = path
        self.options: dict[str, Any] = {"l2_cache_size": 1024, "l2_cache_entry_size": 512} if small_caches else {}
        self.node: BlockNode
        self.model = bytearray(SIZE)

    async def open(self) -> None:
        self.node = await open_image(self.graph, self.path, **self.options)

    async def apply(self, number: int, what: str, one: int, other: int) -> None:
        size = len(self.model)
        start_, end = sorted((min(one, size), min(other, size)))
        length = end - start_
        data = random.Random(number).randbytes(length)
        match what:
            case "write":
                await write(self.node, start_, data)
                self.model[start_:end] = data
            case "zero" | "unmap":
                await self.node.write_zeroes(start_, length, MAY_UNMAP if what == "unmap" else 0)
                self.model[start_:end] = bytes(length)
            case "discard":
                before = bytes(self.model)
                await self.node.discard(start_, length)
                self.model[:] = await self.node.pread(0, size)
                assert_discarded(before, bytes(self.model), start_, end)
            case "compress":
                await self.compress(start_, number)
            case "flush":
                await self.node.flush()
            case "reopen":
                await self.graph.remove(self.node)
                await self.open()
            case "resize":
                await self.node.truncate(one * 512, exact=True)
                self.model = self.model[: one * 512].ljust(one * 512, b"\0")
            case _:
                assert await self.node.pread(start_, length) == self.model[start_:end]

    async def compress(self, offset: int, number: int) -> None:
        geometry = image_of(self.node).geometry
        offset = geometry.round_down(min(offset, len(self.model) - 1))
        data = bytes([number % 251]) * min(geometry.cluster_size, len(self.model) - offset)
        try:
            await write(self.node, offset, data, WRITE_COMPRESSED)
        except BlockError as error:
            assert error.errno == errno.EIO  # there are data
        else:
            self.model[offset : offset + len(data)] = data


def assert_discarded(before: bytes, after: bytes, start_: int, end: int) -> None:
    assert after[:start_] == before[:start_]
    assert after[end:] == before[end:]
    assert all(new in (old, 0) for old, new in zip(before, after, strict=True))


async def compare(form: dict[str, Any], small_caches: bool, requests: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        context = AioContext(asyncio.get_running_loop(), "model")
        graph = BlockGraph(context, Path(directory))
        path = await create(graph, Path(directory) / "image", SIZE, **form)
        subject = Subject(graph, path, small_caches)
        await subject.open()
        for number, request in enumerate(requests):
            await subject.apply(number, *request)
        assert await subject.node.pread(0, len(subject.model)) == subject.model
        await graph.close()
        context.close()
        assert qemu_reads(path) == subject.model
        assert qemu_says_clean(path)


def run(main: Any) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=10, deadline=None)
@given(small_caches=st.booleans(), requests=steps)
def test_image_any_requests_equals_bytearray_and_is_clean(form: str, small_caches: bool, requests: list[Step]) -> None:
    run(compare(FORMS[form], small_caches, requests))


async def at_once(form: dict[str, Any], seed: int) -> None:
    choice = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        context = AioContext(asyncio.get_running_loop(), "model")
        graph = BlockGraph(context, Path(directory))
        path = await create(graph, Path(directory) / "image", SIZE, **form)
        subject = Subject(graph, path, small_caches=choice.random() < 0.5)
        await subject.open()
        for turn in range(4):
            borders = sorted({0, SIZE, *(choice.randrange(SIZE) for _ in range(20))})
            requests = [
                subject.apply(turn * 100 + index, choice.choice(["write", "write", "zero", "unmap", "read"]), a, b)
                for index, (a, b) in enumerate(itertools.pairwise(borders))
            ]
            flush = subject.apply(0, "flush", 0, 0)
            for running in [start(context, each) for each in (*requests, flush)]:
                await running
        assert await subject.node.pread(0, SIZE) == subject.model
        await graph.close()
        context.close()
        assert qemu_reads(path) == subject.model
        assert qemu_says_clean(path)


@pytest.mark.parametrize("form", FORMS)
def test_image_neighbouring_requests_at_once_equal_bytearray(form: str) -> None:
    for seed in range(3):
        run(at_once(FORMS[form], seed))
