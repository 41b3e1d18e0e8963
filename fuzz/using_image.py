# SPDX-License-Identifier: GPL-2.0-or-later
"""Does with a qcow2 image in memory all that a user may do with one that came from anywhere.

Nothing that an image names is opened: it has no backing file here, and its data file is in memory, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.open_mode import OpenMode
from asyncemu.block.qcow2.driver import Qcow2Driver
from asyncemu.block.types import Repair, SnapshotInfo
from asyncemu.loop import AioContext
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.memory_disk import MemoryDiskOptions
from fuzz.driving import Defect, image_errors
from fuzz.memory_file import MemoryFile

#: Bytes read from the front, and from the end (arbitrary: several clusters of most sizes).
_FRONT: Final = 128 << 10
_PIECE: Final = 16 << 10
#: Extents asked about.
_EXTENTS: Final = 256
#: Bytes of the external data file, if the image has one.
_DATA_FILE: Final = 64 << 10

_VERSION: Final = slice(4, 8)
_INCOMPATIBLE: Final = slice(72, 80)
_HAS_DATA_FILE: Final = 1 << 2

_SNAPSHOT: Final = SnapshotInfo("", "fuzz", 0, 1, 0, 0)


#: Ways to use an image.
WAYS: Final = 5


async def use_image(context: AioContext, image: bytes, way: int) -> None:
    """Read it, change it, check it, or repair it: 0 to WAYS - 1. Raises no error of an image: those are expected."""
    read_only, check = way in (0, 2), way >= 2
    with image_errors():
        async with opened_image(context, image, read_only=read_only, mode=OpenMode(check=check)) as node:
            if check:
                repair: Repair = ("", "leaks", "all")[way - 2]
                await qcow2_driver(node).check(repair, lambda done, total: None)
                return
            await read_all(node)
            await look_at(node)
            if not read_only:
                await change(node)
                await read_all(node)


@asynccontextmanager
async def opened_image(
    context: AioContext,
    image: bytes,
    *,
    read_only: bool,
    mode: OpenMode = OpenMode(),  # noqa: B008  # frozen
) -> AsyncIterator[BlockNode]:
    """The image, open in a graph of its own. Raises IMAGE_ERRORS."""
    graph = BlockGraph(context, Path("/nonexistent"))
    try:
        table: dict[str, object] = {"driver": "qcow2", "file": await _file(graph, "file", image), "backing": None}
        if not read_only:
            table["overlap-check"] = "all"
        if _has_data_file(image):
            table["data-file"] = await _file(graph, "data", bytes(_DATA_FILE))
        node = await graph.add_table({**table, "read-only": read_only, "discard": "unmap"}, "image", mode)
        if unknown := {each.driver.name for each in graph.nodes.values()} - {"qcow2", "fuzz-file"}:
            raise Defect(f"the image made us open {unknown}")
        yield node
    finally:
        with image_errors():
            await graph.close()


async def _file(graph: BlockGraph, name: str, contents: bytes) -> str:
    node = await graph.add(MemoryFile, MemoryDiskOptions(growable=True, size=0), name)
    assert isinstance(node.driver, MemoryFile)
    node.driver.begin_with(contents)
    return name


def _has_data_file(image: bytes) -> bool:
    version, features = (int.from_bytes(image[part], "big") for part in (_VERSION, _INCOMPATIBLE))
    return version >= 3 and bool(features & _HAS_DATA_FILE)


# ---- reading


async def read_all(node: BlockNode) -> None:
    """The front, the end, and where the extents are."""
    for offset, length in _pieces(node.size):
        with image_errors():
            if len(await node.pread(offset, length)) != length:
                raise Defect(f"a read of {length} bytes at {offset} gave another number")
    offset = 0
    for _ in range(_EXTENTS):
        if offset >= node.size:
            return
        with image_errors():
            status = await node.block_status(offset, node.size - offset)
            if not 0 < status.length <= node.size - offset:
                raise Defect(f"an extent of {status.length} bytes at {offset} of {node.size}")
            offset += status.length
            continue
        # Behind the cluster that can't be told about.
        offset += _PIECE


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    starts = dict.fromkeys([*range(0, min(size, _FRONT), _PIECE), size // 2, max(size - _PIECE, 0)])
    for start in starts:
        yield start, min(_PIECE, size - start)


async def look_at(node: BlockNode) -> None:
    """What ``img info`` and ``img snapshot -l`` show; the VM state; a snapshot as a read-only disk."""
    driver = qcow2_driver(node)
    with image_errors():
        await driver.image_info()
    with image_errors():
        await driver.load_vmstate(0, Buffers.of(bytearray(4096)))
    snapshots = list(await driver.snapshot_list())[:3]
    if not node.read_only:
        return
    for snapshot in snapshots:
        with image_errors():
            await driver.snapshot_load(snapshot.id, snapshot.name)
            await node.pread(0, min(_PIECE, node.size))


# ---- changing


async def change(node: BlockNode) -> None:
    """One of each kind of request, and of each operation on the image."""
    driver, size = qcow2_driver(node), node.size
    # Of the size of no cluster, so that clusters are read, changed and written.
    length = min(700, size)
    for offset in dict.fromkeys((0, size // 2 // 512 * 512, size - length)):
        with image_errors():
            await node.pwritev(offset, Buffers.of(bytearray(b"f" * length)))
    with image_errors():
        await node.write_zeroes(0, min(8 << 10, size))
    with image_errors():
        await node.discard(0, min(64 << 10, size))
    cluster = driver.image.geometry.cluster_size
    if size >= cluster:
        with image_errors():
            await driver.pwritev_compressed(0, Buffers.of(bytearray(cluster)))
    with image_errors():
        await node.flush()
    with image_errors():
        await driver.snapshot_create(_SNAPSHOT)
    with image_errors():
        await node.pwritev(0, Buffers.of(bytearray(b"g" * length)))
    for snapshot in list(await driver.snapshot_list())[:2]:
        with image_errors():
            await driver.snapshot_goto(snapshot.id)
        with image_errors():
            await driver.snapshot_delete(snapshot.id, snapshot.name)
    for new_size in (size + (64 << 10), max(size // 2 // 512 * 512, 512)):
        with image_errors():
            await node.truncate(new_size, exact=True)
    with image_errors():
        await driver.make_empty()


def qcow2_driver(node: BlockNode) -> Qcow2Driver:
    """What is inside."""
    assert isinstance(node.driver, Qcow2Driver)
    return node.driver
