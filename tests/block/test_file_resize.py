# SPDX-License-Identifier: GPL-2.0-or-later
"""Other sizes for files, with and without storage for what is new; new files. Beside qemu-img."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockBackend, BlockGraph, BlockNode
from asyncemu.block.file import FileDriver
from asyncemu.block.file.creation import FileCreation
from asyncemu.block.file.resize import ResizeError
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE
from asyncemu.block.types import Preallocation
from asyncemu.errors import ConfigError
from asyncemu.memory.buffers import Buffers
from tests.block.conftest import IMAGE_SIZE, allocated, contents

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed (qemu-utils)")

MIB = 1 << 20
MODES: list[Preallocation] = ["off", "falloc", "full"]


async def opened(graph: BlockGraph, **options: Any) -> BlockNode:
    table = {"driver": "file", "node-name": "disk", "filename": "disk.img", **options}
    return await graph.add_table(table, "blockdev[0]")


def qemu_img(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["qemu-img", *arguments], cwd=cwd, capture_output=True, text=True, timeout=30, check=False)


# ---- truncate


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [IMAGE_SIZE, IMAGE_SIZE + 1, MIB + 4096])
async def test_truncate_longer_keeps_the_bytes_and_adds_zeroes(
    graph: BlockGraph, image: Path, mode: Preallocation, size: int
) -> None:
    before = contents(image)
    node = await opened(graph)
    await node.truncate(size, preallocation=mode)
    assert node.size == size
    assert contents(image) == before.ljust(size, b"\0")


@pytest.mark.parametrize(("mode", "has_storage"), [("off", False), ("falloc", True), ("full", True)])
async def test_truncate_longer_provides_storage_as_asked(
    graph: BlockGraph, image: Path, mode: Preallocation, has_storage: bool
) -> None:
    node = await opened(graph)
    await node.truncate(IMAGE_SIZE + MIB, preallocation=mode)
    assert (allocated(image)[1] * 512 >= IMAGE_SIZE + MIB) == has_storage


async def test_truncate_shorter_cuts_off(graph: BlockGraph, image: Path) -> None:
    before = contents(image)
    node = await opened(graph)
    await node.truncate(1000, exact=True)
    assert (node.size, contents(image)) == (1000, before[:1000])


@pytest.mark.parametrize(
    ("size", "mode", "problem"),
    [
        (1000, "falloc", "Cannot use preallocation for shrinking files"),
        (1000, "full", "Cannot use preallocation for shrinking files"),
        (MIB, "metadata", "Unsupported preallocation mode: metadata"),
    ],
)
async def test_truncate_that_can_not_be_says_so_as_qemu_img(
    graph: BlockGraph, image: Path, size: int, mode: Preallocation, problem: str
) -> None:
    node = await opened(graph)
    with pytest.raises(ConfigError) as caught:
        await node.truncate(size, preallocation=mode)
    assert caught.value.problem == problem
    assert (node.size, image.stat().st_size) == (IMAGE_SIZE, IMAGE_SIZE)


@pytest.mark.parametrize(
    ("call", "mode", "doing"),
    [
        ("ftruncate", "off", "Could not resize file"),
        ("posix_fallocate", "falloc", "Could not preallocate new data"),
        ("pwrite", "full", "Could not write zeros for preallocation"),
        ("fsync", "full", "Could not flush file to disk"),
    ],
)
async def test_truncate_that_the_host_refuses_leaves_the_size(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch, call: str, mode: Preallocation, doing: str
) -> None:
    node = await opened(graph)

    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, call, refuse)
        with pytest.raises(ResizeError) as caught:
            await node.truncate(MIB, preallocation=mode)
    assert caught.value.problem == f"{doing}: No space left on device"
    assert str(caught.value) == f"disk: {doing}: No space left on device"
    assert (node.size, image.stat().st_size) == (IMAGE_SIZE, IMAGE_SIZE)


async def test_truncate_grown_by_a_hole_reads_as_zeroes_after_it_was_shorter(graph: BlockGraph, image: Path) -> None:
    node = await opened(graph)
    await node.truncate(0)
    await node.truncate(IMAGE_SIZE)
    assert await node.pread(0, IMAGE_SIZE) == bytes(IMAGE_SIZE)


async def test_allocated_size_is_the_storage(graph: BlockGraph, image: Path) -> None:
    node = await opened(graph)
    await node.truncate(100 * MIB)
    assert await node.driver.allocated_size() == allocated(image)[1] * 512
    assert await node.driver.allocated_size() < MIB


# ---- new files


async def created(path: Path, **options: Any) -> None:
    await FileDriver.create_file({"driver": "file", "filename": str(path)}, FileCreation(**options))


@needs_qemu_img
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [0, 700, 4096, MIB])
async def test_create_makes_what_qemu_img_makes(tmp_path: Path, mode: Preallocation, size: int) -> None:
    await created(tmp_path / "ours", size=size, preallocation=mode)
    qemu_img("create", "-f", "raw", "-o", f"preallocation={mode}", "theirs", str(size), cwd=tmp_path)
    assert allocated(tmp_path / "ours") == allocated(tmp_path / "theirs")
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


async def test_create_empties_what_is_there(image: Path) -> None:
    await created(image, size=8192)
    assert contents(image) == bytes(8192)


async def test_create_of_a_file_in_use_is_refused(graph: BlockGraph, image: Path) -> None:
    before = contents(image)
    backend = BlockBackend("disk", graph.context, PERM_CONSISTENT_READ, PERM_ALL & ~PERM_WRITE)
    await backend.insert(await opened(graph))
    with pytest.raises(ConfigError) as caught:
        await created(image, size=8192)
    await backend.remove()
    assert (caught.value.problem, caught.value.remedy) == (
        'Failed to get "write" lock',
        f"Is another process using the image [{image}]?",
    )
    assert contents(image) == before


async def test_create_drops_its_locks(graph: BlockGraph, tmp_path: Path) -> None:
    await created(tmp_path / "disk.img", size=8192)
    backend = BlockBackend("disk", graph.context, PERM_WRITE | PERM_RESIZE, 0)
    await backend.insert(await opened(graph))
    await backend.remove()


async def test_create_where_no_directory_is_says_so_as_qemu_img(tmp_path: Path) -> None:
    path = tmp_path / "no" / "disk.img"
    with pytest.raises(ConfigError) as caught:
        await created(path)
    assert caught.value.problem == f"Could not create '{path}': No such file or directory"


async def test_create_extent_size_hint_has_32_bits(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        await created(tmp_path / "disk.img", extent_size_hint=1 << 32)
    assert caught.value.problem == "Extent size hint is too large"
    assert not (tmp_path / "disk.img").exists()


@pytest.mark.parametrize("options", [{"nocow": True}, {"extent_size_hint": 0}, {"extent_size_hint": 2 * MIB}])
async def test_create_hints_to_file_systems_that_have_no_use_for_them_do_no_harm(
    tmp_path: Path, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    await created(tmp_path / "disk.img", size=4096, **options)
    assert contents(tmp_path / "disk.img") == bytes(4096)


async def test_create_extent_size_hint_that_is_refused_warns_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def ioctl(*arguments: Any) -> None:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    await created(tmp_path / "quiet.img", nocow=True)
    await created(tmp_path / "disk.img", extent_size_hint=MIB)
    assert [record.getMessage() for record in caplog.records] == [
        "Failed to set extent size hint: Inappropriate ioctl for device"
    ]


@needs_qemu_img
def test_creation_options_are_those_of_qemu_img(tmp_path: Path) -> None:
    lines = qemu_img("create", "-f", "raw", "-o", "help", "x", cwd=tmp_path).stdout.splitlines()[1:]
    theirs = {line.split("=")[0].strip(): line.partition(" - ")[2] for line in lines}
    assert {name: field.description for name, field in FileCreation.fields.items()} == theirs


async def test_new_file_has_zeroes_at_once(graph: BlockGraph, tmp_path: Path) -> None:
    await created(tmp_path / "disk.img", size=8192)
    node = await opened(graph)
    assert node.driver.has_zero_init()
    got = bytearray(b"?" * 8192)
    await node.preadv(0, Buffers.of(got))
    assert got == bytes(8192)
