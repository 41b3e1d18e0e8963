# SPDX-License-Identifier: GPL-2.0-or-later
"""Opening: what is refused, what is marked, what is kept; and reopening with other options."""

from __future__ import annotations

import errno
import json
import struct
from pathlib import Path

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.open_mode import OpenMode
from asyncemu.block.qcow2 import overlap
from asyncemu.block.qcow2.cleaner import CacheCleaner
from asyncemu.block.reopen import reopen
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import Clock, ClockKind
from asyncemu.testing.fake_clock import FakeClock
from tests.block.qcow2.conftest import (
    create,
    header_field,
    image_of,
    l2_table_offset,
    open_image,
    opened,
    patch,
    pattern,
    qemu_create,
    qemu_img,
    qemu_io,
    qemu_reads,
    qemu_says_clean,
    write,
)

SIZE = 1 << 20
DIRTY, CORRUPT = 1, 2


async def test_open_no_image_is_refused_with_its_place(graph: BlockGraph, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(1 << 16))

    with pytest.raises(ConfigError, match="offset 0: Image is not in qcow2 format"):
        await open_image(graph, path)


async def test_open_empty_file_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"")

    with pytest.raises(ConfigError, match="Image is not in qcow2 format"):
        await open_image(graph, path)


async def test_open_corrupt_image_for_writing_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    patch(path, 72, CORRUPT.to_bytes(8, "big"))

    with pytest.raises(ConfigError, match="qcow2: Image is corrupt; cannot be opened read/write"):
        await open_image(graph, path)


