# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``raw`` driver: another node as it is, or a window of it."""

from __future__ import annotations

import errno
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockBackend, BlockGraph
from asyncemu.block.flags import (
    FUA,
    MAY_UNMAP,
    NO_FALLBACK,
    PERM_ALL,
    PERM_CONSISTENT_READ,
    PERM_RESIZE,
    PERM_WRITE,
    ROLE_DATA,
    ROLE_FILTER,
    ROLE_PRIMARY,
    STATUS_DATA,
    WRITE_COMPRESSED,
    WRITE_UNCHANGED,
)
from asyncemu.block.raw import RawCreation, RawDriver
from asyncemu.block.reopen import reopen
from asyncemu.errors import BlockError, ConfigError
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.memory_disk import MemoryDisk
from tests.block.conftest import IMAGE_SIZE, contents
from tests.block.drivers import use

needs_qemu = pytest.mark.skipif(shutil.which("qemu-io") is None, reason="qemu-io is not installed (qemu-utils)")

#: What qcow2 images begin with: magic and version.
QCOW2_HEAD = b"QFI\xfb\0\0\0\3"


async def window(graph: BlockGraph, **options: object) -> tuple[BlockGraph, MemoryDisk]:
    """``raw`` over 4096 bytes of ``below``."""
    below = {"driver": "memory", "node-name": "below", "size": 4096, "discard": "unmap"}
    await graph.add_table(below, "blockdev[0]")
    await graph.add_table(
        {"driver": "raw", "node-name": "raw", "file": "below", "discard": "unmap", **options}, "blockdev[1]"
    )
    driver = graph.nodes["below"].driver
    assert isinstance(driver, MemoryDisk)
    return graph, driver


async def refused(graph: BlockGraph, **options: object) -> str:
    with pytest.raises(ConfigError) as caught:
        await window(graph, **options)
    return str(caught.value)


async def over_file(graph: BlockGraph, **options: Any) -> BlockBackend:
    """A backend with all permissions over raw over ``disk.img``."""
    file = {"driver": "file", "filename": "disk.img"}
    await graph.add_table({"driver": "raw", "node-name": "raw", "file": file, **options}, "blockdev[0]")
    return await inserted(graph, "raw")


async def inserted(graph: BlockGraph, name: str, permissions: int = PERM_ALL, shared: int = PERM_ALL) -> BlockBackend:
    backend = BlockBackend("user", graph.context, permissions, shared)
    await backend.insert(graph.nodes[name])
    return backend


# ---- the window


async def test_requests_are_shifted_by_the_offset(graph: BlockGraph) -> None:
    _, disk = await window(graph, offset=1024, size=2048)
    await use(graph.nodes["raw"])
    raw = graph.nodes["raw"]
    await raw.pwritev(0, Buffers.of(b"x" * 10))
    await raw.preadv(5, Buffers.of(bytearray(3)))
    await raw.discard(100, 200)
    await raw.write_zeroes(2, 4, MAY_UNMAP)
    await raw.flush()
    assert disk.requests == [
        ("pwritev", 1024, 10),
        ("preadv", 1029, 3),
        ("discard", 1124, 200),
        ("write_zeroes", 1026, 4),
        ("flush", 0, 0),
    ]
    assert disk.data[1024:1034] == b"xx\0\0\0\0xxxx"


async def test_read_past_the_window_gives_zeroes_though_more_is_below(graph: BlockGraph) -> None:
    _, disk = await window(graph, offset=1024, size=2048)
    disk.data[:] = b"d" * 4096
    assert await graph.nodes["raw"].pread(2047, 3) == b"d\0\0"


@pytest.mark.parametrize("offset", [2047, 2048])
async def test_write_past_the_window_has_no_space_though_more_is_below(graph: BlockGraph, offset: int) -> None:
    _, disk = await window(graph, offset=1024, size=2048)
    with pytest.raises(BlockError) as caught:
        await graph.nodes["raw"].pwritev(offset, Buffers.of(b"xx"))
    assert (caught.value.errno, disk.requests) == (errno.ENOSPC, [])


