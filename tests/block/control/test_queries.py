# SPDX-License-Identifier: GPL-2.0-or-later
"""query-block and its kin: the members that qemu-system-riscv64 7.2 answered with, for the same images."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from asyncemu.block import BlockGraph, move_nodes
from asyncemu.block.control.queries import (
    query_block,
    query_block_graph,
    query_blockstats,
    query_named_block_nodes,
)
from asyncemu.loop import IOThread
from asyncemu.memory.buffers import Buffers
from tests.block.control.devices import plug


def make_chain(directory: Path) -> None:
    """``o.qcow2`` over ``b.qcow2``, by QEMU."""
    for arguments in ("b.qcow2 8M", "-b b.qcow2 -F qcow2 o.qcow2"):
        command = ["qemu-img", "create", "-q", "-f", "qcow2", *arguments.split()]
        subprocess.run(command, cwd=directory, check=True)


async def overlay(graph: BlockGraph, directory: Path) -> dict[str, Any]:
    make_chain(directory)
    node = await graph.add_table(
        {"driver": "qcow2", "node-name": "d0", "file": {"driver": "file", "filename": "o.qcow2", "node-name": "f0"}},
        "blockdev",
    )
    backend = await plug(node)
    return {"node": node, "backend": backend}


async def test_query_block_overlay_tells_what_qemu_tells(graph: BlockGraph, tmp_path: Path) -> None:
    await overlay(graph, tmp_path)
    [info] = await query_block(graph)
    inserted = info.pop("inserted")
    image = inserted.pop("image")
    backing = image.pop("backing-image")
    assert info == {
        "device": "",
        "qdev": "vd0",
        "type": "unknown",
        "removable": False,
        "locked": False,
        "io-status": "ok",
    }
    assert inserted == {
        "file": str(tmp_path / "o.qcow2"),
        "backing_file": str(tmp_path / "b.qcow2"),
        "backing_file_depth": 1,
        "node-name": "d0",
        "ro": False,
        "drv": "qcow2",
        "encrypted": False,
        "cache": {"writeback": True, "direct": False, "no-flush": False},
        "detect_zeroes": "off",
        "write_threshold": 0,
        **dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0),
    }
    assert (image["virtual-size"], image["backing-filename"], image["backing-filename-format"]) == (
        8 << 20,
        "b.qcow2",
        "qcow2",
    )
    assert (backing["filename"], backing["format"], backing["cluster-size"]) == (
        str(tmp_path / "b.qcow2"),
        "qcow2",
        65536,
    )


async def test_query_named_block_nodes_flat_has_no_backing_images(graph: BlockGraph, tmp_path: Path) -> None:
    await overlay(graph, tmp_path)
    nodes = {each["node-name"]: each for each in await query_named_block_nodes(graph, flat=True)}
    assert (nodes["d0"]["backing_file_depth"], "backing-image" in nodes["d0"]["image"]) == (0, False)
    assert sorted(nodes) == ["#block001", "#block002", "d0", "f0"]
    assert (nodes["f0"]["drv"], nodes["f0"]["ro"], nodes["#block001"]["ro"]) == ("file", False, True)


async def test_query_named_block_nodes_asks_each_at_its_home(
    iothreads: list[IOThread], graph: BlockGraph, tmp_path: Path
) -> None:
    make_chain(tmp_path)
    node = await graph.add_table(
        {"driver": "qcow2", "node-name": "d0", "file": {"driver": "file", "filename": "o.qcow2"}}, "blockdev"
    )
    await move_nodes(node, iothreads[0].aio_context)
    names = [each["node-name"] for each in await query_named_block_nodes(graph)]
    assert names[0] == "d0"


async def test_query_blockstats_counts_of_the_device_and_highest_offsets_of_nodes(
    graph: BlockGraph, tmp_path: Path
) -> None:
    backend = (await overlay(graph, tmp_path))["backend"]
    await backend.pwritev(4096, Buffers.of(bytes(512)))
    [stats] = await query_blockstats(graph)
    assert (stats["device"], stats["qdev"], stats["node-name"]) == ("", "vd0", "d0")
    assert (stats["stats"]["wr_operations"], stats["stats"]["wr_bytes"], stats["stats"]["account_failed"]) == (
        1,
        512,
        True,
    )
    assert stats["stats"]["wr_highest_offset"] == 4096 + 512
    assert (stats["parent"]["node-name"], stats["parent"]["stats"]["wr_operations"]) == ("f0", 0)
    assert stats["parent"]["stats"]["wr_highest_offset"] > 65536
    assert stats["backing"]["parent"]["driver-specific"]["driver"] == "file"


async def test_query_blockstats_of_nodes_counts_discards_of_a_file(graph: BlockGraph, image: Path) -> None:
    table = {"driver": "file", "filename": image.name, "node-name": "f0", "discard": "unmap"}
    node = await graph.add_table(table, "blockdev")
    await node.discard(0, 8192)
    [stats] = await query_blockstats(graph, query_nodes=True)
    assert stats["driver-specific"] == {
        "driver": "file",
        "discard-nb-ok": 1,
        "discard-nb-failed": 0,
        "discard-bytes-ok": 8192,
    }
    assert "qdev" not in stats


async def test_query_block_graph_names_edges_with_their_permissions(graph: BlockGraph) -> None:
    node = await graph.add_table({"driver": "memory", "node-name": "d0"}, "blockdev")
    await plug(node)
    assert await query_block_graph(graph) == {
        "nodes": [
            {"id": 1, "type": "block-driver", "name": "d0"},
            {"id": 2, "type": "block-backend", "name": "vd0"},
        ],
        "edges": [
            {
                "parent": 2,
                "child": 1,
                "name": "root",
                "perm": ["consistent-read", "write"],
                "shared-perm": ["consistent-read", "write", "write-unchanged", "resize"],
            }
        ],
    }
