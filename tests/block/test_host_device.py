# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``host_device`` driver, on a loop device where one can be had, else on character devices."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockBackend, BlockGraph, BlockNode
from asyncemu.block.flags import MAY_UNMAP, NO_FALLBACK, PERM_ALL, PERM_CONSISTENT_READ, PERM_WRITE
from asyncemu.block.host_device import HostDeviceCreation, HostDeviceDriver
from asyncemu.errors import BlockError, ConfigError
from asyncemu.memory.buffers import Buffers
from tests.block.conftest import allocated

SIZE = 1 << 20


def losetup(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["losetup", *arguments], capture_output=True, text=True, timeout=30, check=False)


def attach(path: Path, *options: str) -> str:
    if shutil.which("losetup") is None:
        pytest.skip("losetup is not installed (mount)")
    result = losetup("--find", "--show", *options, str(path))
    if result.returncode:
        pytest.skip(f"no loop device can be had here: {result.stderr.strip()}")
    return result.stdout.strip()


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    """The file behind ``device``."""
    path = tmp_path / "backing"
    path.write_bytes(random.Random(9).randbytes(SIZE))
    return path


@pytest.fixture
def device(backing: Path) -> Iterator[str]:
    """The name of a loop device of SIZE bytes that don't repeat."""
    name = attach(backing)
    yield name
    losetup("--detach", name)


async def opened(graph: BlockGraph, filename: str, **options: Any) -> BlockNode:
    table = {"driver": "host_device", "node-name": "disk", "filename": filename, "discard": "unmap", **options}
    return await graph.add_table(table, "blockdev[0]")


