# SPDX-License-Identifier: GPL-2.0-or-later
"""blockdev-add, -del, -reopen and block_resize: what they do, and QEMU's words for what is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from asyncemu.block.backend import BlockBackend
from asyncemu.block.flags import PERM_CONSISTENT_READ, PERM_WRITE
from asyncemu.memory.buffers import Buffers
from tests.monitor.commands.storage.conftest import Command
from tests.monitor.commands.storage.qemu import ask_qemu, needs_qemu, qemu_img

NULL = {"driver": "null-co", "size": 1 << 20}


async def test_add_a_node_over_another_and_delete_both(command: Command) -> None:
    vm = await command()
    await vm.ask("blockdev-add", node_name="n", **NULL)
    await vm.ask("blockdev-add", driver="raw", node_name="r", file="n")
    names = sorted(vm.machine.block.nodes)

    await vm.ask("blockdev-del", node_name="r")
    await vm.ask("blockdev-del", node_name="n")

    assert names == ["n", "r"]
    assert vm.machine.block.nodes == {}


async def test_resize_of_a_device_s_disk_under_writes_loses_none(command: Command, tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(bytes(1 << 20))
    vm = await command(
        blockdev=[{"driver": "raw", "node-name": "d", "file": {"driver": "file", "filename": "disk.raw"}}],
        device=[{"driver": "virtio-blk", "id": "blk0", "drive": "d", "share-rw": True}],
    )
    node = vm.machine.block.nodes["d"]
    backend = BlockBackend("writer", node.context, PERM_CONSISTENT_READ | PERM_WRITE)
    await backend.insert(node)
    done = asyncio.Event()

    async def writes() -> int:
        count = 0
        while not done.is_set():
            await backend.pwritev(count % 2048 * 512, Buffers.of(bytearray(b"x" * 512)))
            count += 1
            # What is in the page cache is written in place: others want their turn.
            await asyncio.sleep(0)
        return count

    writing = asyncio.create_task(writes())
    for size in (2 << 20, 4 << 20, 3 << 20):
        await vm.ask("block_resize", device="blk0", size=size)
    done.set()
    count = await writing
    await backend.remove()

    assert node.size == 3 << 20
    assert (tmp_path / "disk.raw").read_bytes()[: count % 2048 * 512].strip(b"x") == b""


async def test_reopen_read_only_is_in_effect_and_the_way_back(command: Command, tmp_path: Path) -> None:
    qemu_img("create", "-f", "qcow2", str(tmp_path / "d.qcow2"), "1M")
    vm = await command()
    table = {
        "driver": "qcow2",
        "node-name": "d",
        "file": {"driver": "file", "node-name": "f", "filename": str(tmp_path / "d.qcow2")},
    }
    await vm.reply("blockdev-add", table)
    node = vm.machine.block.nodes["d"]

    closed = await vm.reply("blockdev-reopen", {"options": [{**table, "file": "f", "read-only": True}]})
    read_only = node.read_only
    await vm.reply("blockdev-reopen", {"options": [{**table, "file": "f"}]})

    assert (closed, read_only, node.read_only) == ({"return": {}}, True, False)


async def test_add_endless_nesting_is_refused(command: Command) -> None:
    vm = await command()
    table: dict[str, Any] = {"driver": "null-co"}
    for _ in range(900):
        table = {"driver": "raw", "file": table}

    found = await vm.reply("blockdev-add", {**table, "node-name": "n"})

    assert found == {"error": {"class": "GenericError", "desc": "Block nodes are nested too deeply"}}
    assert vm.machine.block.nodes == {}


async def test_node_moves_to_an_iothread_and_back(command: Command) -> None:
    vm = await command(iothread=[{"id": "io0"}], blockdev=[{"node-name": "n", **NULL}])
    node = vm.machine.block.nodes["n"]
    await vm.ask("x-blockdev-set-iothread", node_name="n", iothread="io0")
    moved = node.context is vm.machine.iothreads["io0"].aio_context

    await vm.ask("x-blockdev-set-iothread", node_name="n", iothread=None)

    assert (moved, node.context is vm.machine.context) == (True, True)


SAME_ANSWERS: list[tuple[str, dict[str, Any]]] = [
    ("blockdev-add", {"driver": "null-co", "node-name": "n", "size": 1048576}),
    ("blockdev-add", {"driver": "null-co", "node-name": "n"}),
    ("blockdev-add", {"driver": "null-co"}),
    ("blockdev-add", {"node-name": "x"}),
    ("blockdev-add", {"driver": "bogus", "node-name": "x"}),
    ("blockdev-add", {"driver": 5, "node-name": "x"}),
    ("blockdev-add", {"driver": "null-co", "node-name": 5}),
    ("blockdev-add", {"driver": "null-co", "node-name": "x", "bogus": 1}),
    ("blockdev-add", {"driver": "null-co", "node-name": "x", "size": "big"}),
    ("blockdev-add", {"driver": "raw", "node-name": "x"}),
    ("blockdev-add", {"driver": "raw", "node-name": "x", "file": "zz"}),
    ("blockdev-add", {"driver": "raw", "node-name": "x", "file": {"driver": "null-co", "bogus": 1}}),
    ("blockdev-add", {"driver": "raw", "node-name": "x", "file": {"driver": "bogus"}}),
    ("blockdev-add", {"driver": "file", "node-name": "x", "filename": "/nonexistent/file"}),
    ("blockdev-add", {"driver": "null-co", "node-name": "x", "read-only": "on"}),
    ("blockdev-add", {"driver": "null-co", "node-name": "x", "detect-zeroes": "bogus"}),
    ("blockdev-add", {"driver": "raw", "node-name": "r", "file": "n"}),
    ("blockdev-del", {"node-name": "n"}),
    ("blockdev-del", {"node-name": "zz"}),
    ("blockdev-del", {}),
    ("blockdev-reopen", {"options": [{"driver": "raw", "file": "n"}]}),
    ("blockdev-reopen", {"options": [{"driver": "raw", "node-name": "zz", "file": "n"}]}),
    ("blockdev-reopen", {"options": [{"driver": "raw", "node-name": "r", "file": "n", "read-only": True}]}),
    ("blockdev-reopen", {"options": [{"driver": "qcow2", "node-name": "r", "file": "n"}]}),
    ("blockdev-reopen", {"options": {}}),
    ("blockdev-reopen", {}),
    ("block_resize", {"node-name": "zz", "size": 512}),
    ("block_resize", {"device": "zz", "size": 512}),
    ("block_resize", {"node-name": "r", "size": -512}),
    ("block_resize", {"node-name": "r", "size": "1M"}),
    ("block_resize", {"node-name": "r"}),
    ("x-blockdev-set-iothread", {"node-name": "zz", "iothread": "io0"}),
    ("x-blockdev-set-iothread", {"node-name": "n", "iothread": "zz"}),
    ("x-blockdev-set-iothread", {"node-name": "n", "iothread": "io0"}),
    ("x-blockdev-set-iothread", {"node-name": "n", "iothread": None}),
    ("x-blockdev-set-iothread", {"node-name": "n"}),
    ("x-blockdev-set-iothread", {"node-name": "d", "iothread": "io0"}),
    ("x-blockdev-set-iothread", {"node-name": "d", "iothread": "io0", "force": True}),
    ("blockdev-del", {"node-name": "r"}),
    ("blockdev-del", {"node-name": "n"}),
    ("block-set-write-threshold", {"node-name": "zz", "write-threshold": 1}),
    ("block-set-write-threshold", {"node-name": "zz"}),
    ("block-latency-histogram-set", {"id": "zz"}),
]


@needs_qemu
async def test_answers_are_qemus(command: Command) -> None:
    vm = await command(
        iothread=[{"id": "io0"}],
        blockdev=[{"node-name": "d", **NULL}],
        device=[{"driver": "virtio-blk", "id": "blk0", "drive": "d"}],
    )
    line = ["-object", "iothread,id=io0", "-blockdev", "driver=null-co,node-name=d"]

    ours = await vm.replies(SAME_ANSWERS)
    theirs = await ask_qemu(SAME_ANSWERS, *line, "-device", "virtio-blk-device,id=blk0,drive=d")

    assert list(zip(SAME_ANSWERS, ours, strict=True)) == list(zip(SAME_ANSWERS, theirs, strict=True))