async def test_write_past_the_end_makes_the_file_longer(graph: BlockGraph, image: Path) -> None:
    backend = await over_file(graph)
    backend.allow_write_beyond_end = True
    await backend.pwrite(IMAGE_SIZE + 10, b"more")
    assert backend.size == IMAGE_SIZE + 14
    assert contents(image)[IMAGE_SIZE:] == bytes(10) + b"more"
    await backend.remove()


async def test_size_left_out_reaches_the_end(graph: BlockGraph) -> None:
    await window(graph, offset="1KiB")
    assert graph.nodes["raw"].size == 3072


async def test_size_zero_is_an_empty_disk(graph: BlockGraph) -> None:
    await window(graph, size=0)
    assert graph.nodes["raw"].size == 0


async def test_offset_past_the_end_is_refused_as_by_qemu(graph: BlockGraph) -> None:
    assert await refused(graph, offset=4097) == (
        "blockdev[1].offset: Offset (4097) cannot be greater than size of the containing file (4096)"
    )


async def test_size_that_is_no_multiple_of_512_is_refused_as_by_qemu(graph: BlockGraph) -> None:
    assert await refused(graph, size=1000) == "blockdev[1].size: Specified size is not multiple of 512"


async def test_size_past_the_end_is_refused_as_by_qemu(graph: BlockGraph) -> None:
    assert await refused(graph, offset=4000, size=97) == (
        "blockdev[1].size: The sum of offset (4000) and size (97) has to be smaller or equal to the  actual size "
        "of the containing file (4096)"
    )


async def test_negative_offset_is_refused(graph: BlockGraph) -> None:
    assert await refused(graph, offset=-1) == "blockdev[1].offset: must be at least 0, not -1"


async def test_read_only_below_makes_raw_read_only(graph: BlockGraph) -> None:
    raw = await graph.add_table({"driver": "raw", "file": {"driver": "memory", "read-only": True}}, "blockdev[0]")
    with pytest.raises(BlockError, match="Read-only file system"):
        await raw.pwritev(0, Buffers.of(b"x"))


async def test_compressed_write_is_refused(graph: BlockGraph) -> None:
    await window(graph)
    with pytest.raises(BlockError) as caught:
        await graph.nodes["raw"].pwritev(0, Buffers.of(b"x" * 512), WRITE_COMPRESSED)
    assert caught.value.errno == errno.ENOTSUP


async def test_flags_that_the_node_below_has_not_are_done_without(graph: BlockGraph) -> None:
    _, disk = await window(graph)
    await use(graph.nodes["raw"])
    await graph.nodes["raw"].pwritev(0, Buffers.of(b"x"), FUA)
    with pytest.raises(BlockError, match="Operation not supported"):
        await graph.nodes["raw"].write_zeroes(0, 512, NO_FALLBACK)
    assert disk.requests == [("pwritev", 0, 1), ("flush", 0, 0)]


async def test_flags_are_those_of_the_node_below(graph: BlockGraph, image: Path) -> None:
    node = (await over_file(graph)).node
    assert node.driver.write_flags == FUA | WRITE_UNCHANGED
    assert node.driver.zero_flags == MAY_UNMAP | NO_FALLBACK | WRITE_UNCHANGED


# ---- size


async def test_truncate_is_shifted_by_the_offset(graph: BlockGraph, image: Path) -> None:
    backend = await over_file(graph, offset=1000)
    await backend.truncate(5000)
    assert (backend.size, image.stat().st_size) == (5000, 6000)
    await backend.remove()


@pytest.mark.parametrize(
    ("options", "size", "problem"),
    [
        ({"size": 512}, 1024, "Cannot resize fixed-size raw disks"),
        ({"offset": 512}, (1 << 63) - 1, "Disk size too large for the chosen offset"),
    ],
)
async def test_truncate_that_can_not_be_says_so_as_qemu(
    graph: BlockGraph, image: Path, options: dict[str, Any], size: int, problem: str
) -> None:
    backend = await over_file(graph, **options)
    with pytest.raises(ConfigError) as caught:
        await backend.truncate(size)
    assert caught.value.problem == problem
    await backend.remove()