async def refused(graph: BlockGraph, filename: str, **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        await opened(graph, filename, **options)
    return caught.value


def driver_of(node: BlockNode) -> HostDeviceDriver:
    assert isinstance(node.driver, HostDeviceDriver)
    return node.driver


# ---- opening


async def test_open_device_has_its_size_and_sectors(graph: BlockGraph, device: str) -> None:
    node = await opened(graph, device)
    assert (node.size, node.limits.request_alignment, node.limits.discard_alignment) == (SIZE, 1, 512)


async def test_open_direct_takes_the_sectors_as_alignment(graph: BlockGraph, device: str) -> None:
    node = await opened(graph, device, cache={"direct": True})
    await node.pwritev(5, Buffers.of(b"direct"))
    assert node.limits.request_alignment >= 512
    assert await node.pread(5, 6) == b"direct"


async def test_open_regular_file_is_refused_as_in_qemu(graph: BlockGraph, backing: Path) -> None:
    error = await refused(graph, str(backing))
    problem = f"'host_device' driver requires '{backing}' to be either a character or block device"
    assert (error.problem, error.remedy) == (problem, 'use driver = "file"')


async def test_open_character_device_reads_it(graph: BlockGraph) -> None:
    node = await opened(graph, "/dev/zero", **{"read-only": True})
    assert node.size == 0
    got = bytearray(b"?" * 100)
    await node.driver.preadv(0, Buffers.of(got))
    assert got == bytes(100)


async def test_open_device_that_is_set_read_only_is_not_writable(graph: BlockGraph, backing: Path) -> None:
    name = attach(backing, "--read-only")
    try:
        error = await refused(graph, name)
        node = await opened(graph, name, **{"read-only": True})
        assert node.size == SIZE
        await graph.remove(node)
    finally:
        losetup("--detach", name)
    # By open(2), or by BLKROGET on older kernels.
    assert error.problem in (
        "The device is not writable: Permission denied",
        f"Could not open '{name}': Operation not permitted",
        f"Could not open '{name}': Permission denied",
    )


async def test_locks_keep_a_second_writer_out(graph: BlockGraph, device: str) -> None:
    first = BlockBackend("one", graph.context, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL & ~PERM_WRITE)
    await first.insert(await opened(graph, device))
    second = BlockBackend("two", graph.context, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL & ~PERM_WRITE)
    other = await opened(graph, device, **{"node-name": "other"})
    with pytest.raises(ConfigError, match='Failed to get "write" lock'):
        await second.insert(other)
    await first.remove()


# ---- requests


@pytest.mark.parametrize("aio", ["auto", "threads"])
async def test_requests_reach_the_device(graph: BlockGraph, device: str, backing: Path, aio: str) -> None:
    node = await opened(graph, device, aio=aio)
    model = bytearray(backing.read_bytes())
    await node.pwritev(1000, Buffers.of(b"w" * 3000))
    await node.write_zeroes(10_000, 20_000)
    await node.flush()
    model[1000:4000] = b"w" * 3000
    model[10_000:30_000] = bytes(20_000)
    assert await node.pread(0, SIZE) == model
    assert backing.read_bytes() == model


@pytest.mark.parametrize("flags", [0, MAY_UNMAP])
@pytest.mark.parametrize(("offset", "length"), [(0, SIZE), (512, 4096), (100, 10_000), (1000, 10)])
async def test_write_zeroes_zeroes_these_bytes(
    graph: BlockGraph, device: str, backing: Path, offset: int, length: int, flags: int
) -> None:
    model = bytearray(backing.read_bytes())
    node = await opened(graph, device)
    await node.pread(0, SIZE)  # in the page cache now
    await node.write_zeroes(offset, length, flags)
    model[offset : offset + length] = bytes(length)
    assert await node.pread(0, SIZE) == model


async def test_write_zeroes_that_may_unmap_gives_storage_back(graph: BlockGraph, device: str, backing: Path) -> None:
    node = await opened(graph, device)
    await node.write_zeroes(0, SIZE, MAY_UNMAP)
    await node.flush()
    assert allocated(backing)[1] * 512 < SIZE


async def test_write_zeroes_that_may_not_be_slow_is_refused(graph: BlockGraph, device: str) -> None:
    node = await opened(graph, device)
    with pytest.raises(BlockError) as caught:
        await node.write_zeroes(0, 4096, NO_FALLBACK)
    assert caught.value.errno == errno.ENOTSUP


async def test_discard_gives_storage_back(graph: BlockGraph, device: str, backing: Path) -> None:
    node = await opened(graph, device)
    await node.discard(0, SIZE)
    await node.discard(SIZE - 100, 100)
    assert allocated(backing)[1] * 512 < SIZE


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOTTY])
async def test_device_that_knows_none_of_it_is_asked_once_and_written(
    graph: BlockGraph, device: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    node = await opened(graph, device, aio="threads")
    asked: list[int] = []

    def ioctl(fd: int, request: int, *arguments: Any) -> None:
        asked.append(request)
        raise OSError(number, os.strerror(number))

    async def fallocate(*arguments: Any) -> None:
        ioctl(0, 0)

    with monkeypatch.context() as unable:
        unable.setattr(fcntl, "ioctl", ioctl)
        unable.setattr(driver_of(node).engine, "fallocate", fallocate)
        for _ in range(2):
            await node.write_zeroes(0, 4096, MAY_UNMAP)
            await node.discard(4096, 4096)
    assert asked == [0, 0x127F, 0x1277]
    assert await node.pread(0, 4096) == bytes(4096)


async def test_discard_that_fails_says_so(graph: BlockGraph, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    node = await opened(graph, device)

    def ioctl(*arguments: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as failing:
        failing.setattr(fcntl, "ioctl", ioctl)
        with pytest.raises(BlockError, match="disk: discard of 4096 bytes at 0: Input/output error"):
            await node.discard(0, 4096)


# ---- size


@pytest.mark.parametrize(
    ("size", "exact", "problem"),
    [
        (SIZE // 2, True, "Cannot resize device files"),
        (SIZE * 2, True, "Cannot resize device files"),
        (SIZE * 2, False, "Cannot grow device files"),
    ],
)
async def test_truncate_of_a_device_is_refused_as_by_qemu(
    graph: BlockGraph, device: str, size: int, exact: bool, problem: str
) -> None:
    node = await opened(graph, device)
    with pytest.raises(ConfigError) as caught:
        await node.truncate(size, exact=exact)
    assert (caught.value.problem, node.size) == (problem, SIZE)


async def test_truncate_with_preallocation_is_refused(graph: BlockGraph, device: str) -> None:
    node = await opened(graph, device)
    with pytest.raises(ConfigError, match="Preallocation mode 'full' unsupported for this non-regular file"):
        await node.truncate(SIZE, preallocation="full")


@pytest.mark.parametrize("exact", [False, True])
async def test_truncate_to_what_it_has_finds_the_size_of_now(
    graph: BlockGraph, device: str, backing: Path, exact: bool
) -> None:
    node = await opened(graph, device)
    os.truncate(backing, SIZE * 2)
    losetup("--set-capacity", device)
    await node.truncate(SIZE * 2, exact=exact)
    assert node.size == SIZE * 2


# ---- images on devices


async def create(filename: str, size: int) -> None:
    await HostDeviceDriver.create_file({"driver": "host_device", "filename": filename}, HostDeviceCreation(size=size))


async def test_create_clears_the_first_sector_only(graph: BlockGraph, device: str, backing: Path) -> None:
    model = backing.read_bytes()
    await create(device, SIZE)
    node = await opened(graph, device)
    assert await node.pread(0, SIZE) == bytes(512) + model[512:]


async def test_create_that_does_not_fit_is_refused_as_by_qemu(device: str, backing: Path) -> None:
    model = backing.read_bytes()
    with pytest.raises(ConfigError) as caught:
        await create(device, SIZE + 512)
    assert caught.value.problem == "Cannot grow device files"
    assert backing.read_bytes() == model


async def test_create_on_dev_null_is_fine_with_no_size() -> None:
    await create("/dev/null", 0)
    with pytest.raises(ConfigError, match="Cannot grow device files"):
        await create("/dev/null", 512)
