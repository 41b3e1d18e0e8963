# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives by the human monitor."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncemu.monitor.control import Control
from asyncemu.monitor.hmp.session import Session
from tests.monitor.hmp.conftest import Build

MIB = 1 << 20


@pytest.fixture
async def disk(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A machine, in the directory of the test, with a disk "vd" on a node "d0", and a file spare.img."""
    monkeypatch.chdir(tmp_path)
    for name in ("disk.img", "spare.img"):
        (tmp_path / name).write_bytes(bytes(MIB))
    machine = await build(
        blockdev=[{"node-name": "d0", "driver": "file", "filename": "disk.img"}],
        device=[{"driver": "virtio-blk", "drive": "d0", "id": "vd"}],
    )
    return Session(Control(machine))


async def test_drive_add_is_a_node_that_a_device_may_use(disk: Session) -> None:
    assert await disk.run("drive_add 0 if=none,id=more,file=spare.img,format=raw,readonly=on") == "OK\n"

    assert disk.machine.block.nodes["more"].read_only
    assert await disk.run("device_add virtio-blk,drive=more,id=vdb") == ""


async def test_drive_add_without_format_looks_at_the_image(disk: Session) -> None:
    assert (await disk.run("drive_add 0 id=more,file=spare.img")).endswith("OK\n")

    assert disk.machine.block.nodes["more"].driver.name == "raw"


async def test_drive_add_of_a_node_is_blockdev_add(disk: Session) -> None:
    assert await disk.run("drive_add -n 0 driver=null-co,node-name=more,size=1M") == ""

    assert disk.machine.block.nodes["more"].size == MIB


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("if=scsi,id=more,file=spare.img", "Error: Can't hot-add drive to type scsi; use if=none, and device_add\n"),
        ("file=spare.img", "Error: Parameter 'id' is missing\n"),
        ("id=d0,file=spare.img,format=raw", "Error: Duplicate nodes with node-name='d0'\n"),
    ],
)
async def test_drive_add_what_can_not_be_is_said(disk: Session, options: str, message: str) -> None:
    assert await disk.run(f"drive_add 0 {options}") == message


async def test_drive_add_no_such_file_is_said(disk: Session) -> None:
    text = await disk.run("drive_add 0 id=more,file=none.img,format=raw")

    assert text.endswith("none.img': No such file or directory\n")


async def test_drive_add_node_without_a_name_is_refused(disk: Session) -> None:
    text = await disk.run("drive_add -n 0 driver=null-co")

    assert text == "Error: 'node-name' must be specified for the root node\n"


async def test_drive_del_removes_a_drive_that_was_added(disk: Session) -> None:
    await disk.run("drive_add 0 if=none,id=more,driver=null-co,size=1M")

    assert await disk.run("drive_del more") == ""
    assert "more" not in disk.machine.block.nodes


async def test_drive_del_of_a_disk_in_use_is_refused(disk: Session) -> None:
    assert "in use" in await disk.run("drive_del d0")


async def test_drive_del_of_nothing_says_so(disk: Session) -> None:
    assert await disk.run("drive_del zz") == "Device 'zz' not found\n"