async def test_file_that_grows_makes_raw_longer(graph: BlockGraph, image: Path) -> None:
    backend = await over_file(graph, offset=1000)
    await backend.node.children[0].node.truncate(IMAGE_SIZE + 24)
    assert backend.size == IMAGE_SIZE - 976
    await backend.remove()


async def test_file_that_grows_leaves_a_window_as_it_is(graph: BlockGraph, image: Path) -> None:
    backend = await over_file(graph, offset=1000, size=512)
    await backend.node.children[0].node.truncate(IMAGE_SIZE + 24)
    assert backend.size == 512
    await backend.remove()


async def test_reopen_with_another_window(graph: BlockGraph) -> None:
    _, disk = await window(graph, offset=1024, size=1024)
    disk.data[2048:2051] = b"new"
    raw = graph.nodes["raw"]
    await reopen(graph, {raw: {"offset": 2048, "size": 512}}, keep=True)
    assert raw.size == 512
    assert await raw.pread(0, 3) == b"new"
    assert raw.children[0].role == ROLE_DATA | ROLE_PRIMARY


async def test_reopen_without_a_window_is_a_filter_again(graph: BlockGraph) -> None:
    await window(graph, offset=1024, size=1024)
    raw = graph.nodes["raw"]
    await reopen(graph, {raw: {}})
    assert (raw.size, raw.children[0].role) == (4096, ROLE_FILTER)


async def test_reopen_with_a_window_past_the_end_changes_nothing(graph: BlockGraph) -> None:
    await window(graph, offset=1024, size=1024)
    raw = graph.nodes["raw"]
    with pytest.raises(ConfigError, match="cannot be greater than size of the containing file"):
        await reopen(graph, {raw: {"offset": 5000}}, keep=True)
    assert raw.size == 1024


# ---- permissions


@pytest.mark.parametrize(
    ("options", "permissions", "shared"),
    [
        ({}, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL),
        # No growth of its own, but nobody may cut it off.
        ({"size": 512}, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL & ~PERM_RESIZE),
        ({"size": 512}, PERM_CONSISTENT_READ, PERM_ALL & ~PERM_RESIZE),
    ],
)
async def test_file_is_wanted_as_much_as_raw_is(
    graph: BlockGraph, options: dict[str, Any], permissions: int, shared: int
) -> None:
    await window(graph, **options)
    backend = await inserted(graph, "raw", permissions)
    edge = graph.nodes["raw"].children[0]
    assert (edge.permissions, edge.shared) == (permissions, shared)
    await backend.remove()


# ---- a format that was guessed


async def guessed(graph: BlockGraph, **options: Any) -> BlockBackend:
    await graph.add_table({"node-name": "raw", "file": {"driver": "file", "filename": "disk.img"}, **options}, "drive")
    return await inserted(graph, "raw")


@pytest.mark.parametrize("data", [QCOW2_HEAD + bytes(504), QCOW2_HEAD + bytes(2000)])
async def test_guessed_raw_does_not_become_another_format(graph: BlockGraph, image: Path, data: bytes) -> None:
    before = contents(image)
    backend = await guessed(graph)
    with pytest.raises(BlockError) as caught:
        await backend.pwrite(0, data)
    assert (caught.value.errno, contents(image)) == (errno.EPERM, before)
    await backend.remove()


async def test_guessed_raw_does_not_become_another_format_bit_by_bit(graph: BlockGraph, image: Path) -> None:
    backend = await guessed(graph)
    await backend.pwrite(1, QCOW2_HEAD[1:])
    with pytest.raises(BlockError, match="Operation not permitted"):
        await backend.pwrite(0, QCOW2_HEAD[:1])
    assert contents(image)[1:8] == QCOW2_HEAD[1:]
    await backend.remove()


