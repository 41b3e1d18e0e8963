# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a file has data and holes: against a model, against qemu-img map, and what is remembered of it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncemu.block import BlockBackend, BlockGraph, BlockNode
from asyncemu.block.file import FileDriver
from asyncemu.block.flags import (
    MAY_UNMAP,
    STATUS_ALLOCATED,
    STATUS_DATA,
    STATUS_EOF,
    STATUS_OFFSET_VALID,
    STATUS_ZERO,
)
from asyncemu.memory.buffers import Buffers

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed (qemu-utils)")

MIB = 1 << 20
DATA = STATUS_DATA | STATUS_OFFSET_VALID | STATUS_ALLOCATED
HOLE = STATUS_ZERO | STATUS_OFFSET_VALID | STATUS_ALLOCATED


def sparse(path: Path, size: int, *data: tuple[int, int]) -> None:
    """A file of ``size`` bytes with data at (offset, length) each."""
    with path.open("wb") as file:
        for offset, length in data:
            os.pwrite(file.fileno(), b"d" * length, offset)
        file.truncate(size)


async def opened(graph: BlockGraph, **options: Any) -> BlockNode:
    table = {"driver": "file", "node-name": "disk", "filename": "disk.img", "discard": "unmap", **options}
    return await graph.add_table(table, "blockdev[0]")


async def extents(node: BlockNode, want_zero: bool = True) -> list[tuple[int, int, int]]:
    """(start, length, flags) of all of the node."""
    found = []
    offset = 0
    while offset < node.size:
        status = await node.block_status(offset, node.size - offset, want_zero)
        assert (status.map, status.file) == (offset, node)
        found.append((offset, status.length, status.flags))
        offset += status.length
    return found


async def test_data_and_holes_are_told_apart(graph: BlockGraph, tmp_path: Path) -> None:
    sparse(tmp_path / "disk.img", 4 * MIB, (MIB, MIB), (3 * MIB, 65536))
    assert await extents(await opened(graph)) == [
        (0, MIB, HOLE),
        (MIB, MIB, DATA),
        (2 * MIB, MIB, HOLE),
        (3 * MIB, 65536, DATA),
        (3 * MIB + 65536, MIB - 65536, HOLE | STATUS_EOF),
    ]


async def test_who_does_not_care_for_zeroes_is_told_data(graph: BlockGraph, tmp_path: Path) -> None:
    sparse(tmp_path / "disk.img", 4 * MIB)
    assert await extents(await opened(graph), want_zero=False) == [(0, 4 * MIB, DATA | STATUS_EOF)]


async def test_file_that_ends_within_a_block_of_direct_io_is_known_up_to_its_end(
    graph: BlockGraph, tmp_path: Path
) -> None:
    sparse(tmp_path / "disk.img", 5000, (0, 5000))
    node = await opened(graph)
    node.driver.limits.request_alignment = 4096
    node.set_limits()
    assert await extents(node) == [(0, 5000, DATA | STATUS_EOF)]


async def test_file_system_that_can_not_say_has_data(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await opened(graph)

    def lseek(fd: int, offset: int, whence: int) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "lseek", lseek)
    assert await extents(node) == [(0, node.size, DATA | STATUS_EOF)]


