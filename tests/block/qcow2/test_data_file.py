# SPDX-License-Identifier: GPL-2.0-or-later
"""External data files: guest offsets are offsets of that file, and a raw one reads as the image does."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.backend import BlockBackend
from asyncemu.block.flags import (
    MAY_UNMAP,
    PERM_ALL,
    PERM_CONSISTENT_READ,
    PERM_RESIZE,
    PERM_WRITE,
    STATUS_DATA,
    STATUS_OFFSET_VALID,
    WRITE_COMPRESSED,
)
from asyncemu.block.open_mode import OpenMode
from asyncemu.errors import BlockError, ConfigError
from tests.block.qcow2.conftest import (
    create,
    image_of,
    l2_table_offset,
    open_image,
    opened,
    patch,
    pattern,
    qemu_create,
    qemu_io,
    qemu_reads,
    qemu_says_clean,
    write,
)

SIZE = 1 << 20
CLUSTER = 65536


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def test_data_file_gets_the_data_at_guest_offsets(graph: BlockGraph, tmp_path: Path, data: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, data_file=str(data))
    async with opened(graph, path) as node:
        await write(node, 0, b"begin")
        await write(node, 300_000, pattern(100_000))
        assert await node.pread(300_000, 100_000) == pattern(100_000)
        size = image_of(node).file.size

    assert data.read_bytes()[:5] == b"begin"
    assert data.read_bytes()[300_000:400_000] == pattern(100_000)
    assert size < 6 * CLUSTER
    assert qemu_says_clean(path)
    assert qemu_reads(path)[300_000:400_000] == pattern(100_000)


async def test_data_file_of_qemu_is_what_we_read(graph: BlockGraph, tmp_path: Path, data: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE, data_file=str(data))
    qemu_io(path, "write -P 1 0 64k", "write -P 2 200k 300k", "write -z 256k 64k")

    contents = qemu_reads(path)

    async with opened(graph, path) as node:
        assert await node.pread(0, SIZE) == contents


async def test_raw_data_file_reads_as_the_image_after_zeroes_and_discard(
    graph: BlockGraph, tmp_path: Path, data: Path
) -> None:
    path = await create(graph, tmp_path / "image", SIZE, data_file=str(data), data_file_raw=True)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(SIZE))
        await node.write_zeroes(0, CLUSTER, MAY_UNMAP)
        await node.write_zeroes(CLUSTER + 512, 1024)
        await node.discard(3 * CLUSTER, CLUSTER)

    assert data.read_bytes() == qemu_reads(path)
    assert qemu_says_clean(path)


async def test_data_file_named_by_the_options_is_taken_instead(graph: BlockGraph, tmp_path: Path, data: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, data_file=str(data))
    other = tmp_path / "other"
    other.write_bytes(bytes(SIZE))
    async with opened(graph, path, data_file={"driver": "file", "filename": str(other)}) as node:
        await write(node, 0, b"here")

    assert other.read_bytes()[:4] == b"here"
    assert data.read_bytes()[:4] == bytes(4)


async def test_data_file_discard_reaches_it(graph: BlockGraph, tmp_path: Path, data: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, data_file=str(data))
    async with opened(graph, path) as node:
        await write(node, 0, pattern(SIZE))
        await node.flush()
        stored = data.stat().st_blocks
        await node.discard(0, 8 * CLUSTER)

    assert data.stat().st_blocks < stored


async def test_data_file_block_status_names_it(graph: BlockGraph, tmp_path: Path, data: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, data_file=str(data))
    async with opened(graph, path) as node:
        await write(node, CLUSTER, b"x" * CLUSTER)
        status = await node.block_status(CLUSTER + 10, 100)

        assert status.flags & (STATUS_DATA | STATUS_OFFSET_VALID) == STATUS_DATA | STATUS_OFFSET_VALID
        assert status.map == CLUSTER + 10
        assert status.file is image_of(node).data_file.node


async def test_data_file_resize_reaches_it(graph: BlockGraph, tmp_path: Path, data: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, data_file=str(data))
    async with opened(graph, path) as node:
        await node.truncate(SIZE // 2, exact=True)
        shorter = data.stat().st_size
        await node.truncate(2 * SIZE, exact=True)

    assert shorter == SIZE // 2
    assert data.stat().st_size == 2 * SIZE
    assert qemu_says_clean(path)


async def test_data_file_compressed_write_is_refused(graph: BlockGraph, tmp_path: Path, data: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, data_file=str(data))
    async with opened(graph, path) as node:
        with pytest.raises(BlockError) as refused:
            await write(node, 0, b"a" * CLUSTER, WRITE_COMPRESSED)

    assert refused.value.errno == errno.ENOTSUP


async def test_data_file_that_is_missing_is_a_config_error(graph: BlockGraph, tmp_path: Path, data: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, data_file=str(data))
    data.unlink()

    with pytest.raises(ConfigError, match="data"):
        await open_image(graph, path)


async def test_data_file_without_a_name_is_required(graph: BlockGraph, tmp_path: Path, data: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    patch(path, 72, (4).to_bytes(8, "big"))

    with pytest.raises(ConfigError, match="'data-file' is required for this image"):
        await open_image(graph, path)


async def test_data_file_for_an_image_without_one_is_refused(graph: BlockGraph, tmp_path: Path, data: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    data.write_bytes(bytes(SIZE))

    with pytest.raises(ConfigError, match="'data-file' can only be set for images with an external data file"):
        await open_image(graph, path, data_file={"driver": "file", "filename": str(data)})


async def test_raw_bit_without_a_data_file_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", SIZE)
    patch(path, 88, (2).to_bytes(8, "big"))

    with pytest.raises(ConfigError, match="data-file-raw requires a data file"):
        await open_image(graph, path)


async def test_data_file_is_not_needed_for_information(graph: BlockGraph, tmp_path: Path, data: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, data_file=str(data), data_file_raw=True)
    data.unlink()

    node = await open_image(graph, path, OpenMode(no_io=True), read_only=True)
    info = await node.driver.image_info()

    assert info.format_specific is not None
    specific = info.format_specific["data"]
    assert isinstance(specific, dict)
    assert (specific["data-file"], specific["data-file-raw"]) == (str(data), True)


async def test_data_file_entry_that_is_not_its_guest_offset_is_damage(
    graph: BlockGraph, tmp_path: Path, data: Path
) -> None:
    path = await create(graph, tmp_path / "image", SIZE, data_file=str(data))
    async with opened(graph, path) as node:
        await write(node, 0, b"x" * CLUSTER)
    patch(path, l2_table_offset(path), (1 << 63 | 0x20000).to_bytes(8, "big"))

    node = await open_image(graph, path, read_only=True)
    with pytest.raises(BlockError, match="does not match guest cluster offset: 0, L2 index: 0"):
        await node.pread(0, 512)


async def test_raw_data_file_longer_with_zeroes_asked_for_reads_as_the_image(
    graph: BlockGraph, tmp_path: Path, data: Path
) -> None:
    size = SIZE + 512
    path = await create(graph, tmp_path / "image", size, data_file=str(data), data_file_raw=True)
    node = await open_image(graph, path)
    backend = BlockBackend("owner", graph.context, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL)
    await backend.insert(node)
    await backend.pwrite(0, pattern(size))

    await backend.truncate(2 * SIZE, exact=True, zero=True)
    await backend.remove()
    await graph.remove(node)

    assert data.read_bytes()[: 2 * SIZE] == pattern(size).ljust(2 * SIZE, b"\0")
    assert qemu_reads(path) == pattern(size).ljust(2 * SIZE, b"\0")
    assert qemu_says_clean(path)
