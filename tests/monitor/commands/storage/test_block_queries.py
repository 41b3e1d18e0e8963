# SPDX-License-Identifier: GPL-2.0-or-later
"""query-block, query-named-block-nodes, query-blockstats, x-debug-query-block-graph: QEMU's members, and its values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncemu.block.backend import BlockBackend
from asyncemu.memory.buffers import Buffers
from tests.monitor.commands.storage.conftest import Command
from tests.monitor.commands.storage.qemu import ask_qemu, needs_qemu, qemu_img

pytestmark = needs_qemu


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A qcow2 image with a backing file."""
    base, top = tmp_path / "base.raw", tmp_path / "top.qcow2"
    qemu_img("create", "-f", "raw", str(base), "1M")
    qemu_img("create", "-f", "qcow2", "-b", str(base), "-F", "raw", str(top))
    return top


def tables(image: Path) -> dict[str, Any]:
    file = {"driver": "file", "node-name": "file0", "filename": str(image)}
    return {
        "blockdev": [{"driver": "qcow2", "node-name": "disk0", "file": file}],
        "device": [{"driver": "virtio-blk", "id": "blk0", "drive": "disk0"}],
    }


def command_line(image: Path) -> list[str]:
    blockdev = f"driver=qcow2,node-name=disk0,file.driver=file,file.node-name=file0,file.filename={image}"
    return ["-blockdev", blockdev, "-device", "virtio-blk-device,id=blk0,drive=disk0"]


def shape(value: Any) -> Any:
    """What the members are, and of which types."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value)


async def test_query_block_of_a_device_is_qemus(command: Command, image: Path) -> None:
    (theirs,) = await ask_qemu([("query-block", {})], *command_line(image))
    vm = await command(**tables(image))

    ours = await vm.ask("query-block")

    (of_qemu,) = theirs["return"]
    # The path of the device in QEMU's tree.
    of_qemu["qdev"] = "blk0"
    # The node's own name of its backing file's node.
    assert ours == [of_qemu]


async def test_query_named_block_nodes_is_qemus(command: Command, image: Path) -> None:
    asked = [("query-named-block-nodes", {"flat": True}), ("query-named-block-nodes", {})]
    theirs = await ask_qemu(asked, *command_line(image))
    vm = await command(**tables(image))

    for (name, arguments), reply in zip(asked, theirs, strict=True):
        ours = {each["node-name"]: each for each in (await vm.reply(name, arguments))["return"]}
        of_qemu = {each["node-name"]: each for each in reply["return"]}
        assert ours["disk0"] == of_qemu["disk0"]
        assert ours["file0"] == of_qemu["file0"]
        assert len(ours) == len(of_qemu)


async def test_query_blockstats_has_qemus_members(command: Command, image: Path) -> None:
    asked = [("query-blockstats", {}), ("query-blockstats", {"query-nodes": True})]
    theirs = await ask_qemu(asked, *command_line(image))
    vm = await command(**tables(image))

    for (name, arguments), reply in zip(asked, theirs, strict=True):
        ours = {each.get("node-name"): shape(each) for each in (await vm.reply(name, arguments))["return"]}
        of_qemu = {each.get("node-name"): shape(each) for each in reply["return"]}
        assert ours["disk0"] == of_qemu["disk0"]


async def test_query_blockstats_counts_what_was_done(command: Command, image: Path) -> None:
    vm = await command(**tables(image))
    backend = vm.machine.block.nodes["disk0"].parents[0].parent
    assert isinstance(backend, BlockBackend)
    await backend.pwritev(4096, Buffers.of(bytes(512)))
    await backend.flush()

    (found,) = await vm.ask("query-blockstats")

    stats = found["stats"]
    assert (stats["wr_bytes"], stats["wr_operations"], stats["flush_operations"]) == (512, 1, 1)


async def test_query_block_graph_has_the_edges_of_qemu(command: Command, image: Path) -> None:
    (theirs,) = await ask_qemu([("x-debug-query-block-graph", {})], *command_line(image))
    vm = await command(**tables(image))

    ours = await vm.ask("x-debug-query-block-graph")

    assert shape(ours["nodes"][0]) == shape(theirs["return"]["nodes"][0])
    assert sorted(edge["name"] for edge in ours["edges"]) == sorted(edge["name"] for edge in theirs["return"]["edges"])


async def test_queries_of_a_machine_without_disks_are_empty(command: Command) -> None:
    vm = await command()

    found = [await vm.ask(name) for name in ("query-block", "query-named-block-nodes", "query-blockstats")]

    assert found == [[], [], []]