async def test_remote_file_system_is_asked_in_a_thread(
    graph: BlockGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse(tmp_path / "disk.img", 2 * MIB, (0, MIB))
    monkeypatch.setattr("asyncemu.block.file.extents._is_local", lambda fd: False)
    node = await opened(graph)
    assert await extents(node) == [(0, MIB, DATA), (MIB, MIB, HOLE | STATUS_EOF)]
    assert node.context.worker_pool.statistics()["threads"] > 0


# ---- what is remembered


@pytest.fixture
def lseeks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offsets that lseek was asked about."""
    asked: list[int] = []
    lseek = os.lseek

    def counting(fd: int, offset: int, whence: int) -> int:
        asked.append(offset)
        return lseek(fd, offset, whence)

    monkeypatch.setattr(os, "lseek", counting)
    return asked


async def test_data_extent_is_looked_up_once(graph: BlockGraph, image: Path, lseeks: list[int]) -> None:
    node = await opened(graph)
    for offset in range(0, node.size, 4096):
        assert (await node.block_status(offset, 4096)).length == 4096
    assert lseeks == [0, 0]


async def test_write_into_data_is_still_data_unasked(graph: BlockGraph, image: Path, lseeks: list[int]) -> None:
    node = await opened(graph)
    await node.block_status(0, 4096)
    await node.pwritev(0, Buffers.of(b"x" * 4096))
    await node.block_status(0, 4096)
    assert lseeks == [0, 0]


@pytest.mark.parametrize("way", ["discard", "write_zeroes", "truncate"])
async def test_new_hole_is_seen(graph: BlockGraph, image: Path, way: str) -> None:
    node = await opened(graph)
    assert (await node.block_status(0, 4096)).flags & STATUS_DATA
    match way:
        case "discard":
            await node.discard(0, 32768)
        case "write_zeroes":
            await node.write_zeroes(0, 32768, MAY_UNMAP)
        case _:
            await node.truncate(0)
            await node.truncate(65536)
            # QEMU writes the first block of a new file, so that alignments can be found out.
            await node.discard(0, 4096)
    assert (await node.block_status(0, 4096)).flags & STATUS_ZERO


async def test_hole_that_is_made_while_one_looks_is_not_remembered_as_data(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = (await opened(graph)).driver
    assert isinstance(driver, FileDriver)
    answers = [(True, 65536), (False, 65536)]

    def look(fd: int, offset: int) -> tuple[bool, int]:
        driver._extents.forget()  # a discard ends
        return answers.pop(0)

    monkeypatch.setattr("asyncemu.block.file.extents._look", look)
    assert [await driver._extents.at(0), await driver._extents.at(0)] == [(True, 65536), (False, 65536)]


# ---- against others


runs = st.lists(st.tuples(st.sampled_from("dhz"), st.integers(1, 6)), min_size=1, max_size=12)


@given(runs=runs)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_sparse_file_is_described_as_it_is(
    graph: BlockGraph, tmp_path: Path, runs: list[tuple[str, int]]
) -> None:
    """Runs of data, holes and written zeroes in blocks of 64 KiB."""
    block = 65536
    path = tmp_path / "disk.img"
    size = sum(length for _, length in runs) * block
    sparse(path, size)
    expected = bytearray()
    with path.open("r+b") as file:
        for kind, length in runs:
            if kind != "h":
                os.pwrite(file.fileno(), (b"d" if kind == "d" else b"\0") * length * block, len(expected))
            expected += (b"h" if kind == "h" else b"d") * length * block
    node = await opened(graph)
    found = b"".join((b"d" if flags & STATUS_DATA else b"h") * length for _, length, flags in await extents(node))
    await graph.remove(node)
    assert found == expected


@needs_qemu_img
@pytest.mark.parametrize(
    ("size", "data"),
    [(4 * MIB, ((MIB, MIB), (3 * MIB, 4096))), (MIB, ()), (8192, ((0, 8192),)), (MIB + 512, ((4096, 4096),))],
)
async def test_map_is_that_of_qemu_img(
    graph: BlockGraph, tmp_path: Path, size: int, data: tuple[tuple[int, int], ...]
) -> None:
    path = tmp_path / "disk.img"
    sparse(path, size, *data)
    command = ["qemu-img", "map", "-f", "raw", "--output=json", str(path)]
    answer = subprocess.run(command, capture_output=True, check=True, timeout=30)
    theirs = [(each["start"], each["length"], each["data"], each["zero"]) for each in json.loads(answer.stdout)]
    node = await graph.add_table({"driver": "raw", "file": {"driver": "file", "filename": "disk.img"}}, "blockdev[0]")
    backend = BlockBackend("map", graph.context)
    await backend.insert(node)
    ours = []
    offset = 0
    while offset < size:
        status = await backend.block_status(offset, size - offset)
        ours.append((offset, status.length, bool(status.flags & STATUS_DATA), bool(status.flags & STATUS_ZERO)))
        offset += status.length
    await backend.remove()
    assert ours == theirs
