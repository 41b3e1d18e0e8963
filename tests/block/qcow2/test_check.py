# SPDX-License-Identifier: GPL-2.0-or-later
"""Check: the same findings, counts and exit status as qemu-img's, on images damaged in all ways that it knows."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.open_mode import OpenMode
from asyncemu.block.qcow2.check_counts import ReferenceCounts
from asyncemu.block.qcow2.check_report import Report
from asyncemu.block.qcow2.driver import Qcow2Driver
from asyncemu.block.qcow2.geometry import Geometry
from asyncemu.block.qcow2.header import Header
from asyncemu.block.qcow2.refcount_codec import refcount_codec
from asyncemu.block.types import CheckFailed
from tests.block.qcow2.checking import both, we_check
from tests.block.qcow2.conftest import header_field, open_image, patch, qemu_create, qemu_img, qemu_io

CLUSTER = 4096
SIZE = 4 << 20
COPIED = 1 << 63
COMPRESSED = 1 << 62

Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An image of QEMU's with data, zero clusters, compressed ones, and two snapshots."""
    path = tmp_path_factory.mktemp("sound") / "image"
    qemu_create(path, SIZE, cluster_size=CLUSTER)
    qemu_io(path, "write -P 1 0 256k", "write -P 3 2M 64k", "write -z 1M 16k", "write -c -P 5 1536k 4k")
    qemu_img("snapshot", "-c", "one", path)
    qemu_io(path, "write -P 2 128k 64k")
    qemu_img("snapshot", "-c", "two", path)
    qemu_io(path, "write -P 2 64k 64k")
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, sound: bytes) -> Path:
    path = tmp_path / "image"
    path.write_bytes(sound)
    return path


def word(path: Path, offset: int) -> int:
    return header_field(path, offset, ">Q")


def put(path: Path, offset: int, value: int) -> None:
    patch(path, offset, struct.pack(">Q", value))


def l1(path: Path) -> int:
    return word(path, 40)


def l2(path: Path) -> int:
    return word(path, l1(path)) & 0x00FF_FFFF_FFFF_FE00


def refcount_table(path: Path) -> int:
    return word(path, 48)


def refcount_block(path: Path) -> int:
    return word(path, refcount_table(path))


def snapshot_table(path: Path) -> int:
    return word(path, 64)