async def test_guessed_raw_takes_all_other_writes(graph: BlockGraph, image: Path) -> None:
    backend = await guessed(graph)
    await backend.pwrite(0, b"x" * 2000)
    await backend.pwrite(512, QCOW2_HEAD)
    await backend.write_zeroes(0, 100)
    assert contents(image)[:520] == bytes(100) + b"x" * 412 + QCOW2_HEAD
    await backend.remove()


async def test_raw_by_name_becomes_what_the_guest_likes(graph: BlockGraph, image: Path) -> None:
    backend = await over_file(graph)
    await backend.pwrite(0, QCOW2_HEAD + bytes(504))
    assert contents(image)[:8] == QCOW2_HEAD
    await backend.remove()


@needs_qemu
async def test_guessed_raw_refuses_what_qemu_refuses(graph: BlockGraph, image: Path) -> None:
    patterns = {"qcow2": QCOW2_HEAD, "text": b"text", "no version": QCOW2_HEAD[:4]}
    theirs = {}
    for name, head in patterns.items():
        (image.parent / "sector").write_bytes(head.ljust(512, b"\0"))
        command = ["qemu-io", "-c", "write -s sector 0 512", "disk.img"]
        result = subprocess.run(command, cwd=image.parent, capture_output=True, text=True, timeout=30, check=False)
        theirs[name] = "Operation not permitted" in result.stdout + result.stderr
    backend = await guessed(graph)
    ours = {}
    for name, head in patterns.items():
        try:
            await backend.pwrite(0, head.ljust(512, b"\0"))
        except BlockError as error:
            ours[name] = error.errno == errno.EPERM
        else:
            ours[name] = False
    await backend.remove()
    assert ours == theirs == {"qcow2": True, "text": False, "no version": False}


# ---- the image


async def test_block_status_is_the_files(graph: BlockGraph, tmp_path: Path) -> None:
    with (tmp_path / "disk.img").open("wb") as file:
        file.write(b"d" * 65536)
        file.truncate(1 << 20)
    backend = await over_file(graph, offset=4096)
    status = await backend.block_status(0, backend.size)
    file_node = backend.node.children[0].node
    assert (status.length, status.map, status.file) == (61440, 4096, file_node)
    assert status.flags & STATUS_DATA
    await backend.remove()


async def test_allocated_size_and_zero_init_are_the_files(graph: BlockGraph, image: Path) -> None:
    backend = await over_file(graph)
    driver = backend.node.driver
    assert (await driver.allocated_size(), driver.has_zero_init()) == (image.stat().st_blocks * 512, True)
    assert (await driver.image_info()).format_specific is None
    await backend.remove()


async def test_create_makes_the_file_so_long_in_whole_sectors(graph: BlockGraph, tmp_path: Path) -> None:
    (tmp_path / "disk.img").touch()
    await graph.add_table({"driver": "file", "node-name": "file", "filename": "disk.img"}, "blockdev[0]")
    backend = await inserted(graph, "file", PERM_WRITE | PERM_RESIZE)
    await RawDriver.create(backend, RawCreation(size=700))
    assert (tmp_path / "disk.img").stat().st_size == 1024
    await backend.remove()


@needs_qemu
@pytest.mark.parametrize("size", [0, 700, 1 << 20])
async def test_measure_is_that_of_qemu_img(size: int) -> None:
    command = ["qemu-img", "measure", "-O", "raw", "--size", str(size)]
    theirs = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    found = await RawDriver.measure(RawCreation(size=size), None)
    assert theirs == f"required size: {found.required}\nfully allocated size: {found.fully_allocated}\n"


async def test_measure_of_a_source_is_its_size(graph: BlockGraph, image: Path) -> None:
    backend = await over_file(graph)
    found = await RawDriver.measure(RawCreation(), backend)
    assert (found.required, found.fully_allocated, found.bitmaps) == (IMAGE_SIZE, IMAGE_SIZE, None)
    await backend.remove()
