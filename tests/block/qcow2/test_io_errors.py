# SPDX-License-Identifier: GPL-2.0-or-later
"""The file below fails at any point: requests fail, the image stays sound, and what was there stays there.

As QEMU's iotest 026: blkdebug injects an error at each event, once or from then on; an image may leak clusters
then, and must not be damaged.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.flags import MAY_UNMAP, WRITE_COMPRESSED
from asyncemu.errors import BlockError, ConfigError
from asyncemu.memory.buffers import Buffers
from tests.block.qcow2.conftest import create, opened, pattern, qemu_img, qemu_reads, qemu_says_clean, write

SIZE = 512 << 10
OLD = 100 << 10

EVENTS = [
    "l1_update",
    "l1_grow_alloc_table",
    "l1_grow_write_table",
    "l1_grow_activate_table",
    "l2_load",
    "l2_update",
    "l2_update_compressed",
    "l2_alloc_cow_read",
    "l2_alloc_write",
    "read_aio",
    "read_compressed",
    "write_aio",
    "write_compressed",
    "vmstate_save",
    "cow_read",
    "cow_write",
    "reftable_grow",
    "reftable_update",
    "refblock_load",
    "refblock_update_part",
    "refblock_alloc",
    "refblock_alloc_hookup",
    "refblock_alloc_write",
    "refblock_alloc_write_blocks",
    "refblock_alloc_write_table",
    "refblock_alloc_switch_table",
    "cluster_alloc",
    "cluster_alloc_bytes",
    "cluster_free",
    "flush_to_disk",
    "l1_shrink_write_table",
    "l1_shrink_free_l2_clusters",
]


async def tried(request: Any) -> bool:
    """Did it work?"""
    try:
        await request
    except (BlockError, ConfigError):
        return False
    return True


#: Only an image with more clusters than a cluster of refcount table counts comes by here.
OF_LARGE_IMAGES = {
    "reftable_grow",
    "refblock_alloc_write_blocks",
    "refblock_alloc_write_table",
    "refblock_alloc_switch_table",
}


async def use(node: BlockNode, large: bool) -> None:
    """All that allocates, frees and moves tables; none of it touches the first OLD bytes' last half."""
    state = Buffers.of(bytearray(pattern(5000)))
    requests = [
        write(node, OLD, pattern(20_000)),
        write(node, SIZE // 2, pattern(100_000)),
        write(node, 1000, b"x" * 700),
        write(node, SIZE - 65_536, b"c" * 4096, WRITE_COMPRESSED),
        write(node, SIZE - 65_536 + 100, b"y" * 100),
        node.write_zeroes(SIZE // 2, 40_960, MAY_UNMAP),
        node.discard(SIZE // 2 + 40_960, 8192),
        node.flush(),
        write(node, SIZE // 2, pattern(60_000)),
        node.driver.save_vmstate(0, state),
        node.truncate(6 * SIZE),
        write(node, SIZE, pattern(5 * SIZE)) if large else write(node, 3 * SIZE, pattern(100_000)),
        node.truncate(SIZE, exact=True),
        node.flush(),
    ]
    for request in requests:
        await tried(request)


async def run_with_error(graph: BlockGraph, path: Path, event: str, once: bool, number: int) -> None:
    table = {
        "driver": "qcow2",
        "discard": "unmap",
        "l2-cache-entry-size": 512,
        "l2-cache-size": 1024,
        "file": {
            "driver": "blkdebug",
            "image": {"driver": "file", "filename": str(path)},
            "inject-error": [{"event": event, "errno": number, "once": once}],
        },
    }
    try:
        node = await graph.add_table(table, "qcow2")
    except ConfigError:
        return
    await use(node, event in OF_LARGE_IMAGES)
    await tried(graph.remove(node))


def check(path: Path) -> None:
    """Leaks at worst, which can be repaired; a longer or shorter disk, and the old data."""
    ended = subprocess.run(["qemu-img", "check", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode in (0, 3), f"{ended.returncode} {ended.stdout} {ended.stderr}"
    if ended.returncode:
        qemu_img("check", "-r", "leaks", path)
    assert qemu_says_clean(path)
    assert qemu_reads(path)[OLD // 2 : OLD] == pattern(OLD)[OLD // 2 :]


@pytest.mark.parametrize("once", [True, False], ids=["once", "always"])
@pytest.mark.parametrize("event", EVENTS)
async def test_error_at_event_leaves_leaks_at_worst(event: str, once: bool, graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE, cluster_size=512, refcount_bits=64)
    async with opened(graph, path) as node:
        await write(node, 0, pattern(OLD))
    qemu_img("snapshot", "-c", "before", path)

    await run_with_error(graph, path, event, once, 5 if event != "cluster_alloc" else 28)

    check(path)


async def test_no_space_for_a_write_is_enospc_and_leaves_the_image_clean(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", SIZE)
    table = {
        "driver": "qcow2",
        "file": {
            "driver": "blkdebug",
            "image": {"driver": "file", "filename": str(path)},
            "inject-error": [{"event": "write_aio", "errno": 28, "once": True}],
        },
    }
    node = await graph.add_table(table, "qcow2")

    with pytest.raises(BlockError) as full:
        await write(node, 0, b"x")
    await write(node, 0, b"y")
    await graph.remove(node)

    assert full.value.errno == 28
    assert qemu_says_clean(path)
    assert qemu_reads(path)[:1] == b"y"
