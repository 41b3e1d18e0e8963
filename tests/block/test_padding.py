# SPDX-License-Identifier: GPL-2.0-or-later
"""Images whose size is no multiple of the block, written at their end by who may write and not resize."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.nbd.export import export_backend

SIZE = 100_000
_STORAGE: Mapping[str, object] = {"driver": "file", "filename": "odd.img"}


@pytest.mark.parametrize(
    "table",
    [
        pytest.param({"filename": "odd.img"}, id="probed raw"),
        pytest.param({"driver": "raw", "file": {**_STORAGE, "cache": {"direct": True}}}, id="direct I/O"),
        pytest.param({"driver": "blkdebug", "align": 1024, "image": _STORAGE}, id="filter"),
        pytest.param({"driver": "chaos", "volatile-cache": True, "file": _STORAGE}, id="write cache"),
    ],
)
async def test_write_of_the_last_bytes_by_who_may_not_resize_keeps_the_size(
    graph: BlockGraph, tmp_path: Path, table: Mapping[str, object]
) -> None:
    image = tmp_path / "odd.img"
    image.write_bytes(b"a" * SIZE)
    node = await graph.add_table(table, "blockdev[0]")
    backend = export_backend("export", graph.context, writable=True)
    await backend.insert(node)
    await backend.pwrite(SIZE - 10, b"b" * 10)
    await backend.write_zeroes(SIZE - 5000, 4996)
    await backend.remove()
    await graph.remove(node)
    assert image.read_bytes() == b"a" * (SIZE - 5000) + bytes(4996) + b"b" * 4
