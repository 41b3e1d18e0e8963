# SPDX-License-Identifier: GPL-2.0-or-later
"""Compressed clusters, zlib and zstd, in both directions."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block import BlockGraph
from asyncemu.block.flags import WRITE_COMPRESSED
from asyncemu.block.qcow2.compression import BadCompressedData, compress, decompress
from asyncemu.block.qcow2.constants import ZLIB, ZSTD
from asyncemu.errors import BlockError, ConfigError
from asyncemu.memory.buffers import Buffers
from tests.block.qcow2.conftest import (
    create,
    image_of,
    l2_entry,
    l2_table_offset,
    open_image,
    opened,
    patch,
    qemu_create,
    qemu_img,
    qemu_reads,
    qemu_says_clean,
    write,
)

SIZE = 1 << 20
CLUSTER = 65536
COMPRESSED = 1 << 62
FORMS: list[dict[str, Any]] = [{}, {"cluster_size": 512}, {"cluster_size": 2 << 20}, {"extended_l2": True}]
kinds = pytest.mark.parametrize("kind", ["zlib", "zstd"])


@settings(deadline=None)
@given(st.binary(max_size=3000), st.sampled_from([ZLIB, ZSTD]), st.binary(max_size=600))
def test_compress_any_cluster_survives_with_rubbish_behind_it(data: bytes, kind: int, rubbish: bytes) -> None:
    assert decompress(kind, compress(kind, data) + rubbish, len(data)) == data


@settings(deadline=None)
@given(st.binary(max_size=600), st.sampled_from([ZLIB, ZSTD]), st.integers(1, 5000))
def test_decompress_any_bytes_give_a_cluster_or_bad_data(data: bytes, kind: int, size: int) -> None:
    try:
        found = decompress(kind, data, size)
    except BadCompressedData:
        return
    assert len(found) == size


@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
def test_decompress_of_a_bomb_makes_no_more_than_a_cluster(kind: int) -> None:
    bomb = compress(kind, bytes(8 << 20))

    assert decompress(kind, bomb, 4096) == bytes(4096)


@kinds
@pytest.mark.parametrize("options", FORMS, ids=str)
async def test_compressed_ours_is_what_qemu_reads(
    kind: str, options: dict[str, Any], graph: BlockGraph, tmp_path: Path
) -> None:
    path = await create(graph, tmp_path / "image", SIZE, compression_type=kind, **options)
    data = (b"compressible " * 100000)[: SIZE // 4].ljust(SIZE, b"x")
    async with opened(graph, path) as node:
        await write(node, 0, data, WRITE_COMPRESSED)
        assert await node.pread(0, SIZE) == data

    assert l2_entry(path, 0) & COMPRESSED
    assert qemu_reads(path) == data
    assert qemu_says_clean(path)


@kinds
@pytest.mark.parametrize("size", [512, 65536, 2 << 20])
async def test_compressed_by_qemu_is_what_we_read(kind: str, size: int, graph: BlockGraph, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes((b"compressible " * 100000)[: SIZE // 4].ljust(SIZE, b"x"))
    path = tmp_path / "image"
    qemu_img("convert", "-c", "-O", "qcow2", "-o", f"compression_type={kind},cluster_size={size}", raw, path)

    async with opened(graph, path, read_only=True) as node:
        assert await node.pread(0, SIZE) == raw.read_bytes()
        assert await node.pread(70_001, 5) == raw.read_bytes()[70_001:70_006]


async def test_compressed_clusters_lie_behind_each_other(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, b"a" * SIZE, WRITE_COMPRESSED)
        file_size = image_of(node).file.size

    assert file_size < 6 * CLUSTER
    assert qemu_says_clean(path)


async def test_compressed_write_of_what_does_not_compress_is_stored_as_it_is(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    data = random.Random(1).randbytes(CLUSTER)
    async with opened(graph, path) as node:
        await write(node, 0, data, WRITE_COMPRESSED)

    assert not l2_entry(path, 0) & COMPRESSED
    assert qemu_reads(path)[:CLUSTER] == data
    assert qemu_says_clean(path)


async def test_compressed_write_over_data_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, b"data")
        with pytest.raises(BlockError) as refused:
            await write(node, 0, b"a" * CLUSTER, WRITE_COMPRESSED)
        assert await node.pread(0, 4) == b"data"

    assert refused.value.errno == errno.EIO
    assert qemu_says_clean(path)


async def prepare(path: Path, *commands: str) -> None:
    """Have qemu-io do this with the image."""
    arguments = [argument for command in commands for argument in ("-c", command)]
    await asyncio.to_thread(subprocess.run, ["qemu-io", *arguments, str(path)], check=True, capture_output=True)


@pytest.mark.parametrize(
    "commands",
    [
        ("write -c -P 1 0 64k",),
        ("write -P 1 0 64k",),
        ("write -P 1 0 64k", "write -z 0 64k"),
        ("write -z 0 64k",),
        ("write -P 1 0 64k", "write -zu 0 64k"),
        ("write -c -P 1 0 64k", "discard 0 64k"),
        ("read 0 64k",),
    ],
    ids=["compressed", "data", "zeroes with storage", "zeroes", "zeroes without storage", "discarded", "nothing"],
)
async def test_compressed_write_over_what_is_there_is_taken_or_refused_as_by_qemu(
    commands: tuple[str, ...], graph: BlockGraph, tmp_path: Path
) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    await prepare(path, *commands)
    theirs = path.with_name("theirs")
    await asyncio.to_thread(shutil.copy, path, theirs)
    command = ["qemu-io", "-c", "write -c -P 2 0 64k", str(theirs)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)

    async with opened(graph, path) as node:
        try:
            await write(node, 0, b"\2" * CLUSTER, WRITE_COMPRESSED)
        except BlockError as error:
            found = os.strerror(error.errno)
        else:
            found = ""

    assert ("write failed" in done.stdout + done.stderr) == bool(found), done
    assert found in done.stdout + done.stderr
    assert qemu_reads(path) == qemu_reads(theirs)
    assert qemu_says_clean(path)


async def test_write_into_a_compressed_cluster_decompresses_it(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, b"a" * (2 * CLUSTER), WRITE_COMPRESSED)
        await write(node, 1000, b"new")
        assert await node.pread(0, CLUSTER) == b"a" * 1000 + b"new" + b"a" * (CLUSTER - 1003)

    assert qemu_reads(path)[CLUSTER : 2 * CLUSTER] == b"a" * CLUSTER
    assert qemu_says_clean(path)


async def test_zeroes_and_discard_free_compressed_clusters(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, b"a" * SIZE, WRITE_COMPRESSED)
        await node.write_zeroes(0, CLUSTER)
        await node.discard(CLUSTER, CLUSTER)
        await node.write_zeroes(2 * CLUSTER, 512)

    model = bytearray(b"a" * SIZE)
    model[: 2 * CLUSTER + 512] = bytes(2 * CLUSTER + 512)
    assert qemu_reads(path) == model
    assert qemu_says_clean(path)


async def test_compressed_write_of_the_last_part_of_a_disk_is_padded(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", CLUSTER + 1024)
    async with opened(graph, path) as node:
        await write(node, CLUSTER, b"z" * 1024, WRITE_COMPRESSED)

    assert qemu_reads(path) == bytes(CLUSTER) + b"z" * 1024


@pytest.mark.parametrize(("offset", "length"), [(512, CLUSTER), (0, 1000)])
async def test_compressed_write_of_part_of_a_cluster_is_refused(
    offset: int, length: int, graph: BlockGraph, tmp_path: Path
) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        with pytest.raises(BlockError) as refused:
            await write(node, offset, bytes(length), WRITE_COMPRESSED)

    assert refused.value.errno == errno.EINVAL


async def test_refcounts_of_one_bit_allow_one_compressed_cluster_in_each(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, refcount_bits=1)
    async with opened(graph, path) as node:
        await write(node, 0, b"a" * (4 * CLUSTER), WRITE_COMPRESSED)

    assert qemu_reads(path)[: 4 * CLUSTER] == b"a" * (4 * CLUSTER)
    assert qemu_says_clean(path)


@kinds
async def test_damaged_compressed_cluster_is_an_io_error(kind: str, graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, compression_type=kind)
    async with opened(graph, path) as node:
        await write(node, 0, bytes(range(256)) * 256, WRITE_COMPRESSED)
    offset = l2_entry(path, 0) & ((1 << 54) - 1)
    patch(path, offset, b"\xff" * 64)

    node = await open_image(graph, path)
    with pytest.raises(BlockError) as damaged:
        await node.preadv(0, Buffers.of(bytearray(512)))

    assert damaged.value.errno == errno.EIO


async def test_compressed_cluster_past_the_end_of_the_file_is_an_io_error(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    async with opened(graph, path) as node:
        await write(node, 0, b"a" * CLUSTER, WRITE_COMPRESSED)
    patch(path, l2_table_offset(path), (COMPRESSED | 1 << 40).to_bytes(8, "big"))

    node = await open_image(graph, path)
    with pytest.raises(BlockError) as damaged:
        await node.pread(0, 512)

    assert damaged.value.errno == errno.EIO


async def test_zstd_without_the_library_says_what_to_install(
    graph: BlockGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = qemu_create(tmp_path / "image", SIZE, compression_type="zstd")
    monkeypatch.setitem(sys.modules, "backports", None)

    with pytest.raises(ConfigError, match=r"zstd is not available; install it: pip install asyncemu\[zstd\]"):
        await open_image(graph, path)
