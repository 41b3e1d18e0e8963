# SPDX-License-Identifier: GPL-2.0-or-later
"""Images with damage anywhere: opening and using them gives errors of one line, never more, and takes no memory."""

from __future__ import annotations

import asyncio
import struct
import tempfile
import time
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.flags import WRITE_COMPRESSED
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext
from tests.block.qcow2.conftest import create, header_field, open_image, opened, pattern, qemu_img, write

pytestmark = pytest.mark.slow

SIZE: Final = 256 << 10

#: Bytes that all of this may need beyond the image; generous, for a bound.
MEMORY: Final = 64 << 20

FORMS: dict[str, dict[str, Any]] = {
    "version 3": {"cluster_size": 512},
    "version 2": {"cluster_size": 512, "compat": "0.10"},
    "subclusters": {"cluster_size": 16384, "extended_l2": True},
    "compressed": {"cluster_size": 4096},
    "refcounts of 1 bit": {"cluster_size": 512, "refcount_bits": 1},
}


def run(main: Any) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


@cache
def good_image(form: str) -> tuple[bytes, tuple[int, ...]]:
    """An image with data, a snapshot and a bitmap; and where in it the words are that something depends on."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "image"
        run(_make(path, form))
        data = path.read_bytes()
        return data, tuple(_places(path, len(data)))


async def _make(path: Path, form: str) -> None:
    context = AioContext(asyncio.get_running_loop(), "make")
    graph = BlockGraph(context, path.parent)
    await create(graph, path, SIZE, **FORMS[form])
    async with opened(graph, path) as node:
        await write(node, 0, pattern(60_000))
        if form == "compressed":
            await write(node, SIZE // 2, b"c" * 40_960, WRITE_COMPRESSED)
    await graph.close()
    context.close()
    if form != "refcounts of 1 bit":
        qemu_img("snapshot", "-c", "one", path)
    if "compat" not in FORMS[form]:
        qemu_img("bitmap", "--add", "-g", "512", path, "bitmap")


def _places(path: Path, size: int) -> list[int]:
    places = [*range(0, 112, 4), 112, 116, 120, 128, 504]
    for field, words in ((40, 4), (48, 4), (64, 8)):
        table = header_field(path, field, ">Q")
        places += [table + 8 * index for index in range(words)]
    l2_table = header_field(path, header_field(path, 40, ">Q"), ">Q") & (1 << 56) - 512
    places += [l2_table + 8 * index for index in range(8)]
    block = header_field(path, header_field(path, 48, ">Q"), ">Q")
    places += [block + 8 * index for index in range(4)]
    return [place for place in places if place + 8 <= size]


words = st.one_of(
    st.sampled_from([0, 1, 0xFF, 512, 513, 1 << 20, (1 << 32) - 1, 1 << 40, 1 << 56, 1 << 62, 1 << 63, (1 << 64) - 1]),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 200).map(lambda cluster: cluster << 9 | 1 << 63),
)
damage = st.lists(st.tuples(st.integers(0, 1000), words, st.sampled_from([">Q", ">I", ">H"])), min_size=1, max_size=4)


async def use(node: BlockNode) -> None:
    """All kinds of requests; what fails is told by a BlockError."""
    requests = [
        lambda: node.pread(0, SIZE),
        lambda: node.block_status(0, SIZE),
        lambda: write(node, 1000, b"w" * 5000),
        lambda: write(node, SIZE - 20_000, b"w" * 20_000),
        lambda: node.write_zeroes(0, 20_000),
        lambda: node.discard(32_768, 65_536),
        lambda: write(node, 65_536, b"c" * 16_384, WRITE_COMPRESSED),
        node.flush,
        lambda: node.truncate(SIZE // 2, exact=True),
        lambda: node.truncate(SIZE, exact=True),
        node.driver.image_info,
        node.flush,
    ]
    for request in requests:
        try:
            await request()
        except (BlockError, ConfigError) as error:
            assert "\n" not in str(error)


async def try_image(data: bytes, read_only: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "image"
        path.write_bytes(data)
        context = AioContext(asyncio.get_running_loop(), "try")
        graph = BlockGraph(context, Path(directory))
        try:
            node = await open_image(graph, path, read_only=read_only)
            await use(node)
            await graph.remove(node)
        except (BlockError, ConfigError) as error:
            assert "\n" not in str(error)
        finally:
            try:
                await graph.close()
            except* BlockError:
                pass
            context.close()


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40, deadline=5000)
@given(changes=damage, read_only=st.booleans())
def test_image_with_damage_anywhere_gives_errors_of_one_line(
    form: str, changes: list[tuple[int, int, str]], read_only: bool
) -> None:
    good, places = good_image(form)
    data = bytearray(good)
    for index, word, kind in changes:
        bits = 8 * struct.calcsize(kind)
        struct.pack_into(kind, data, places[index % len(places)], word & (1 << bits) - 1)

    run(try_image(bytes(data), read_only))


@settings(max_examples=60, deadline=5000)
@given(cut=st.integers(0, 60_000))
def test_image_that_is_cut_off_gives_errors_of_one_line(cut: int) -> None:
    run(try_image(good_image("version 3")[0][:cut], False))


LARGEST: list[tuple[str, int, str, int]] = [
    ("an L1 table of 32 MiB", 36, ">I", 4 << 20),
    ("a refcount table of 8 MiB", 56, ">I", 16384),
    ("65536 snapshots", 60, ">I", 65536),
    ("a backing file's name of 4 GiB", 16, ">I", (1 << 32) - 1),
    ("a header of 4 GiB", 100, ">I", (1 << 32) - 1),
]


@pytest.mark.parametrize(("what", "offset", "kind", "value"), LARGEST, ids=[what for what, *_ in LARGEST])
def test_image_that_claims_much_takes_little_memory(what: str, offset: int, kind: str, value: int) -> None:
    data = bytearray(good_image("version 3")[0])
    struct.pack_into(kind, data, offset, value)
    tracemalloc.start()
    try:
        run(try_image(bytes(data), False))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < MEMORY + 2 * (32 << 20)


def test_image_whose_refcount_table_names_one_full_block_everywhere_is_searched_quickly() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "image"
        qemu_img("create", "-q", "-f", "qcow2", path, "1M")
        data = bytearray(path.read_bytes().ljust(0x40000, b"\0"))
        data[0x20000:0x30000] = b"\0\1" * 0x8000
        data += (0x20000).to_bytes(8, "big") * (1 << 17)
        struct.pack_into(">QI", data, 48, 0x40000, 16)

        began = time.process_time()
        run(try_image(bytes(data), False))

    # Without that, each of 131072 look-ups would search 32768 refcounts.
    assert time.process_time() - began < 5
