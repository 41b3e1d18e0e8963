# SPDX-License-Identifier: GPL-2.0-or-later
"""transaction: all of its actions or none, at one moment; and QEMU's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.monitor.commands.storage.conftest import Command
from tests.monitor.commands.storage.qemu import ask_qemu, needs_qemu, qemu_img

pytestmark = needs_qemu


def node(image: Path, name: str, **more: Any) -> dict[str, Any]:
    return {"driver": "qcow2", "node-name": name, "file": {"driver": "file", "filename": str(image)}, **more}


def action(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "data": {key.replace("_", "-"): value for key, value in data.items()}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "over"):
        qemu_img("create", "-q", "-f", "qcow2", str(tmp_path / f"{name}.qcow2"), "1M")
    return tmp_path


def tables(folder: Path) -> dict[str, Any]:
    return {
        "blockdev": [
            node(folder / "a.qcow2", "a"),
            node(folder / "b.qcow2", "b"),
            node(folder / "over.qcow2", "over", backing=None),
        ],
        "device": [{"driver": "virtio-blk", "id": f"blk-{name}", "drive": name} for name in ("a", "b")],
    }


def whole(folder: Path) -> list[dict[str, Any]]:
    return [
        action("blockdev-snapshot", node="a", overlay="over"),
        action("blockdev-snapshot-internal-sync", device="b", name="s"),
        action(
            "blockdev-snapshot-sync",
            node_name="b",
            snapshot_file=str(folder / "top.qcow2"),
            snapshot_node_name="top",
        ),
    ]


async def test_all_of_them_are_done(command: Command, folder: Path) -> None:
    vm = await command(**tables(folder))

    await vm.ask("transaction", actions=whole(folder))

    drives = {each["qdev"]: each["inserted"]["node-name"] for each in await vm.ask("query-block")}
    nodes = {each["node-name"]: each for each in await vm.ask("query-named-block-nodes")}
    assert drives == {"blk-a": "over", "blk-b": "top"}
    assert [each["name"] for each in nodes["b"]["image"]["snapshots"]] == ["s"]


async def test_none_is_done_when_the_last_one_fails(command: Command, folder: Path) -> None:
    vm = await command(**tables(folder))

    error = await vm.error("transaction", actions=[*whole(folder), action("abort")])

    drives = {each["qdev"]: each["inserted"]["node-name"] for each in await vm.ask("query-block")}
    nodes = {each["node-name"]: each for each in await vm.ask("query-named-block-nodes")}
    assert error == ("GenericError", "Transaction aborted using Abort action")
    assert drives == {"blk-a": "a", "blk-b": "b"}
    assert "snapshots" not in nodes["b"]["image"]
    assert "top" not in nodes
    assert nodes["over"]["backing_file_depth"] == 0
    # And it can be done after all.
    await vm.ask("transaction", actions=whole(folder))


async def test_machine_that_stands_still_is_no_obstacle(command: Command, folder: Path) -> None:
    vm = await command(**tables(folder))
    vm.machine.start()
    await vm.ask("stop")

    await vm.ask("transaction", actions=whole(folder))

    assert len(await vm.ask("query-block")) == 2


async def test_answers_are_qemus(command: Command, folder: Path) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("transaction", {"actions": []}),
        ("transaction", {"actions": [action("abort")]}),
        ("transaction", {"actions": [action("bogus")]}),
        ("transaction", {"actions": [{"type": "abort"}]}),
        ("transaction", {"actions": [{"data": {}}]}),
        ("transaction", {"actions": [5]}),
        ("transaction", {"actions": {}}),
        ("transaction", {}),
        ("transaction", {"actions": [action("blockdev-snapshot", node="zz", overlay="over")]}),
        ("transaction", {"actions": [action("blockdev-snapshot", node="a")]}),
        (
            "transaction",
            {
                "actions": [action("blockdev-snapshot", node="a", overlay="over")],
                "properties": {"completion-mode": "grouped"},
            },
        ),
        (
            "transaction",
            {"actions": [action("blockdev-snapshot-internal-sync", device="a", name="s"), action("abort")]},
        ),
        ("blockdev-snapshot-delete-internal-sync", {"device": "a", "name": "s"}),
        ("transaction", {"actions": [action("blockdev-snapshot", node="a", overlay="over"), action("abort")]}),
        ("transaction", {"actions": [action("blockdev-snapshot", node="a", overlay="over")]}),
    ]
    line: list[str] = []
    for name in ("a", "b", "over"):
        file = f"file.driver=file,file.filename={folder / name}.qcow2"
        line += ["-blockdev", f"driver=qcow2,node-name={name},{file}"]
    theirs = await ask_qemu(asked, *line, "-device", "virtio-blk-device,drive=a,id=blk-a")
    vm = await command(**tables(folder))

    ours = await vm.replies(asked)

    assert list(zip(asked, ours, strict=True)) == list(zip(asked, theirs, strict=True))