async def test_open_corrupt_image_for_reading_works(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    patch(path, 72, CORRUPT.to_bytes(8, "big"))

    async with opened(graph, path, read_only=True) as node:
        assert await node.pread(0, 512) == bytes(512)
        assert (await node.driver.image_info()).corrupt


@pytest.mark.parametrize(("method", "name"), [(1, "aes"), (2, "luks")])
async def test_open_encrypted_image_for_io_is_refused_and_for_information_works(
    method: int, name: str, graph: BlockGraph, tmp_path: Path
) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    patch(path, 32, method.to_bytes(4, "big"))

    with pytest.raises(ConfigError, match=f"Encrypted images are not supported .encryption format '{name}'"):
        await open_image(graph, path)
    node = await open_image(graph, path, OpenMode(no_io=True), read_only=True)
    info = await node.driver.image_info()

    assert info.encrypted
    assert info.format_specific is not None
    specific = info.format_specific["data"]
    assert isinstance(specific, dict)
    assert specific["encrypt"] == {"format": name}


async def test_open_for_writing_clears_unknown_autoclear_bits(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    patch(path, 88, (1 << 40).to_bytes(8, "big"))

    async with opened(graph, path, read_only=True):
        untouched = header_field(path, 88, ">Q")
    async with opened(graph, path):
        pass

    assert untouched == 1 << 40
    assert header_field(path, 88, ">Q") == 0


async def test_open_unknown_compatible_bits_are_kept(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    patch(path, 80, (1 << 40).to_bytes(8, "big"))

    async with opened(graph, path) as node:
        await node.driver.change_backing_file("base", "raw")

    assert header_field(path, 80, ">Q") == 1 << 40


async def test_open_names_the_backing_file_and_its_format(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, backing_file="base.raw", backing_fmt="raw")

    node = await open_image(graph, path, OpenMode(open_backing=False))

    assert (node.driver.backing_file, node.driver.backing_format) == ("base.raw", "raw")


async def test_change_backing_file_is_what_qemu_sees(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await node.driver.change_backing_file("new base", "raw")

    assert "backing file: new base" in qemu_img("info", path)
    assert "backing file format: raw" in qemu_img("info", path)


async def test_change_backing_file_to_none_is_what_qemu_sees(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, backing_file="base.raw", backing_fmt="raw")
    node = await open_image(graph, path, OpenMode(open_backing=False))
    await node.driver.change_backing_file("", "")
    await graph.remove(node)

    assert "backing file" not in qemu_img("info", path)


@pytest.mark.parametrize(("name", "number"), [("n" * 1024, errno.EINVAL), ("n" * 500, errno.ENOSPC)])
async def test_change_backing_file_that_does_not_fit_leaves_the_old_one(
    name: str, number: int, graph: BlockGraph, tmp_path: Path
) -> None:
    path = qemu_create(tmp_path / "image", SIZE, cluster_size=512)
    before = path.read_bytes()[:512]
    async with opened(graph, path) as node:
        with pytest.raises(OSError) as refused:
            await node.driver.change_backing_file(name, "raw")

    assert refused.value.errno == number
    assert path.read_bytes()[:512] == before


async def test_image_info_is_qemus(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, lazy_refcounts=True, refcount_bits=8, compression_type="zstd")

    async with opened(graph, path) as node:
        info = await node.driver.image_info()

    assert info.cluster_size == 65536
    assert info.format_specific == {
        "type": "qcow2",
        "data": {
            "compat": "1.1",
            "compression-type": "zstd",
            "lazy-refcounts": True,
            "refcount-bits": 8,
            "corrupt": False,
            "extended-l2": False,
        },
    }


# ---- lazy refcounts


async def test_lazy_refcounts_mark_the_image_dirty_until_it_is_closed(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, lazy_refcounts=True)
    async with opened(graph, path) as node:
        clean = header_field(path, 72, ">Q")
        await write(node, 0, pattern(100_000))
        await node.flush()
        dirty = header_field(path, 72, ">Q")

    assert (clean, dirty, header_field(path, 72, ">Q")) == (0, DIRTY, 0)
    assert qemu_says_clean(path)


async def test_lazy_refcounts_after_a_crash_qemu_repairs_and_finds_the_data(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, lazy_refcounts=True, cluster_size=512)
    crashed = tmp_path / "crashed"
    async with opened(graph, path) as node:
        await write(node, 0, pattern(100_000))
        await node.flush()
        crashed.write_bytes(path.read_bytes())

    qemu_img("check", "-r", "all", crashed)

    assert qemu_reads(crashed)[:100_000] == pattern(100_000)
    assert qemu_says_clean(crashed)


async def test_lazy_refcounts_by_option_work_in_any_version_3_image(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path, lazy_refcounts=True) as node:
        await write(node, 0, b"x")

        assert header_field(path, 72, ">Q") == DIRTY


async def test_lazy_refcounts_of_version_2_are_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, compat="0.10")

    with pytest.raises(ConfigError, match=r"Lazy refcounts require a qcow2 image with at least qemu 1.1"):
        await open_image(graph, path, lazy_refcounts=True)


# ---- reopen


async def test_reopen_read_only_leaves_a_clean_image_that_can_be_written_again(
    graph: BlockGraph, tmp_path: Path
) -> None:
    path = await create(graph, tmp_path / "image", SIZE, lazy_refcounts=True)
    node = await open_image(graph, path)
    await write(node, 0, b"first")

    await reopen(graph, {node: {"read-only": True}}, keep=True)
    clean = header_field(path, 72, ">Q")
    assert await node.pread(0, 5) == b"first"
    await reopen(graph, {node: {"read-only": False}}, keep=True)
    await write(node, 100_000, b"second")
    await graph.remove(node)

    assert clean == 0
    assert qemu_reads(path)[:5] == b"first"
    assert qemu_reads(path)[100_000:100_006] == b"second"
    assert qemu_says_clean(path)


async def test_reopen_other_cache_sizes_keep_what_was_written(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    node = await open_image(graph, path)
    await write(node, 0, pattern(SIZE))

    await reopen(graph, {node: {"l2-cache-entry-size": 512, "l2-cache-size": 1024}}, keep=True)

    image = image_of(node)
    assert (image.l2_tables.slice_size, image.l2_cache.capacity) == (512, 2)
    assert await node.pread(0, SIZE) == pattern(SIZE)
    await write(node, 0, b"again")
    await graph.remove(node)
    assert qemu_says_clean(path)


async def test_reopen_with_contradicting_sizes_changes_nothing(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    node = await open_image(graph, path)

    with pytest.raises(ConfigError, match="l2-cache-size may not exceed cache-size"):
        await reopen(graph, {node: {"l2-cache-size": 2 << 20, "cache-size": 1 << 20}}, keep=True)

    await write(node, 0, b"x")
    assert image_of(node).l2_cache.capacity == 2


async def test_reopen_other_overlap_checks_hold_at_once(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    node = await open_image(graph, path)

    await reopen(graph, {node: {"overlap-check": "none"}}, keep=True)

    assert image_of(node).overlap.checks == 0


# ---- options


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        ("none", 0),
        ("constant", overlap.CONSTANT),
        ("cached", overlap.CACHED),
        ("all", overlap.ALL),
        ({"template": "none", "active-l2": True}, overlap.ACTIVE_L2),
        ({"template": "all", "inactive-l2": False}, overlap.CACHED),
        ({"main-header": False}, overlap.CACHED & ~overlap.MAIN_HEADER),
    ],
)
async def test_overlap_check_option_chooses_the_checks(
    value: object, bits: int, graph: BlockGraph, tmp_path: Path
) -> None:
    path = await create(graph, tmp_path / "image", SIZE)

    async with opened(graph, path, overlap_check=value) as node:
        assert image_of(node).overlap.checks == bits


async def test_cache_is_cleaned_of_what_is_not_used(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, b"x")
        await node.flush()
        cache = image_of(node).l2_cache

        cache.drop_unused()
        kept = len(cache.tables)
        cache.drop_unused()

        assert (kept, len(cache.tables)) == (1, 0)
        assert await node.pread(0, 1) == b"x"


async def test_cache_cleaner_runs_at_each_interval_until_it_is_stopped(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    time = FakeClock()
    async with opened(graph, path, cache_clean_interval=0) as node:
        image = image_of(node)
        cleaner = CacheCleaner(image, 600, Clock(ClockKind.REALTIME, time))
        await write(node, 0, b"x")
        await node.flush()

        seen = []
        for seconds in (599, 1, 600):
            time.advance(seconds * 1_000_000_000)
            seen.append(len(image.l2_cache.tables))
        assert await node.pread(0, 1) == b"x"
        cleaner.stop()
        time.advance(6000 * 1_000_000_000)

        assert seen == [1, 1, 0]
        assert len(image.l2_cache.tables) == 1


# ---- snapshots of the image


async def test_write_to_an_image_with_snapshots_leaves_them_alone(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, cluster_size=512)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(SIZE))
    qemu_img("snapshot", "-c", "before", path)

    async with opened(graph, path) as node:
        await write(node, 1000, b"n" * 100_000)
        await node.write_zeroes(300_000, 50_000)
        await node.discard(500_224, 10_240)
        await write(node, 1000, b"m" * 100_000)

    assert qemu_says_clean(path)
    qemu_img("snapshot", "-a", "before", path)
    assert qemu_reads(path) == pattern(SIZE)
    qemu_img("snapshot", "-d", "before", path)
    assert qemu_says_clean(path)


async def test_open_too_much_extra_data_of_a_snapshot_is_refused_with_qemus_hint(
    graph: BlockGraph, tmp_path: Path
) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    qemu_img("snapshot", "-c", "one", path)
    table = header_field(path, 64, ">Q")
    patch(path, table + 36, struct.pack(">I", 1025))

    with pytest.raises(ConfigError, match="Too much extra metadata in snapshot table entry 0; You can force-remove"):
        await open_image(graph, path)


async def test_l2_table_is_read_again_after_an_error(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, b"x")
    node = await open_image(graph, path)
    driver = image_of(node).file.node.driver
    preadv = driver.preadv

    async def fails(offset: int, buffers: object) -> None:
        raise OSError(errno.EIO, "injected")

    driver.preadv = fails  # type: ignore[method-assign]
    with pytest.raises(BlockError):
        await node.pread(0, 1)
    driver.preadv = preadv  # type: ignore[method-assign]

    assert l2_table_offset(path)
    assert await node.pread(0, 1) == b"x"


async def test_open_size_that_is_not_whole_sectors_is_rounded_down_as_qemus(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    patch(path, 24, struct.pack(">Q", SIZE - 100))

    async with opened(graph, path) as node:
        assert node.size == SIZE - 512

    assert json.loads(qemu_img("info", "--output=json", path))["virtual-size"] == SIZE - 512


async def test_reopen_of_a_dirty_image_for_writing_counts_anew_before_the_first_write(
    graph: BlockGraph, tmp_path: Path
) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    qemu_io(path, "write -P 7 0 256k")
    # As a crash with lazy refcounts leaves it: clusters in use that count as free.
    block = header_field(path, header_field(path, 48, ">Q"), ">Q")
    patch(path, block + 2 * 5, bytes(2 * 4))
    patch(path, 79, b"\1")

    async with opened(graph, path, read_only=True) as node:
        await reopen(graph, {node: {"read-only": False}}, keep=True)
        await write(node, SIZE // 2, b"\x08" * (256 << 10))

    assert qemu_says_clean(path)
    assert qemu_reads(path)[: 256 << 10] == b"\x07" * (256 << 10)


async def test_reopen_of_a_dirty_image_that_cannot_be_repaired_refuses_writes(
    graph: BlockGraph, tmp_path: Path
) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    # As in test_repair.py: nothing can be written.
    table = header_field(path, 48, ">Q")
    patch(path, table, struct.pack(">Q", header_field(path, table, ">Q") + 512))
    patch(path, 79, b"\1")

    async with opened(graph, path, read_only=True) as node:
        await reopen(graph, {node: {"read-only": False}}, keep=True)
        with pytest.raises(BlockError, match="Could not repair dirty image"):
            await write(node, SIZE // 2, b"\x08")

    assert header_field(path, 72, ">Q") & DIRTY
