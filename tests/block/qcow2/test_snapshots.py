# SPDX-License-Identifier: GPL-2.0-or-later
"""Internal snapshots: ours by QEMU's eyes, QEMU's by ours, and what can't be done."""

from __future__ import annotations

import errno
import random
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.flags import MAY_UNMAP, WRITE_COMPRESSED
from asyncemu.block.qcow2 import snapshot_refcounts
from asyncemu.block.qcow2.driver import Qcow2Driver
from asyncemu.block.reopen import reopen
from asyncemu.block.types import SnapshotInfo
from asyncemu.errors import BlockError, ConfigError
from asyncemu.memory.buffers import Buffers
from tests.block.qcow2.conftest import (
    create,
    header_field,
    image_of,
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
FORMS: dict[str, dict[str, Any]] = {
    "version 3": {"cluster_size": 4096},
    "version 2": {"cluster_size": 4096, "compat": "0.10"},
    "clusters of 512": {"cluster_size": 512},
    "refcounts of 64 bits": {"cluster_size": 1024, "refcount_bits": 64},
    "refcounts of 4 bits": {"cluster_size": 1024, "refcount_bits": 4},
    "lazy refcounts": {"cluster_size": 2048, "lazy_refcounts": True},
    "subclusters": {"cluster_size": 16384, "extended_l2": True},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An image of QEMU's with a snapshot."""
    path = qemu_create(tmp_path / "image", SIZE)
    qemu_io(path, "write -P 1 0 64k")
    qemu_img("snapshot", "-c", "s", path)
    return path


def driver_of(node: BlockNode) -> Qcow2Driver:
    assert isinstance(node.driver, Qcow2Driver)
    return node.driver


def wanted(name: str, vm_state_size: int = 0) -> SnapshotInfo:
    return SnapshotInfo("", name, vm_state_size, 1_700_000_000, 123_000, 5_000_000_007)


async def contents(node: BlockNode) -> bytes:
    return bytes(await node.pread(0, node.size))


async def take(node: BlockNode, name: str) -> SnapshotInfo:
    return await driver_of(node).snapshot_create(wanted(name))


@pytest.mark.parametrize("form", FORMS)
async def test_snapshot_create_then_write_qemu_sees_both(graph: BlockGraph, tmp_path: Path, form: str) -> None:
    path = await create(graph, tmp_path / "image", SIZE, **FORMS[form])
    async with opened(graph, path) as node:
        await write(node, 0, pattern(200_000 // 512 * 512))
        before = await contents(node)

        await take(node, "first")
        await write(node, 64 * 1024, pattern(300 * 512, seed=9))
        await node.discard(0, 32768)
        after = await contents(node)

    assert qemu_says_clean(path)
    assert qemu_reads(path) == after
    qemu_img("snapshot", "-a", "first", path)
    assert qemu_reads(path) == before
    assert qemu_says_clean(path)


@pytest.mark.parametrize("form", FORMS)
async def test_snapshot_goto_and_delete_leave_what_was(graph: BlockGraph, tmp_path: Path, form: str) -> None:
    path = await create(graph, tmp_path / "image", SIZE, **FORMS[form])
    async with opened(graph, path) as node:
        driver = driver_of(node)
        await write(node, 0, pattern(256 * 512))
        await take(node, "first")
        first = await contents(node)
        await write(node, 100 * 512, pattern(256 * 512, seed=2))
        await take(node, "second")
        second = await contents(node)
        await write(node, 0, pattern(64 * 512, seed=3))

        await driver.snapshot_goto("first")
        assert await contents(node) == first
        await driver.snapshot_goto("2")
        assert await contents(node) == second
        await driver.snapshot_delete("1", "first")
        assert await contents(node) == second
        await write(node, 0, pattern(64 * 512, seed=4))
        last = await contents(node)

    assert qemu_says_clean(path)
    assert qemu_reads(path) == last


async def test_snapshot_list_is_what_qemu_lists(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await take(node, "one")
        await take(node, "two")
        listed = await driver_of(node).snapshot_list()

    assert [(each.id, each.name, each.disk_size) for each in listed] == [("1", "one", SIZE), ("2", "two", SIZE)]
    lines = qemu_img("snapshot", "-l", path).splitlines()[2:]
    assert [line.split()[:2] for line in lines] == [["1", "one"], ["2", "two"]]
    assert re.search(r"00:00:05.000\b", lines[0])


async def test_snapshot_create_stores_all_fields(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        stored = await driver_of(node).snapshot_create(wanted("name ü")._replace(icount=77))
    async with opened(graph, path) as node:
        (read,) = await driver_of(node).snapshot_list()

    assert read == stored == SnapshotInfo("1", "name ü", 0, 1_700_000_000, 123_000, 5_000_000_007, 77, SIZE)


async def test_snapshot_of_qemu_is_applied(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, cluster_size=4096)
    qemu_io(path, "write -P 7 0 128k", "write -c -P 8 256k 64k", "write -z 512k 64k")
    before = qemu_reads(path)
    qemu_img("snapshot", "-c", "theirs", path)
    qemu_io(path, "write -P 9 64k 256k")

    async with opened(graph, path) as node:
        await driver_of(node).snapshot_goto("theirs")
        assert await contents(node) == before

    assert qemu_says_clean(path)
    assert qemu_reads(path) == before


async def test_snapshot_id_is_one_more_than_the_largest(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        driver = driver_of(node)
        for name in ("a", "b", "c"):
            await take(node, name)
        await driver.snapshot_delete("2", "")

        assert (await take(node, "d")).id == "4"
        assert [each.name for each in await driver.snapshot_list()] == ["a", "c", "d"]


async def test_snapshot_goto_of_another_size_resizes(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, cluster_size=4096)
    async with opened(graph, path) as node:
        await write(node, SIZE - 4096, pattern(4096))
        before = await contents(node)
        await take(node, "large")
        await node.truncate(SIZE // 2)
        await take(node, "small")
        await write(node, 0, pattern(512, seed=5))

        await driver_of(node).snapshot_goto("large")
        assert node.size == SIZE
        assert await contents(node) == before
        await driver_of(node).snapshot_goto("small")
        assert node.size == SIZE // 2
        assert await contents(node) == before[: SIZE // 2]

    assert qemu_says_clean(path)


async def test_snapshot_goto_of_another_size_version_2_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, compat="0.10")
    qemu_img("snapshot", "-c", "s", path)
    patch(path, 24, struct.pack(">Q", SIZE // 2))
    async with opened(graph, path) as node:
        with pytest.raises(ConfigError, match="Can't resize a v2 image which has snapshots"):
            await driver_of(node).snapshot_goto("s")


async def test_snapshot_load_reads_the_snapshot(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, cluster_size=4096)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(8192))
        before = await contents(node)
        await take(node, "kept")
        await write(node, 0, pattern(8192, seed=3))

    async with opened(graph, path, read_only=True) as node:
        await driver_of(node).snapshot_load("", "kept")
        assert await contents(node) == before


async def test_snapshot_that_is_loaded_can_not_be_reopened_for_writing(graph: BlockGraph, path: Path) -> None:
    async with opened(graph, path, read_only=True) as node:
        await driver_of(node).snapshot_load("", "s")
        with pytest.raises(ConfigError, match="a snapshot has been loaded"):
            await reopen(graph, {node: {"read-only": False}}, keep=True)


async def test_snapshot_load_of_a_writable_node_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await take(node, "s")
        with pytest.raises(OSError, match="Device is not readonly") as caught:
            await driver_of(node).snapshot_load("", "s")
    assert caught.value.errno == errno.EINVAL


async def test_snapshot_that_is_not_there_is_enoent(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        driver = driver_of(node)
        await take(node, "s")
        for attempt in (
            driver.snapshot_goto("t"),
            driver.snapshot_delete("1", "t"),
            driver.snapshot_delete("2", "s"),
            driver.snapshot_delete("", ""),
        ):
            with pytest.raises(BlockError, match="Can't find the snapshot") as caught:
                await attempt
            assert caught.value.errno == errno.ENOENT


async def test_snapshot_create_with_full_refcounts_changes_nothing(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, cluster_size=1024, refcount_bits=1)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(SIZE // 2))
        with pytest.raises(OSError, match="as large as it can be") as caught:
            await take(node, "s")
        assert caught.value.errno == errno.EINVAL
        assert not await driver_of(node).snapshot_list()
        assert not image_of(node).header.dirty
        await write(node, 1024, pattern(1024, seed=1))

    assert qemu_says_clean(path)
    assert qemu_reads(path)[1024:2048] == pattern(1024, seed=1)


async def test_snapshot_third_with_two_bit_refcounts_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, cluster_size=1024, refcount_bits=2)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(65536))
        await take(node, "1")
        await take(node, "2")
        with pytest.raises(OSError):
            await take(node, "3")
        assert len(await driver_of(node).snapshot_list()) == 2

    assert qemu_says_clean(path)


async def test_snapshot_create_that_fails_to_write_is_undone(
    graph: BlockGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await create(graph, tmp_path / "image", SIZE, cluster_size=1024)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(400 * 1024))
        image = image_of(node)
        write_metadata = image.write_metadata

        async def no_room_for_the_table(offset: int, data: Any, own_kind: int, event: str = "") -> None:
            if isinstance(data, bytes) and b"unlucky" in data:
                raise OSError(errno.ENOSPC, "No space left on device")
            await write_metadata(offset, data, own_kind, event)

        monkeypatch.setattr(image, "write_metadata", no_room_for_the_table)
        with pytest.raises(OSError, match="No space left"):
            await take(node, "unlucky")
        assert image.snapshots.snapshots == []
        await write(node, 0, pattern(1024, seed=1))

    assert qemu_says_clean(path)
    assert qemu_reads(path)[: 400 * 1024] == pattern(1024, seed=1) + pattern(400 * 1024)[1024:]


async def test_snapshot_with_a_data_file_is_not_supported(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, data_file=str(tmp_path / "data"))
    async with opened(graph, path) as node:
        driver = driver_of(node)
        for attempt in (take(node, "s"), driver.snapshot_goto("s"), driver.snapshot_delete("", "s")):
            with pytest.raises(OSError) as caught:
                await attempt
            assert caught.value.errno == errno.ENOTSUP


async def test_snapshot_goto_with_bitmaps_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    qemu_img("snapshot", "-c", "s", path)
    qemu_img("bitmap", "--add", path, "b")
    async with opened(graph, path) as node:
        with pytest.raises(ConfigError, match="Device has active dirty bitmaps"):
            await driver_of(node).snapshot_goto("s")


async def test_snapshot_with_a_damaged_l1_table_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    qemu_img("snapshot", "-c", "s", path)
    table = header_field(path, 64, ">Q")
    patch(path, table, struct.pack(">Q", 0x50001))
    async with opened(graph, path) as node:
        driver = driver_of(node)
        for attempt in (driver.snapshot_goto("s"), driver.snapshot_delete("", "s")):
            with pytest.raises(ConfigError, match="Snapshot L1 table offset invalid"):
                await attempt
    patch(path, table, struct.pack(">QI", 0x50000, (32 << 17) + 1))
    async with opened(graph, path) as node:
        with pytest.raises(ConfigError, match="Snapshot L1 table too large"):
            await driver_of(node).snapshot_goto("s")


async def test_snapshot_vm_state_is_the_snapshots_only(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, cluster_size=4096)
    state = pattern(20_480, seed=8)
    async with opened(graph, path) as node:
        driver = driver_of(node)
        await driver.save_vmstate(0, Buffers.of(bytearray(state)))
        await driver.snapshot_create(wanted("vm", len(state)))
        gone = bytearray(len(state))
        await driver.load_vmstate(0, Buffers.of(gone))
        await driver.snapshot_goto("vm")
        back = bytearray(len(state))
        await driver.load_vmstate(0, Buffers.of(back))

    assert gone == bytes(len(state))
    assert back == state
    assert qemu_says_clean(path)
    assert "20 KiB" in qemu_img("snapshot", "-l", path)


async def test_snapshot_with_writes_in_flight_waits_for_them(graph: BlockGraph, tmp_path: Path) -> None:
    from asyncemu.coroutines import start

    path = await create(graph, tmp_path / "image", SIZE, cluster_size=1024)
    async with opened(graph, path) as node:
        data = pattern(100 * 1024, seed=4)
        running = [start(node.context, write(node, at, data[at : at + 10_240])) for at in range(0, len(data), 10_240)]
        await take(node, "s")
        for each in running:
            await each
        await write(node, 0, pattern(len(data), seed=5))
        await driver_of(node).snapshot_goto("s")
        assert (await contents(node))[: len(data)] == data

    assert qemu_says_clean(path)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
async def test_snapshots_at_random_against_a_model(graph: BlockGraph, tmp_path: Path, form: str) -> None:
    choice = random.Random(form)
    cluster = FORMS[form]["cluster_size"]
    path = await create(graph, tmp_path / "image", SIZE, **FORMS[form])
    disk = bytearray(SIZE)
    kept: dict[str, bytes] = {}
    node = await open_image(graph, path)
    for number in range(60):
        driver = driver_of(node)
        action = choice.choice(["write", "write", "write", "zero", "discard", "compress", "take", "goto", "delete"])
        offset = choice.randrange(SIZE // 512) * 512
        length = min(choice.choice([512, 4096, 65536, 262144]), SIZE - offset)
        if action == "write":
            disk[offset : offset + length] = data = pattern(length, seed=number)
            await write(node, offset, data)
        elif action == "zero":
            disk[offset : offset + length] = bytes(length)
            await node.write_zeroes(offset, length, MAY_UNMAP)
        elif action == "discard":
            await node.discard(offset, length)
            disk[:] = await contents(node)
        elif action == "compress":
            offset = offset // cluster * cluster
            disk[offset : offset + cluster] = data = pattern(cluster, seed=number)
            try:
                await write(node, offset, data, WRITE_COMPRESSED)
            except BlockError:
                await write(node, offset, data)
        elif action == "take" and len(kept) < 2:
            kept[f"s{number}"] = bytes(disk)
            await take(node, f"s{number}")
        elif kept:
            name = choice.choice(list(kept))
            if action == "delete":
                await driver.snapshot_delete("", name)
                del kept[name]
            else:
                await driver.snapshot_goto(name)
                disk[:] = kept[name]
        if number % 20 == 19:
            await graph.remove(node)
            assert qemu_says_clean(path)
            node = await open_image(graph, path)
        assert await contents(node) == disk
    for name, data in kept.items():
        await driver_of(node).snapshot_goto(name)
        assert await contents(node) == data
    await graph.remove(node)
    assert qemu_says_clean(path)


# ---- hostile images


def name_one_l2_table_everywhere(path: Path, l1_table: int, l1_entries: int) -> None:
    """In an L1 table of 512 KiB at the end of the file, which those fields of the file name from now on."""
    table = header_field(path, header_field(path, 40, ">Q"), ">Q")
    end = -(-path.stat().st_size >> 16) << 16
    patch(path, end, struct.pack(">Q", table) * (1 << 16))
    patch(path, l1_table, struct.pack(">Q", end))
    patch(path, l1_entries, struct.pack(">I", 1 << 16))


async def test_snapshot_operations_on_an_l1_table_of_one_l2_table_are_refused(graph: BlockGraph, path: Path) -> None:
    name_one_l2_table_everywhere(path, 40, 36)
    async with opened(graph, path) as node:
        driver = driver_of(node)
        for attempt in (take(node, "t"), driver.snapshot_goto("s"), driver.snapshot_delete("", "s")):
            with pytest.raises(BlockError, match="overlap too often") as caught:
                await attempt
            assert caught.value.errno == errno.EFBIG
        assert [each.name for each in await driver.snapshot_list()] == ["s"]
        with pytest.raises(BlockError, match="overlap too often"):
            await driver.make_empty()
        with pytest.raises(ConfigError, match="Failed to discard VM state: File too large"):
            await node.truncate(SIZE // 2, exact=True)


async def test_snapshot_with_an_l1_table_of_one_l2_table_is_refused(graph: BlockGraph, path: Path) -> None:
    snapshots = header_field(path, 64, ">Q")
    name_one_l2_table_everywhere(path, snapshots, snapshots + 8)
    async with opened(graph, path) as node:
        with pytest.raises(BlockError, match="overlap too often"):
            await driver_of(node).snapshot_goto("s")
        with pytest.raises(ConfigError, match="Failed to free the cluster and L1 table: File too large"):
            await driver_of(node).snapshot_delete("", "s")
        assert not image_of(node).header.dirty
    async with opened(graph, path, read_only=True) as node:
        with pytest.raises(ConfigError, match="Failed to read l1 table for snapshot: File too large"):
            await driver_of(node).snapshot_load("", "s")


async def test_snapshots_that_share_a_large_l1_table_bound_what_all_checks_read(graph: BlockGraph, path: Path) -> None:
    entry = path.read_bytes()[header_field(path, 64, ">Q") :][:72]
    entry = entry[:8] + struct.pack(">I", 32 << 17) + entry[12:]
    end = -(-path.stat().st_size >> 16) << 16
    patch(path, end, entry * 4)
    patch(path, 60, struct.pack(">IQ", 4, end))
    async with opened(graph, path, overlap_check="all") as node:
        with pytest.raises(BlockError, match="overlap too often"):
            await write(node, 0, b"x")
    async with opened(graph, path) as node:
        with pytest.raises(ConfigError, match="Failed to turn zero into data clusters: File too large"):
            await driver_of(node).amend({"compat": "0.10"}, lambda done, total: None, False)


async def test_snapshot_delete_of_very_many_runs_frees_them_in_parts(
    graph: BlockGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_refcounts, "_RUNS_AT_ONCE", 2)
    path = await create(graph, tmp_path / "image", SIZE, cluster_size=512)
    async with opened(graph, path) as node:
        for offset in range(0, SIZE, 4096):
            await write(node, offset, pattern(512))
        await take(node, "s")
        await write(node, 0, pattern(SIZE // 2, seed=1))
        await driver_of(node).snapshot_delete("", "s")

    assert qemu_says_clean(path)
    assert qemu_reads(path)[: SIZE // 2] == pattern(SIZE // 2, seed=1)
