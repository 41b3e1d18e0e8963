# SPDX-License-Identifier: GPL-2.0-or-later
"""Repair: what ``qemu-img check -r`` repairs, with the same words, counts and result; and images that nobody closed."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncemu.block import BlockGraph
from asyncemu.block.qcow2.check_counts import ReferenceCounts
from asyncemu.block.qcow2.check_report import Report
from asyncemu.block.qcow2.driver import Qcow2Driver
from asyncemu.block.qcow2.geometry import Geometry
from asyncemu.block.qcow2.header import Header
from asyncemu.block.qcow2.refcount_codec import refcount_codec
from asyncemu.block.qcow2.repair import plan_refcounts
from asyncemu.errors import ConfigError
from tests.block.qcow2.checking import both, qemu_checks, we_check
from tests.block.qcow2.conftest import (
    create,
    image_of,
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
from tests.block.qcow2.test_check import DAMAGE, refcount_block, refcount_table, set_refcount, word
from tests.block.qcow2.test_check import path as path
from tests.block.qcow2.test_check import sound as sound

#: Where QEMU does something else: it asks for a file larger than a file can be, and says so twice; or frees a snapshot
#: table that is behind the end of the file, and makes a refcount block there; or counts all that a snapshot claims to
#: have of extra data, and finds that the right table would be written over it.
OTHERWISE = (
    "refcount block far outside",
    "snapshot table behind the end",
    "snapshot with extra data past the end",
    "snapshot with extra data over clusters",
    # 65536 entries are written.
    pytest.param("too many snapshots", marks=pytest.mark.slow),
)

#: The rest.
AS_QEMU = [name for name in DAMAGE if name not in (*OTHERWISE, "too many snapshots")]


@pytest.mark.parametrize("damage", AS_QEMU)
def test_repair_of_all_is_qemus(path: Path, damage: str) -> None:
    DAMAGE[damage](path)

    ours, theirs = both(path, "all")

    assert ours == theirs


@pytest.mark.parametrize("damage", OTHERWISE)
def test_repair_that_is_not_qemus_leaves_a_clean_image(path: Path, damage: str) -> None:
    DAMAGE[damage](path)

    assert we_check(path, "all").status == 0

    assert qemu_says_clean(path)


@pytest.mark.parametrize("damage", list(DAMAGE)[:12])
def test_repair_of_leaks_is_qemus(path: Path, damage: str) -> None:
    DAMAGE[damage](path)

    ours, theirs = both(path, "leaks")

    assert ours == theirs


@pytest.mark.parametrize("damage", ["leaked cluster", "refcount too low", "refcount of zero", "no refcount table"])
def test_repair_leaves_an_image_that_qemu_calls_clean(path: Path, damage: str) -> None:
    before = qemu_reads(path)
    DAMAGE[damage](path)

    assert we_check(path, "all").status == 0

    assert qemu_says_clean(path)
    assert qemu_reads(path) == before


def test_repair_of_refcounts_that_are_all_gone_keeps_the_snapshots(path: Path) -> None:
    qemu_img("snapshot", "-a", "one", path)
    before = qemu_reads(path)
    qemu_img("snapshot", "-a", "two", path)
    patch(path, refcount_table(path), bytes(4096))

    assert we_check(path, "all").status == 0

    assert qemu_says_clean(path)
    qemu_img("snapshot", "-a", "one", path)
    assert qemu_reads(path) == before


@pytest.mark.parametrize("order", range(7))
def test_repair_rebuilds_refcounts_of_each_width(tmp_path: Path, order: int) -> None:
    path = qemu_create(tmp_path / "image", 4 << 20, cluster_size=512, refcount_bits=1 << order)
    qemu_io(path, "write -P 1 0 1M")
    before = qemu_reads(path)
    put_nothing = bytes(512)
    patch(path, word(path, refcount_table(path)), put_nothing)

    assert we_check(path, "all").status == 0

    assert qemu_says_clean(path)
    assert qemu_reads(path) == before


def test_repair_clears_the_corrupt_bit_and_qemu_writes_again(path: Path) -> None:
    patch(path, 79, b"\2")

    assert we_check(path, "all").status == 0

    assert path.read_bytes()[79] == 0
    qemu_io(path, "write -P 1 0 4k")


# ---- dirty images


async def test_open_of_a_dirty_image_counts_anew(graph: BlockGraph, path: Path) -> None:
    before = qemu_reads(path)
    patch(path, 79, b"\1")
    patch(path, refcount_block(path), bytes(1024))

    async with opened(graph, path) as node:
        assert not image_of(node).header.dirty
        await write(node, 0, pattern(4096))

    assert qemu_says_clean(path)
    assert qemu_reads(path) == pattern(4096) + before[4096:]


async def test_open_of_a_dirty_image_read_only_leaves_it(graph: BlockGraph, path: Path) -> None:
    patch(path, 79, b"\1")
    set_refcount(path, 2, 2)
    before = path.read_bytes()

    async with opened(graph, path, read_only=True) as node:
        assert image_of(node).header.dirty

    assert path.read_bytes() == before


async def test_open_of_a_dirty_image_that_cannot_be_repaired_is_refused(graph: BlockGraph, path: Path) -> None:
    patch(path, 79, b"\1")
    # New refcount blocks would go where the L2 table is said to be: nothing can be written.
    patch(path, refcount_table(path), struct.pack(">Q", refcount_block(path) + 512))
    with pytest.raises(ConfigError, match="Could not repair dirty image: Input/output error"):
        async with opened(graph, path):
            pass


async def test_open_of_an_image_of_qemu_that_was_killed_is_repaired(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", 1 << 20, cluster_size=4096, lazy_refcounts=True)
    subprocess.run(
        ["qemu-io", "-c", "write -P 7 0 256k", "-c", "flush", "-c", "abort", str(path)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert path.read_bytes()[79] & 1

    async with opened(graph, path) as node:
        assert bytes(await node.pread(0, 256 << 10)) == b"\7" * (256 << 10)

    assert qemu_says_clean(path)


# ---- planning


def test_plan_counts_its_own_blocks_and_table() -> None:
    geometry = Geometry(Header(cluster_bits=9, refcount_order=6))
    counts = ReferenceCounts(geometry, refcount_codec(512, 6), 1 << 30, Report(""))
    counts.count(0, 200 * 512)
    counts.count(5000 * 512, 512)

    blocks, table_at, table = plan_refcounts(counts, Report(""))

    places = [*blocks.values(), *range(table_at, table_at + len(table) * 8 // 512)]
    assert len(set(places)) == len(places)
    assert all(counts.get(place) == 1 for place in places)
    assert all(place >= 200 for place in places)
    assert sorted(counts.blocks) == sorted(blocks)
    assert [index for index, entry in enumerate(table) if entry] == sorted(blocks)


# ---- hostile images


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 1 << 20), st.one_of(st.integers(0, 255), st.integers(0, (1 << 64) - 1))),
        min_size=1,
        max_size=6,
    ),
    repair=st.sampled_from(["", "leaks", "all"]),
)
def test_check_of_any_bytes_ends_with_a_status(
    path: Path, sound: bytes, changes: list[tuple[int, int]], repair: str
) -> None:
    data = bytearray(sound)
    for place, value in changes:
        # Where tables are: the first clusters, most often.
        at = place % len(data) if place & 1 else place % 0x8000
        stored = bytes([value]) if value < 256 else struct.pack(">Q", value)
        data[at : at + len(stored)] = stored
    path.write_bytes(data[: len(sound)])

    status = we_check(path, repair).status

    assert status in (0, 1, 2, 3, 63)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(300))
@pytest.mark.parametrize("repair", ["", "leaks", "all"])
def test_check_of_damage_at_random_is_qemus(path: Path, seed: int, repair: str) -> None:
    choice = random.Random(seed)
    size = path.stat().st_size
    tables = [refcount_table(path), refcount_block(path), word(path, 40), word(path, 64)]
    tables.append(word(path, word(path, 40)) & 0x00FF_FFFF_FFFF_FE00)
    for _ in range(choice.randrange(1, 4)):
        at = choice.choice(tables) + 8 * choice.randrange(64)
        old = word(path, at)
        new = choice.choice(
            [0, old ^ 1 << 63, old ^ 1 << 62, old ^ 1, old + 4096, old ^ 512, choice.randrange(size) & ~4095]
        )
        patch(path, at, struct.pack(">Q", new & (1 << 64) - 1))

    ours, theirs = both(path, repair)

    assert (ours.status, ours.counts) == (theirs.status, theirs.counts)


def test_repair_with_a_bitmap_keeps_it(tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", 4 << 20, cluster_size=4096)
    qemu_img("bitmap", "--add", "-g", "512", path, "b")
    qemu_io(path, "write -P 1 0 1M")
    patch(path, refcount_block(path), bytes(1024))

    assert we_check(path, "all").status == 0

    assert qemu_checks(path).status == 0
    assert '"name": "b"' in qemu_img("info", "--output=json", path)


async def test_repair_of_an_open_image_that_is_written_goes_on(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", 1 << 20, cluster_size=1024)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(100 * 1024))
        image = image_of(node)
        await image.flush_caches()
        await image.refcounts.add(100, 1, 3)
        assert isinstance(node.driver, Qcow2Driver)
        result = await node.driver.check("all", lambda done, total: None)
        assert result.leaks_fixed == 1
        await write(node, 50 * 1024, pattern(100 * 1024, seed=1))

    assert qemu_says_clean(path)
    assert qemu_reads(path)[: 150 * 1024] == pattern(50 * 1024) + pattern(100 * 1024, seed=1)


def test_repair_of_leaks_in_a_dirty_image_leaves_it_dirty_when_there_is_more(path: Path) -> None:
    # The cluster counts as free: who takes the image for clean would give it to another.
    set_refcount(path, 5, 0)
    patch(path, 79, b"\1")

    assert we_check(path, "leaks").status == 1

    assert path.read_bytes()[79] == 1
