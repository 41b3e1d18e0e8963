# SPDX-License-Identifier: GPL-2.0-or-later
"""Ctrl-A s, from a chardev to the disks."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from asyncemu.machine import Machine
from asyncemu.memory import Buffers
from asyncemu.testing import until
from asyncemu.testing.memory_chardev import MemoryChardev
from asyncemu.testing.memory_disk import MemoryDisk
from tests.machine.conftest import Make

#: As MemoryDisk lists it.
FLUSH = ("flush", 0, 0)

TABLES: dict[str, Any] = {
    "machine": {"qtest": "unix:q"},
    "chardev": [{"id": "console", "backend": "test-memory", "mux": True}],
    "blockdev": [
        {"node-name": "disk0", "driver": "memory", "size": 4096},
        {"node-name": "disk1", "driver": "memory", "size": 4096},
    ],
}


@pytest.fixture
async def machine(make: Make) -> Machine:
    machine = make(**TABLES)
    await machine.build()
    for node in machine.block.nodes.values():
        await node.pwritev(0, Buffers([memoryview(bytearray(512))]))
    return machine


def disk(machine: Machine, name: str) -> MemoryDisk:
    driver = machine.block.nodes[name].driver
    assert isinstance(driver, MemoryDisk)
    return driver


def press(machine: Machine, keys: bytes) -> MemoryChardev:
    chardev = machine.chardevs["console"]
    assert isinstance(chardev, MemoryChardev)
    chardev.type(keys)
    return chardev


async def test_save_flushes_all_disks_and_says_so(machine: Machine) -> None:
    chardev = press(machine, b"\x01s")

    await until(lambda: all(FLUSH in disk(machine, name).requests for name in ("disk0", "disk1")))
    assert b"what the guest has written is made safe on the disks; overlays are not merged" in chardev.sent


async def test_save_disk_that_fails_is_logged_and_the_next_one_flushed(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    disk(machine, "disk0").errors["flush"] = errno.EIO

    press(machine, b"\x01s")

    await until(lambda: FLUSH in disk(machine, "disk1").requests)
    disk(machine, "disk0").errors.clear()
    assert [record.getMessage() for record in caplog.records] == ["disk0: flush: Input/output error"]
