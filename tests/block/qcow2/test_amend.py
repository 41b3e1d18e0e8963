# SPDX-License-Identifier: GPL-2.0-or-later
"""Amend: other options for images that exist, and what QEMU says about those that can't be had."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.flags import MAY_UNMAP
from asyncemu.block.qcow2.driver import Qcow2Driver
from asyncemu.errors import ConfigError
from tests.block.qcow2.conftest import (
    create,
    image_of,
    opened,
    pattern,
    qemu_create,
    qemu_img,
    qemu_io,
    qemu_reads,
    qemu_says_clean,
    write,
)

SIZE = 1 << 20


async def amend(graph: BlockGraph, path: Path, progress: Any = lambda done, total: None, **options: str) -> None:
    async with opened(graph, path) as node:
        assert isinstance(node.driver, Qcow2Driver)
        await node.driver.amend(options, progress, False)


def qemu_amends(path: Path, **options: str) -> tuple[int, str]:
    words = ",".join(f"{key}={value}" for key, value in options.items())
    ended = subprocess.run(
        ["qemu-img", "amend", "-f", "qcow2", "-o", words, path], capture_output=True, text=True, timeout=60, check=False
    )
    return ended.returncode, ended.stderr


def info(path: Path) -> str:
    return qemu_img("info", path)


REFUSED: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({}, {"compat": "foo"}),
    ({}, {"compat": ""}),
    ({}, {"backing_file": "other"}),
    ({}, {"backing_fmt": "raw"}),
    ({}, {"refcount_bits": "7"}),
    ({}, {"refcount_bits": "128"}),
    ({}, {"refcount_bits": "0"}),
    ({}, {"data_file": "x"}),
    ({}, {"data_file_raw": "on"}),
    ({}, {"cluster_size": "4096"}),
    ({}, {"preallocation": "full"}),
    ({}, {"encrypt.iter-time": "5"}),
    ({}, {"size": "1000"}),
    ({"compat": "0.10"}, {"lazy_refcounts": "on"}),
    ({"compat": "0.10"}, {"refcount_bits": "8"}),
    ({"extended_l2": True}, {"compat": "0.10"}),
    ({"refcount_bits": 8}, {"compat": "0.10"}),
    ({}, {"compat": "v2", "refcount_bits": "8"}),
]


@pytest.mark.parametrize(("creation", "options"), REFUSED)
async def test_amend_that_can_not_be_says_what_qemu_says(
    graph: BlockGraph, tmp_path: Path, creation: dict[str, Any], options: dict[str, str]
) -> None:
    path = qemu_create(tmp_path / "image", SIZE, **creation)
    with pytest.raises(ConfigError) as caught:
        await amend(graph, path, **options)

    status, words = qemu_amends(path, **options)
    assert status == 1
    assert words.splitlines()[0] == f"qemu-img: {caught.value.problem}"
    assert words.splitlines()[1:] == caught.value.remedy.splitlines()


@pytest.mark.parametrize(
    ("creation", "options"),
    [
        ({}, {"compat": "0.10"}),
        ({"compat": "0.10"}, {"compat": "1.1"}),
        ({"compat": "0.10", "cluster_size": 4096}, {"compat": "v3", "lazy_refcounts": "on", "refcount_bits": "1"}),
        ({"lazy_refcounts": True}, {"lazy_refcounts": "off"}),
        ({"refcount_bits": 8, "cluster_size": 4096}, {"refcount_bits": "16", "compat": "v2"}),
        ({}, {"size": "3M"}),
        ({}, {"size": "512k"}),
        ({"compression_type": "zstd"}, {"compat": "0.10"}),
    ],
)
async def test_amend_makes_what_qemu_makes(
    graph: BlockGraph, tmp_path: Path, creation: dict[str, Any], options: dict[str, str]
) -> None:
    path = qemu_create(tmp_path / "image", SIZE, **creation)
    qemu_io(path, "write -P 1 0 128k")
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes())
    await amend(graph, path, **options)
    assert qemu_amends(other, **options)[0] == 0

    def told(image: Path) -> list[str]:
        return [line for line in info(image).splitlines() if "disk size" not in line and str(image) not in line]

    assert told(path) == told(other)
    assert qemu_says_clean(path)
    assert qemu_reads(path) == qemu_reads(other)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 32, 64])
async def test_amend_to_each_refcount_width_and_back(graph: BlockGraph, tmp_path: Path, bits: int) -> None:
    path = await create(graph, tmp_path / "image", SIZE, cluster_size=512)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(SIZE // 2))
        assert isinstance(node.driver, Qcow2Driver)
        await node.driver.amend({"refcount_bits": str(bits)}, lambda done, total: None, False)
        assert image_of(node).geometry.refcount_bits == bits
        await write(node, 300_000 // 512 * 512, pattern(400_000 // 512 * 512, seed=2))
        await node.discard(0, 65536)
        contents = bytes(await node.pread(0, SIZE))
        await image_of(node).flush_caches()
        result = await node.driver.check("", lambda done, total: None)
        assert not result.findings
        await node.driver.amend({"refcount_bits": "16"}, lambda done, total: None, False)

    assert qemu_says_clean(path)
    assert qemu_reads(path) == contents


async def test_amend_to_a_width_that_is_too_small_changes_nothing(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    qemu_io(path, "write -P 1 0 128k")
    qemu_img("snapshot", "-c", "s", path)
    before = path.read_bytes()

    with pytest.raises(ConfigError) as caught:
        await amend(graph, path, refcount_bits="1")

    assert path.read_bytes() == before
    status, words = qemu_amends(path, refcount_bits="1")
    assert (status, words) == (1, f"qemu-img: {caught.value.problem}\n")


async def test_amend_downgrade_with_resized_snapshots_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    qemu_img("snapshot", "-c", "s", path)
    with pytest.raises(ConfigError, match="Internal snapshots prevent downgrade of image"):
        await amend(graph, path, compat="0.10", size="2M")


async def test_amend_downgrade_of_compressed_zstd_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, compression_type="zstd")
    qemu_io(path, "write -c -P 1 0 64k")
    with pytest.raises(ConfigError) as caught:
        await amend(graph, path, compat="0.10")
    assert qemu_amends(path, compat="0.10") == (1, f"qemu-img: {caught.value.problem}\n")


@pytest.mark.parametrize("backed", [False, True])
async def test_amend_downgrade_turns_zeroes_into_data(graph: BlockGraph, tmp_path: Path, backed: bool) -> None:
    path = tmp_path / "image"
    base = qemu_create(tmp_path / "base", SIZE)
    qemu_io(base, "write -P 9 0 1M")
    named = {"backing_file": base, "backing_fmt": "qcow2"} if backed else {}
    qemu_create(path, SIZE, cluster_size=4096, **named)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(200 * 512))
        await node.write_zeroes(8192, 65536, MAY_UNMAP)
        await node.write_zeroes(0, 4096, 0)
        await node.write_zeroes(400_000 // 4096 * 4096, 65536, 0)
    qemu_img("snapshot", "-c", "s", path)
    before = qemu_reads(path)
    async with opened(graph, path) as node:
        await node.write_zeroes(90 * 512 // 4096 * 4096, 8192, 0)
        after = bytes(await node.pread(0, SIZE))

    await amend(graph, path, compat="0.10")

    assert "compat: 0.10" in info(path)
    assert qemu_says_clean(path)
    assert qemu_reads(path) == after
    qemu_img("snapshot", "-a", "s", path)
    assert qemu_reads(path) == before


async def test_amend_of_a_backing_file_that_it_has_is_fine(graph: BlockGraph, tmp_path: Path) -> None:
    base = qemu_create(tmp_path / "base", SIZE)
    path = qemu_create(tmp_path / "image", SIZE, backing_file=base, backing_fmt="qcow2")
    await amend(graph, path, backing_file=str(base), backing_fmt="qcow2")
    with pytest.raises(ConfigError, match="Cannot amend the backing file"):
        await amend(graph, path, backing_file=str(base))


async def test_amend_of_the_data_file_stores_another_name(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, data_file=tmp_path / "data")
    qemu_io(path, "write -P 1 0 64k")
    (tmp_path / "data").rename(tmp_path / "moved")
    (tmp_path / "data").write_bytes(b"")
    await amend(graph, path, data_file=str(tmp_path / "moved"))

    assert f"data file: {tmp_path / 'moved'}" in info(path)
    assert qemu_reads(path)[:65536] == b"\1" * 65536


async def test_amend_of_a_raw_data_file_to_one_that_is_not(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, data_file=tmp_path / "data", data_file_raw=True)
    await amend(graph, path, data_file_raw="off")
    assert "data file raw: false" in info(path)
    with pytest.raises(ConfigError, match="Cannot downgrade an image with a data file"):
        await amend(graph, path, compat="0.10")


async def test_amend_upgrade_completes_snapshots(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, compat="0.10")
    qemu_img("snapshot", "-c", "s", path)
    await amend(graph, path, compat="1.1", size="2M")
    async with opened(graph, path) as node:
        assert isinstance(node.driver, Qcow2Driver)
        await node.driver.snapshot_goto("s")
        assert node.size == SIZE
    assert qemu_says_clean(path)


async def test_amend_tells_of_its_progress(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, compat="0.10")
    told: list[float] = []
    await amend(graph, path, lambda done, total: told.append(done / total), compat="1.1", refcount_bits="64")
    assert told == sorted(told)
    assert told[0] == 0
    assert told[-1] == 1
