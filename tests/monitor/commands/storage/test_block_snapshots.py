# SPDX-License-Identifier: GPL-2.0-or-later
"""blockdev-snapshot and its relatives: under writes, as QEMU's tools read what is left, and in QEMU's words."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block.backend import BlockBackend
from asyncemu.block.chain import chain
from asyncemu.block.flags import PERM_CONSISTENT_READ, PERM_WRITE
from tests.monitor.commands.storage.conftest import Command
from tests.monitor.commands.storage.qemu import ask_qemu, needs_qemu, qemu_img

pytestmark = needs_qemu

#: Bytes.
SIZE = 1 << 20
BLOCK = 4096
BLK = {"driver": "virtio-blk", "id": "blk0", "drive": "disk0"}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", str(path), str(SIZE))
    return path


def node(image: Path, name: str = "disk0", **more: Any) -> dict[str, Any]:
    return {"driver": "qcow2", "node-name": name, "file": {"driver": "file", "filename": str(image)}, **more}


class Writer:
    """A user of a node that numbers its blocks, all the time."""

    def __init__(self, backend: BlockBackend) -> None:
        self.backend = backend
        self.written = 0
        self._stopped = False
        self._task = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while not self._stopped:
            offset = self.written * BLOCK % SIZE
            self.written += 1
            await self.backend.pwrite(offset, self.written.to_bytes(8, "big") * (BLOCK // 8))
            # What is in the page cache is written in place: others want their turn.
            await asyncio.sleep(0)

    async def reach(self, count: int) -> None:
        while self.written < count:
            await asyncio.sleep(0)

    async def stop(self) -> None:
        self._stopped = True
        await self._task

    async def is_whole(self) -> bool:
        """Does the disk hold the last number of each block?"""
        for number in range(max(1, self.written - SIZE // BLOCK + 1), self.written + 1):
            found = await self.backend.pread((number - 1) * BLOCK % SIZE, BLOCK)
            if bytes(found) != number.to_bytes(8, "big") * (BLOCK // 8):
                return False
        return True


async def test_snapshots_of_all_kinds_under_writes_lose_none(command: Command, image: Path, tmp_path: Path) -> None:
    qemu_img("create", "-q", "-f", "qcow2", str(tmp_path / "over.qcow2"), str(SIZE))
    vm = await command(blockdev=[node(image)])
    disk = vm.machine.block.nodes["disk0"]
    backend = BlockBackend("writer", disk.context, PERM_CONSISTENT_READ | PERM_WRITE)
    await backend.insert(disk)
    writer = Writer(backend)

    await writer.reach(20)
    await vm.ask("blockdev-snapshot-internal-sync", device="disk0", name="before")
    await writer.reach(30)
    await vm.ask("blockdev-snapshot-delete-internal-sync", device="disk0", name="before")
    await writer.reach(40)
    await vm.reply("blockdev-add", node(tmp_path / "over.qcow2", "over", backing=None))
    await vm.ask("blockdev-snapshot", node="disk0", overlay="over")
    lower = writer.written
    await writer.reach(300)
    await vm.ask(
        "blockdev-snapshot-sync",
        node_name="over",
        snapshot_file=str(tmp_path / "top.qcow2"),
        snapshot_node_name="top",
    )
    await writer.reach(400)
    await writer.stop()

    whole = await writer.is_whole()
    names = [each.name for each in chain(backend.node)]
    await backend.remove()
    await vm.machine.close()
    top = json.loads(qemu_img("info", "--output=json", str(tmp_path / "top.qcow2")))
    assert whole
    assert names == ["top", "over", "disk0"]
    assert lower < writer.written
    assert top["backing-filename-format"] == "qcow2"
    for each in (image, tmp_path / "over.qcow2", tmp_path / "top.qcow2"):
        assert qemu_img("check", str(each)).startswith("No errors")


async def test_new_overlay_reads_as_the_disk_does_for_qemu(command: Command, image: Path, tmp_path: Path) -> None:
    vm = await command(blockdev=[node(image)])
    disk = vm.machine.block.nodes["disk0"]
    backend = BlockBackend("writer", disk.context, PERM_CONSISTENT_READ | PERM_WRITE)
    await backend.insert(disk)
    await backend.pwrite(0, b"a" * BLOCK)
    await vm.ask("blockdev-snapshot-sync", node_name="disk0", snapshot_file="top.qcow2", snapshot_node_name="top")
    await backend.pwrite(BLOCK, b"b" * BLOCK)
    await backend.remove()
    await vm.machine.close()

    qemu_img("convert", "-f", "qcow2", "-O", "raw", str(tmp_path / "top.qcow2"), str(tmp_path / "top.raw"))

    assert (tmp_path / "top.raw").read_bytes() == (b"a" * BLOCK + b"b" * BLOCK).ljust(SIZE, b"\0")


async def test_snapshot_that_permissions_forbid_leaves_all_as_it_was(
    command: Command, image: Path, tmp_path: Path
) -> None:
    qemu_img("create", "-q", "-f", "qcow2", str(tmp_path / "over.qcow2"), str(SIZE))
    vm = await command(
        blockdev=[node(image), node(tmp_path / "over.qcow2", "over", backing=None, **{"read-only": True})],
        device=[BLK],
    )

    error_class, _ = await vm.error("blockdev-snapshot", node="disk0", overlay="over")

    assert error_class == "GenericError"
    assert vm.machine.block.nodes["disk0"].parents[0].parent.name == "blk0"  # type: ignore[attr-defined]
    assert vm.machine.block.nodes["over"].backing is None


async def test_chain_does_not_grow_for_ever(command: Command, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncemu.block.control.overlays.MAX_CHAIN", 2)
    vm = await command(blockdev=[node(image)], device=[BLK])
    await vm.ask("blockdev-snapshot-sync", node_name="disk0", snapshot_file="a.qcow2", snapshot_node_name="a")

    found = await vm.error("blockdev-snapshot-sync", node_name="a", snapshot_file="b", snapshot_node_name="b")

    assert found == ("GenericError", "More than 2 images are above each other")


def same_answers(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    def sync(**members: Any) -> tuple[str, dict[str, Any]]:
        table = {key.replace("_", "-"): value for key, value in members.items()}
        return "blockdev-snapshot-sync", {"snapshot-file": str(folder / "c.qcow2"), **table}

    def internal(device: str, name: str) -> tuple[str, dict[str, Any]]:
        return "blockdev-snapshot-internal-sync", {"device": device, "name": name}

    def delete(**members: Any) -> tuple[str, dict[str, Any]]:
        return "blockdev-snapshot-delete-internal-sync", members

    def change(device: str, image: str, name: str = "x.qcow2") -> tuple[str, dict[str, Any]]:
        return "change-backing-file", {"device": device, "image-node-name": image, "backing-file": name}

    return [
        ("blockdev-add", node(folder / "over.qcow2", "over", backing=None)),
        ("blockdev-snapshot", {"node": "zz", "overlay": "over"}),
        ("blockdev-snapshot", {"node": "disk0", "overlay": "zz"}),
        ("blockdev-snapshot", {"node": "disk0", "overlay": "disk0"}),
        ("blockdev-snapshot", {"node": "disk0"}),
        ("blockdev-snapshot", {"node": "disk0", "overlay": "over"}),
        ("blockdev-snapshot", {"node": "disk0", "overlay": "over"}),
        ("blockdev-add", {"driver": "null-co", "node-name": "nn"}),
        ("blockdev-snapshot", {"node": "over", "overlay": "nn"}),
        sync(node_name="over"),
        sync(node_name="over", snapshot_node_name="c"),
        sync(device="zz"),
        sync(node_name="c", snapshot_node_name="c"),
        sync(node_name="c", snapshot_node_name="d", format="bogus"),
        sync(node_name="c", snapshot_node_name="d", format="raw"),
        sync(node_name="c", snapshot_node_name="d", mode="bogus"),
        sync(node_name="c", snapshot_node_name="d", mode="existing", snapshot_file=str(folder / "nothing")),
        sync(node_name="c", snapshot_node_name="d", snapshot_file="/nonexistent/x"),
        sync(snapshot_node_name="d"),
        internal("c", "s1"),
        internal("c", "s1"),
        internal("c", ""),
        internal("zz", "s"),
        internal("nn", "s"),
        delete(device="c", name="zz"),
        delete(device="c", id="7"),
        delete(device="c", id="1", name="zz"),
        delete(device="c"),
        delete(device="zz", name="s1"),
        change("c", "zz"),
        change("zz", "c"),
        change("c", "nn"),
        change("c", "disk0"),
        change("disk0", "c"),
        change("c", "c"),
    ]


async def test_answers_are_qemus(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    asked = same_answers(folder)
    found = []
    for program in ("qemu", "ours"):
        folder.mkdir()
        for name in ("disk", "over"):
            qemu_img("create", "-q", "-f", "qcow2", str(folder / f"{name}.qcow2"), str(SIZE))
        if program == "qemu":
            file = f"driver=file,filename={folder / 'disk.qcow2'}".replace("driver", "file.driver")
            blockdev = f"driver=qcow2,node-name=disk0,{file.replace('filename', 'file.filename')}"
            device = "virtio-blk-device,id=blk0,drive=disk0"
            found.append(await ask_qemu(asked, "-blockdev", blockdev, "-device", device))
        else:
            vm = await command(blockdev=[node(folder / "disk.qcow2")], device=[BLK])
            found.append(await vm.replies(asked))
        folder.rename(tmp_path / program)

    theirs, ours = found
    assert list(zip(asked, ours, strict=True)) == list(zip(asked, theirs, strict=True))
    info = json.loads(qemu_img("info", "-U", "--output=json", str(tmp_path / "ours" / "c.qcow2")))
    assert (info["backing-filename"], info["backing-filename-format"]) == ("x.qcow2", "qcow2")
