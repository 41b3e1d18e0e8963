# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks and the NBD server by the human monitor."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from asyncemu.monitor.control import Control
from asyncemu.monitor.hmp.session import Session
from tests.monitor.hmp.conftest import Build

MIB = 1 << 20


@pytest.fixture
async def disk(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A machine, in the directory of the test, with a disk "vd" on a node "d0", and a node "spare" that nobody uses."""
    monkeypatch.chdir(tmp_path)
    for name in ("disk.img", "spare.img"):
        (tmp_path / name).write_bytes(bytes(MIB))
    machine = await build(
        blockdev=[
            {"node-name": "d0", "driver": "file", "filename": "disk.img"},
            {"node-name": "spare", "driver": "file", "filename": "spare.img", "read-only": True},
        ],
        device=[{"driver": "virtio-blk", "drive": "d0", "id": "vd"}],
    )
    return Session(Control(machine))


@pytest.mark.parametrize("name", ["d0", "vd"])
async def test_block_resize_by_node_or_device(disk: Session, tmp_path: Path, name: str) -> None:
    assert await disk.run(f"block_resize {name} 2") == ""
    assert (tmp_path / "disk.img").stat().st_size == 2 * MIB


async def test_block_set_io_throttle_is_shown_by_info_block(disk: Session) -> None:
    assert await disk.run("block_set_io_throttle vd 1000000 0 0 0 0 0") == ""

    text = await disk.run("info block vd")

    assert "    I/O throttling:   bps=1000000 bps_rd=0 bps_wr=0 bps_max=0 bps_rd_max=0 bps_wr_max=0 iops=0 " in text
    assert text.endswith(" group=vd\n")


async def test_info_block_shows_a_read_only_node(disk: Session, tmp_path: Path) -> None:
    assert (await disk.run("info block spare")).startswith(f"spare: {tmp_path}/spare.img (file, read-only)\n")


async def test_info_block_of_all_nodes_puts_lines_between(disk: Session) -> None:
    assert (await disk.run("info block -n")).count("\n\n") == 1


async def test_info_block_shows_the_backing_file(build: Build, tmp_path: Path) -> None:
    for arguments in (["-f", "raw", "base.img"], ["-f", "qcow2", "-b", "base.img", "-F", "raw", "top.qcow2"]):
        program = await asyncio.create_subprocess_exec("qemu-img", "create", "-q", *arguments, "1M", cwd=tmp_path)
        assert await program.wait() == 0
    file = {"driver": "file", "filename": "top.qcow2"}
    session = Session(Control(await build(blockdev=[{"node-name": "top", "driver": "qcow2", "file": file}])))

    text = await session.run("info block -v top")

    assert f"    Backing file:     {tmp_path}/base.img (chain depth: 1)\n" in text
    assert text.count("virtual size: 1 MiB (1048576 bytes)") == 2


async def test_snapshot_blkdev_puts_an_image_over_the_disk(disk: Session, tmp_path: Path) -> None:
    assert await disk.run(f"snapshot_blkdev vd {tmp_path}/over.qcow2") == ""
    assert f"{tmp_path}/over.qcow2 (qcow2)\n" in await disk.run("info block vd")


async def test_snapshot_blkdev_takes_an_image_that_is_there(disk: Session, tmp_path: Path) -> None:
    arguments = ["-f", "qcow2", "-b", "disk.img", "-F", "raw", "over.qcow2"]
    program = await asyncio.create_subprocess_exec("qemu-img", "create", "-q", *arguments, cwd=tmp_path)
    assert await program.wait() == 0
    before = (tmp_path / "over.qcow2").stat().st_mtime_ns

    assert await disk.run(f"snapshot_blkdev -n vd {tmp_path}/over.qcow2") == ""
    assert (tmp_path / "over.qcow2").stat().st_mtime_ns == before


async def test_snapshot_inside_of_an_image_comes_and_goes(build: Build, tmp_path: Path) -> None:
    arguments = ["-f", "qcow2", "disk.qcow2", "1M"]
    program = await asyncio.create_subprocess_exec("qemu-img", "create", "-q", *arguments, cwd=tmp_path)
    assert await program.wait() == 0
    blockdev = {"node-name": "d0", "driver": "qcow2", "file": {"driver": "file", "filename": "disk.qcow2"}}
    machine = await build(blockdev=[blockdev], device=[{"driver": "virtio-blk", "drive": "d0"}])
    session = Session(Control(machine))

    taken = await session.run("snapshot_blkdev_internal d0 now")
    listed = await session.run("info snapshots")
    deleted = await session.run("snapshot_delete_blkdev_internal d0 now")

    assert (taken, deleted) == ("", "")
    assert listed.splitlines()[-1].split()[:2] == ["--", "now"]
    assert await session.run("info snapshots") == "There is no snapshot available.\n"


async def test_info_blockstats_counts(disk: Session) -> None:
    assert (await disk.run("info blockstats")).startswith("vd: rd_bytes=0 wr_bytes=0 rd_operations=0 ")


async def test_info_snapshots_without_a_disk_that_has_any(disk: Session) -> None:
    assert await disk.run("info snapshots") == "no block device can store vmstate for snapshot\n"


async def test_info_snapshots_says_which_not_all_disks_have(build: Build, tmp_path: Path) -> None:
    blockdevs, devices = [], []
    for name, snapshots in (("a", ("both", "one")), ("b", ("both",))):
        commands = [["create", "-q", "-f", "qcow2", f"{name}.qcow2", "1M"]]
        commands += [["snapshot", "-c", snapshot, f"{name}.qcow2"] for snapshot in snapshots]
        for command in commands:
            program = await asyncio.create_subprocess_exec("qemu-img", *command, cwd=tmp_path)
            assert await program.wait() == 0
        file = {"driver": "file", "filename": f"{name}.qcow2"}
        blockdevs.append({"node-name": name, "driver": "qcow2", "file": file})
        devices.append({"driver": "virtio-blk", "drive": name})
    session = Session(Control(await build(blockdev=blockdevs, device=devices)))

    lines = (await session.run("info snapshots")).splitlines()

    assert [line.split()[:2] for line in lines if line[:2] in ("--", "1 ", "2 ")] == [["--", "both"], ["2", "one"]]
    assert "List of partial (non-loadable) snapshots on 'a':" in lines


async def test_nbd_server_start_all_exports_all(disk: Session, tmp_path: Path) -> None:
    assert await disk.run("nbd_server_start -a unix:nbd.sock") == ""

    program = await asyncio.create_subprocess_exec(
        "qemu-img", "info", f"nbd+unix:///vd?socket={tmp_path}/nbd.sock", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await program.communicate()

    assert b"virtual size: 1 MiB" in output
    assert await disk.run("nbd_server_stop") == ""


async def test_nbd_server_start_all_writable_fails_and_leaves_no_server(disk: Session, tmp_path: Path) -> None:
    assert (await disk.run("nbd_server_start -a -w unix:nbd.sock")).startswith("Error: ")
    assert await disk.run("nbd_server_stop") == "Error: NBD server not running\n"


async def test_nbd_server_add_and_remove_one(disk: Session) -> None:
    lines = ["nbd_server_start 127.0.0.1:0", "nbd_server_add d0 x", "nbd_server_remove -f x", "nbd_server_remove x"]

    assert [await disk.run(line) for line in lines] == ["", "", "", "Error: Export 'x' is not found\n"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("-w 127.0.0.1:0", "Error: -w only valid together with -a\n"),
        ("unix:", "Error: invalid Unix socket address\n"),
        ("nowhere", "Error: error parsing address 'nowhere'\n"),
    ],
)
async def test_nbd_server_start_wrong_is_refused(disk: Session, address: str, message: str) -> None:
    assert await disk.run(f"nbd_server_start {address}") == message
