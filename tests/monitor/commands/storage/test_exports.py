# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine's NBD server and its exports: what clients see, events, and QEMU's words for what is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from asyncemu.block.events import BlockExportDeleted
from tests.monitor.commands.storage.conftest import Command, Commander
from tests.monitor.commands.storage.qemu import ask_qemu, needs_qemu, qemu_img

NULL = {"driver": "null-co", "size": 1 << 20}


async def serve(vm: Commander, path: Path) -> None:
    await vm.ask("nbd-server-start", addr={"type": "unix", "data": {"path": str(path)}})


async def client(*arguments: str) -> str:
    """Output of qemu-img or another program of QEMU's, which must succeed."""
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, output
    return output.decode()


@needs_qemu
async def test_image_added_exported_compared_resized_reopened_and_deleted(command: Command, tmp_path: Path) -> None:
    image, copy = tmp_path / "disk.qcow2", tmp_path / "copy.raw"
    copy.write_bytes(bytes(range(256)) * 4096)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", str(copy), str(image))
    vm = await command()
    node = {"driver": "qcow2", "node-name": "disk", "file": "file"}
    await vm.ask("blockdev-add", driver="file", node_name="file", filename=str(image))
    await vm.reply("blockdev-add", node)
    await serve(vm, tmp_path / "nbd.sock")
    await vm.ask("block-export-add", type="nbd", id="e", node_name="disk", name="it", writable=True)
    uri = f"nbd+unix:///it?socket={tmp_path / 'nbd.sock'}"

    compared = await client("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, str(copy))
    await client("qemu-io", "-f", "raw", "-c", "write -P 7 0 64k", uri)
    await vm.ask("block-export-del", id="e", mode="hard")
    await vm.ask("block_resize", node_name="disk", size=2 << 20)
    reopened = await vm.reply("blockdev-reopen", {"options": [{**node, "read-only": True}]})
    read_only = vm.machine.block.nodes["disk"].read_only
    await vm.ask("blockdev-del", node_name="disk")
    await vm.ask("blockdev-del", node_name="file")

    assert "Images are identical." in compared
    assert (reopened, read_only, vm.machine.block.nodes) == ({"return": {}}, True, {})
    assert qemu_img("check", str(image)).startswith("No errors")
    assert '"virtual-size": 2097152' in qemu_img("info", "--output=json", str(image))
    await client("qemu-io", "-r", "-c", "read -P 7 0 64k", "-c", "read -P 0 1M 1M", str(image))


async def test_export_deleted_is_told(command: Command, tmp_path: Path) -> None:
    vm = await command(blockdev=[{"node-name": "n", **NULL}])
    await serve(vm, tmp_path / "nbd.sock")
    await vm.ask("block-export-add", type="nbd", id="e", node_name="n")

    await vm.ask("block-export-del", id="e")

    assert vm.events == [BlockExportDeleted(id="e")]


async def test_server_stopped_takes_its_exports_along(command: Command, tmp_path: Path) -> None:
    vm = await command(blockdev=[{"node-name": "n", **NULL}])
    await serve(vm, tmp_path / "nbd.sock")
    await vm.ask("nbd-server-add", device="n", writable=True)
    exports = await vm.ask("query-block-exports")

    await vm.ask("nbd-server-stop")

    assert exports == [{"id": "n", "type": "nbd", "node-name": "n", "shutting-down": False}]
    assert await vm.ask("query-block-exports") == []
    assert not (tmp_path / "nbd.sock").exists()


async def test_device_s_disk_is_exported_by_its_id(command: Command, tmp_path: Path) -> None:
    vm = await command(
        blockdev=[{"node-name": "n", **NULL}], device=[{"driver": "virtio-blk", "id": "blk0", "drive": "n"}]
    )
    await serve(vm, tmp_path / "nbd.sock")

    await vm.ask("nbd-server-add", device="blk0", name="it")
    await vm.ask("nbd-server-remove", name="it", mode="hard")

    assert vm.events == [BlockExportDeleted(id="it")]


async def test_exported_disk_keeps_its_size(command: Command, tmp_path: Path) -> None:
    vm = await command(blockdev=[{"node-name": "n", "driver": "raw", "file": NULL}])
    await serve(vm, tmp_path / "nbd.sock")
    await vm.ask("block-export-add", type="nbd", id="e", node_name="n")

    _, problem = await vm.error("block_resize", node_name="n", size=512)

    assert problem.startswith("Permission conflict on node 'n': permissions 'resize' are both required by")


def same_answers(socket: str) -> list[tuple[str, dict[str, Any]]]:
    address = {"type": "unix", "data": {"path": socket}}
    return [
        ("nbd-server-stop", {}),
        ("nbd-server-start", {"addr": {"type": "inet", "data": {"host": "127.0.0.1"}}}),
        ("nbd-server-start", {"addr": {"type": "inet", "host": "127.0.0.1", "port": "0"}}),
        ("nbd-server-start", {"addr": {"type": "inet", "data": {"host": "127.0.0.1", "port": 5}}}),
        ("nbd-server-start", {"addr": {"type": "unix", "data": {"path": socket, "bogus": 1}}}),
        ("nbd-server-start", {"addr": {"type": "unix", "data": 5}}),
        ("nbd-server-start", {"addr": {"type": "bogus", "data": {}}}),
        ("nbd-server-start", {"addr": {"data": {}}}),
        ("nbd-server-start", {"addr": 7}),
        ("nbd-server-start", {}),
        ("nbd-server-start", {"addr": address, "tls-creds": "zz"}),
        ("nbd-server-start", {"addr": {"type": "unix", "data": {"path": "/nonexistent/socket"}}}),
        ("nbd-server-start", {"addr": address, "max-connections": 3}),
        ("nbd-server-start", {"addr": address}),
        ("block-export-add", {"type": "nbd", "id": "e", "node-name": "zz"}),
        ("block-export-add", {"type": "bogus", "id": "e", "node-name": "n"}),
        ("block-export-add", {"id": "e", "node-name": "n"}),
        ("block-export-add", {"type": "nbd", "node-name": "n"}),
        ("block-export-add", {"type": "nbd", "id": "e"}),
        ("block-export-add", {"type": "nbd", "id": "1e", "node-name": "n"}),
        ("blockdev-add", {"driver": "null-co", "node-name": "n", "size": 1048576}),
        ("block-export-add", {"type": "nbd", "id": "e", "node-name": "n", "bogus": 1}),
        ("block-export-add", {"type": "nbd", "id": "e", "node-name": "n", "iothread": "zz"}),
        ("block-export-add", {"type": "nbd", "id": "e", "node-name": "n", "writable": "on"}),
        ("block-export-add", {"type": "nbd", "id": "e", "node-name": "n", "bitmaps": ["zz"]}),
        ("block-export-add", {"type": "nbd", "id": "e", "node-name": "n"}),
        ("block-export-add", {"type": "nbd", "id": "e", "node-name": "n"}),
        ("block-export-add", {"type": "nbd", "id": "f", "node-name": "n"}),
        ("query-block-exports", {}),
        ("blockdev-del", {"node-name": "n"}),
        ("block-export-del", {"id": "zz"}),
        ("block-export-del", {"id": "e", "mode": "bogus"}),
        ("block-export-del", {"id": "e"}),
        ("nbd-server-add", {"device": "zz"}),
        ("nbd-server-add", {"device": "n"}),
        ("nbd-server-add", {"device": "n"}),
        ("nbd-server-remove", {"name": "zz"}),
        ("nbd-server-remove", {"name": "n"}),
        ("nbd-server-stop", {}),
        ("block-export-add", {"type": "nbd", "id": "e", "node-name": "n"}),
        ("nbd-server-add", {"device": "n"}),
    ]


@needs_qemu
async def test_answers_are_qemus(command: Command, tmp_path: Path) -> None:
    vm = await command()
    asked = same_answers(str(tmp_path / "nbd.sock"))

    ours, theirs = await vm.replies(asked), await ask_qemu(asked)

    assert list(zip(asked, ours, strict=True)) == list(zip(asked, theirs, strict=True))


@needs_qemu
async def test_export_of_a_machine_that_stands_still_serves(command: Command, tmp_path: Path) -> None:
    vm = await command(
        blockdev=[{"node-name": "n", **NULL}],
        device=[{"driver": "virtio-blk", "id": "blk0", "drive": "n"}],
    )
    vm.machine.start()
    await vm.ask("stop")
    await serve(vm, tmp_path / "nbd.sock")
    await vm.ask("block-export-add", type="nbd", id="e", node_name="n", name="it")

    uri = f"nbd+unix:///it?socket={tmp_path / 'nbd.sock'}"
    found = await client("qemu-io", "-r", "-f", "raw", "-c", "read 0 4k", uri)

    assert "read 4096/4096" in found