def end(path: Path) -> int:
    return -(-path.stat().st_size // CLUSTER) * CLUSTER


def set_refcount(path: Path, cluster: int, value: int) -> None:
    patch(path, refcount_block(path) + 2 * cluster, struct.pack(">H", value))


def cut(path: Path, length: int) -> None:
    """Shorten the file."""
    path.write_bytes(path.read_bytes()[:-length])


def mark_and_leak(path: Path) -> None:
    patch(path, 79, b"\3")
    set_refcount(path, 2, 2)


def change(place: Callable[[Path], int], new: Callable[[int], int]) -> Damage:
    """Another number at ``place``."""
    return lambda path: put(path, place(path), new(word(path, place(path))) & (1 << 64) - 1)


def entry(index: int) -> Callable[[Path], int]:
    """Where an entry of the first active L2 table is."""
    return lambda path: l2(path) + 8 * index


DAMAGE: dict[str, Damage] = {
    "nothing": lambda path: None,
    "leaked cluster": lambda path: set_refcount(path, end(path) // CLUSTER - 1, 5),
    "refcount too high": lambda path: set_refcount(path, 0, 2),
    "refcount too low": lambda path: set_refcount(path, 5, 1),
    "refcount of zero": lambda path: set_refcount(path, 3, 0),
    "two refcounts": lambda path: patch(path, refcount_block(path) + 2, struct.pack(">HH", 0, 3)),
    "L1 entry without COPIED": change(l1, lambda old: old & ~COPIED),
    "L1 entry with reserved bits": change(l1, lambda old: old | 1 << 60),
    "L1 entry unaligned": change(l1, lambda old: old + 512),
    "L1 entry behind the end": change(l1, lambda old: old + (1 << 30)),
    "L1 entry gone": change(l1, lambda old: 0),
    "L1 entry twice": lambda path: put(path, l1(path) + 8, word(path, l1(path))),
    "L2 entry without COPIED": change(entry(17), lambda old: old & ~COPIED),
    "L2 entry with COPIED": change(entry(1), lambda old: old | COPIED),
    "L2 entry with reserved bits": change(entry(3), lambda old: old | 1 << 57),
    "L2 entry unaligned": change(entry(3), lambda old: old + 1024),
    "L2 entry behind the end": change(entry(3), lambda old: old + (1 << 40)),
    "L2 entry names the header": change(entry(3), lambda old: COPIED),
    "L2 entry names the refcount block": lambda path: put(path, entry(3)(path), refcount_block(path) | COPIED),
    "L2 entries swapped in part": change(entry(3), lambda old: old + CLUSTER),
    "zero cluster unaligned": change(entry(256), lambda old: 0x5201),
    "zero cluster with host": change(entry(256), lambda old: 0x5001),
    "compressed with COPIED": change(entry(384), lambda old: old | COPIED | COMPRESSED),
    "compressed behind the end": change(entry(384), lambda old: old | COMPRESSED | 1 << 40),
    "refcount table entry unaligned": change(refcount_table, lambda old: old + 512),
    "refcount table entry with reserved bits": change(refcount_table, lambda old: old | 4),
    "refcount table entry gone": change(refcount_table, lambda old: 0),
    "refcount block outside": lambda path: put(path, refcount_table(path) + 8, end(path)),
    "refcount block far outside": lambda path: put(path, refcount_table(path) + 8, 1 << 62),
    "refcount block negative": lambda path: put(path, refcount_table(path), 1 << 63),
    "refcount block twice": lambda path: put(path, refcount_table(path) + 8, refcount_block(path)),
    "refcount table elsewhere": change(lambda path: 48, lambda old: old + CLUSTER),
    "no refcount table": lambda path: patch(path, 56, bytes(4)),
    "snapshot L1 unaligned": change(snapshot_table, lambda old: old + 512),
    "snapshot L1 behind the end": change(snapshot_table, lambda old: old + (1 << 40)),
    "snapshot L1 too large": lambda path: patch(path, snapshot_table(path) + 8, b"\x7f\xff\xff\xff"),
    "snapshot entry incomplete": lambda path: _without_extra_data(path),
    "snapshot with too much extra data": lambda path: patch(path, snapshot_table(path) + 36, struct.pack(">I", 2000)),
    "snapshot with extra data past the end": lambda path: patch(
        path, snapshot_table(path) + 36, struct.pack(">I", 1 << 30)
    ),
    "snapshot with extra data over clusters": lambda path: _only_snapshot_claims(path, 3 * CLUSTER),
    "too many snapshots": lambda path: patch(path, 60, struct.pack(">I", 70000)),
    "snapshot table unaligned": change(lambda path: 64, lambda old: old + 8),
    "snapshot table behind the end": change(lambda path: 64, lambda old: old + (1 << 40)),
    "file cut off": lambda path: cut(path, 3 * CLUSTER),
    "file cut within a cluster": lambda path: cut(path, 100),
    "file longer": lambda path: patch(path, path.stat().st_size, bytes(100 * CLUSTER)),
    "marked corrupt": lambda path: patch(path, 79, b"\2"),
    "marked dirty": lambda path: patch(path, 79, b"\1"),
    "marked both, leaked": lambda path: mark_and_leak(path),
}


def _only_snapshot_claims(path: Path, extra_data: int) -> None:
    patch(path, 60, struct.pack(">I", 1))
    patch(path, snapshot_table(path) + 36, struct.pack(">I", extra_data))


def _without_extra_data(path: Path) -> None:
    """The first entry's extra data becomes a part of its id."""
    table = snapshot_table(path)
    (id_size,) = struct.unpack_from(">H", path.read_bytes(), table + 12)
    patch(path, table + 12, struct.pack(">H", id_size + 24))
    patch(path, table + 36, bytes(4))
    patch(path, table + 40, b"x" * 24)


@pytest.mark.parametrize("damage", DAMAGE)
def test_check_finds_what_qemu_finds(path: Path, damage: str) -> None:
    DAMAGE[damage](path)

    ours, theirs = both(path)

    assert ours == theirs


@pytest.mark.parametrize("order", range(7))
def test_check_of_each_refcount_width_is_qemus(tmp_path: Path, order: int) -> None:
    path = qemu_create(tmp_path / "image", SIZE, cluster_size=1024, refcount_bits=1 << order)
    qemu_io(path, "write -P 1 0 600k", "write -z 700k 64k")
    data = bytearray(path.read_bytes())
    block = struct.unpack_from(">Q", data, struct.unpack_from(">Q", data, 48)[0])[0]
    data[block + 9] ^= 0x11
    data[block + 33] ^= 0x06
    path.write_bytes(data)

    ours, theirs = both(path)

    assert ours == theirs
    assert ours.status in (2, 3)


def test_check_of_damaged_subclusters_is_qemus(tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, cluster_size=16384, extended_l2=True)
    qemu_io(path, "write -P 1 0 256k", "write -c -P 2 512k 16k")
    table = l2(path)
    put(path, table + 8, 0x1_0000_0001)  # both, allocated and zero
    put(path, table + 16 * 20 + 8, 1)  # allocated, without a cluster
    put(path, table + 16 * 32 + 8, 1)  # compressed, with a bitmap
    put(path, table + 16 * 3, word(path, table + 16 * 3) + 512)
    put(path, table + 16 * 4, word(path, table + 16 * 4) + 512)
    put(path, table + 16 * 4 + 8, 0xFF << 32)

    ours, theirs = both(path)

    assert ours == theirs
    assert ours.counts["corruptions"] >= 5


def test_check_counts_the_clusters_of_bitmaps(tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, cluster_size=4096)
    qemu_img("bitmap", "--add", "-g", "512", path, "b")
    qemu_io(path, "write -P 1 0 1M")

    ours, theirs = both(path)

    assert ours == theirs
    assert not ours.lines


@pytest.mark.parametrize("where", ["entry", "directory"])
def test_check_of_damaged_bitmaps_is_qemus(tmp_path: Path, where: str) -> None:
    path = qemu_create(tmp_path / "image", SIZE, cluster_size=4096)
    qemu_img("bitmap", "--add", "-g", "512", path, "b")
    qemu_io(path, "write -P 1 0 1M")
    data = path.read_bytes()
    at = data.index(struct.pack(">II", 0x23852875, 24))
    directory = word(path, at + 24)
    put(path, word(path, directory) if where == "entry" else directory, 0x5004)

    ours, theirs = both(path)

    assert ours.status == theirs.status
    assert ours.counts == theirs.counts


def test_check_of_a_data_file_is_qemus(tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, data_file=tmp_path / "data", cluster_size=4096)
    qemu_io(path, "write -P 1 0 256k")
    put(path, l2(path) + 16, word(path, l2(path) + 16) & ~COPIED)
    put(path, l2(path) + 8, COMPRESSED | 5)

    ours, theirs = both(path)

    assert ours == theirs
    assert ours.counts["corruptions"] == 2


@pytest.mark.slow
async def test_check_of_tables_that_overlap_without_end_is_given_up(graph: BlockGraph, tmp_path: Path) -> None:
    # L1 entries that name L2 tables at all offsets, each of which has to be read.
    large = qemu_create(tmp_path / "image", 64 << 40, cluster_size=2 << 20)
    table, entries = l1(large), 64 << 40 >> 39
    with large.open("r+b") as file:
        file.seek(table)
        file.write(b"".join(struct.pack(">Q", 512 * (1 + index)) for index in range(entries)))
    node = await open_image(graph, large, OpenMode(check=True), read_only=True)
    assert isinstance(node.driver, Qcow2Driver)
    with pytest.raises(CheckFailed) as caught:
        await node.driver.check("", lambda done, total: None)
    assert caught.value.result.check_errors == 1
    assert "overlap too often" in caught.value.result.findings[-1]


async def test_check_of_an_open_image_sees_what_is_cached(graph: BlockGraph, tmp_path: Path) -> None:
    from tests.block.qcow2.conftest import create, opened, pattern, write

    path = await create(graph, tmp_path / "image", SIZE, cluster_size=4096)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(100 * 4096))
        assert isinstance(node.driver, Qcow2Driver)
        result = await node.driver.check("", lambda done, total: None)
    assert (result.corruptions, result.leaks, result.allocated_clusters) == (0, 0, 100)


def test_check_with_text_output_is_qemus(path: Path) -> None:
    set_refcount(path, 2, 2)
    theirs = subprocess.run(["qemu-img", "check", path], capture_output=True, text=True, timeout=60, check=False)
    ours = subprocess.run(
        [".venv/bin/asyncemu", "img", "check", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


# ---- counting


def counted(order: int = 4, file_size: int = 1 << 20) -> tuple[ReferenceCounts, Report]:
    geometry = Geometry(Header(cluster_bits=9, refcount_order=order))
    report = Report("")
    return ReferenceCounts(geometry, refcount_codec(512, order), file_size, report), report


def test_counts_add_across_blocks_counts_each() -> None:
    counts, _ = counted()
    counts.count(0, 600 * 512)
    counts.count(255 * 512, 2 * 512)
    assert [counts.get(index) for index in (0, 254, 255, 256, 257, 599, 600)] == [1, 1, 2, 2, 1, 1, 0]


def test_counts_behind_the_end_are_a_corruption() -> None:
    counts, report = counted(file_size=1000)
    assert counts.count(1024, 487)
    assert not counts.count(1024, 488)
    assert report.counts.corruptions == 1


def test_counts_overflow_is_a_corruption_for_each() -> None:
    counts, report = counted(order=0)
    counts.count(0, 3 * 512)
    counts.count(512, 512)
    assert report.counts.corruptions == 1
    assert report.lines[0] == "ERROR: overflow cluster offset=0x200"


def test_counts_allocate_takes_the_first_free_run() -> None:
    counts, _ = counted()
    counts.count(0, 250 * 512)
    counts.count(252 * 512, 512)
    assert counts.allocate(2) == 250
    assert counts.allocate(10) == 253
    assert counts.allocate(1, 1000) == 1000
    counts.release(253, 10)
    assert counts.allocate(3) == 253


def test_report_keeps_a_bounded_number_of_lines() -> None:
    report = Report("")
    for number in range((1 << 18) + 10):
        report.corruption(str(number))
    assert len(report.lines) == (1 << 18) + 1
    assert report.counts.corruptions == (1 << 18) + 10


def test_check_of_many_bad_entries_is_counted(path: Path) -> None:
    table = l2(path)
    patch(path, table, struct.pack(">Q", 1 << 57 | 0x5000 | COPIED) * (CLUSTER // 8))

    assert we_check(path).counts["corruptions"] > CLUSTER // 8
