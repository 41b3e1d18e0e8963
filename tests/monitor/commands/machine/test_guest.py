# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel sees ports come and go, and its memory is what we save and dump."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncemu import Machine
from asyncemu.events import DeviceDeleted
from asyncemu.virtio.console import VserportChange
from guests import fetch

pytestmark = [pytest.mark.guest, pytest.mark.slow]


@pytest.fixture
async def vm(tmp_path: Path) -> AsyncIterator[Machine]:
    """A machine at its shell's prompt, with a console that takes ports."""
    files = fetch.ensure()
    disk = tmp_path / "disk.img"
    shutil.copyfile(files.disk, disk)
    tables = {
        "machine": {
            "memory": "128MiB",
            "kernel": str(files.image),
            "initrd": str(files.initrd),
            "append": "console=ttyS0 session=shell modules=console",
        },
        "blockdev": [{"node-name": "disk0", "driver": "file", "filename": str(disk)}],
        "device": [
            {"driver": "virtio-blk", "drive": "disk0"},
            {"driver": "virtio-console", "id": "vs0", "max-ports": 4},
        ],
    }
    async with Machine(tables) as vm:
        yield vm


async def test_port_plugged_in_while_linux_runs_carries_bytes_and_goes_again(vm: Machine) -> None:
    await vm.qmp("chardev-add", id="ring", backend={"type": "ringbuf", "data": {"size": 64}})
    events = vm.events(VserportChange, DeviceDeleted)
    before = await vm.run("ls /sys/class/virtio-ports")
    await vm.qmp("device_add", driver="virtserialport", id="p1", chardev="ring", name="org.x", nr=2)
    wrote = await vm.run("until [ -c /dev/vport*p2 ]; do sleep 0.01; done; cat /sys/class/virtio-ports/vport*p2/name")
    await vm.run("for port in /dev/vport*p2; do echo hello >$port; done")
    got = await vm.qmp("ringbuf-read", device="ring", size=64)
    await vm.qmp("device_del", id="p1")
    await vm.run("while [ -c /dev/vport*p2 ]; do sleep 0.01; done")

    assert "p2" not in before.output
    assert wrote.output == "org.x"
    assert got == "hello\n"
    told = [await anext(events) for _ in range(3)]
    assert told == [
        VserportChange(id="p1", open=True),
        VserportChange(id="p1", open=False),
        DeviceDeleted(device="p1", path="/machine/peripheral/p1"),
    ]


async def test_memory_of_linux_by_its_own_addresses_and_in_a_core(vm: Machine, tmp_path: Path) -> None:
    found = await vm.run("grep ' linux_banner$' /proc/kallsyms")
    address = int(found.output.split()[0], 16)
    await vm.qmp("stop")
    await vm.qmp("memsave", val=address - (1 << 64), size=14, filename=str(tmp_path / "banner"))
    await vm.qmp("dump-guest-memory", paging=False, protocol=f"file:{tmp_path}/core")

    assert (tmp_path / "banner").read_bytes() == b"Linux version "
    assert b"Linux version " in (tmp_path / "core").read_bytes()
    said = subprocess.run(
        ["riscv64-linux-gnu-readelf", "-nW", tmp_path / "core"], capture_output=True, text=True, timeout=60
    )
    assert "NT_PRSTATUS" in said.stdout
