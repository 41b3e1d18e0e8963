# SPDX-License-Identifier: GPL-2.0-or-later
"""Ports of a console, plugged in and out while the guest runs."""

from __future__ import annotations

from typing import Any

import pytest

from asyncemu.events import DeviceDeleted
from asyncemu.virtio.console import VirtioConsole
from tests.monitor.commands.machine.conftest import Commander, Start

TABLES: dict[str, Any] = {
    "iothread": [{"id": "io0"}],
    "chardev": [{"id": id, "backend": "null"} for id in ("c0", "c1", "c2")],
    "device": [
        {
            "driver": "virtio-console",
            "id": "vs0",
            "max-ports": 4,
            "ports": [{"chardev": "c0", "id": "p0", "name": "org.x"}],
        }
    ],
}


@pytest.fixture
async def vm(start: Start) -> Commander:
    vm = await start(**TABLES)
    await vm("cont")
    return vm


def console_of(vm: Commander) -> VirtioConsole:
    console = vm.machine.devices["vs0"]
    assert isinstance(console, VirtioConsole)
    return console


async def test_device_add_port_is_on_the_console(vm: Commander) -> None:
    await vm("device_add", driver="virtserialport", id="p1", chardev="c1", name="org.y", bus="vs0.0")

    port = console_of(vm).ports[2]
    assert (port.id, port.chardev) == ("p1", vm.machine.chardevs["c1"])
    for name, value in (("nr", 2), ("name", "org.y"), ("chardev", "c1"), ("type", "virtserialport")):
        assert await vm("qom-get", path="/machine/peripheral/p1", property=name) == value


async def test_device_add_console_port_with_a_number(vm: Commander) -> None:
    await vm("device_add", driver="virtconsole", id="p1", chardev="c1", nr=3)

    options = console_of(vm).ports[3].options
    assert options is not None
    assert options.console
    assert await vm("qom-get", path="p1", property="type") == "virtconsole"


@pytest.mark.parametrize("id", ["p0", "/machine/peripheral/p0"])
async def test_device_del_port_frees_name_number_and_chardev(vm: Commander, id: str) -> None:
    await vm("device_del", id=id)
    await vm("device_add", driver="virtserialport", id="p0", chardev="c0", name="org.x", nr=1)

    assert vm.occurred[1:] == [DeviceDeleted(device="p0", path="/machine/peripheral/p0")]
    assert console_of(vm).ports[1].id == "p0"


@pytest.mark.parametrize(
    ("arguments", "description"),
    [
        ({"id": "p0"}, "Duplicate device ID 'p0'"),
        ({"id": "vs0"}, "Duplicate device ID 'vs0'"),
        ({"bus": "zz"}, "Bus 'zz' not found"),
        ({"chardev": "zz"}, "Property 'virtserialport.chardev' can't find value 'zz'"),
        ({"chardev": "c0"}, "Property 'virtserialport.chardev' can't take value 'c0': Device 'c0' is in use"),
        ({"nr": 1}, "virtio-serial-bus: A port already exists at id 1"),
        ({"nr": 4}, "virtio-serial-bus: Out-of-range port id specified, max. allowed: 3"),
        ({"nr": "1"}, "Invalid parameter type for 'nr', expected: integer"),
        ({"name": "org.x"}, "virtio-serial-bus: A port already exists by name org.x"),
        ({"zz": 1}, "Property 'virtserialport.zz' not found"),
    ],
)
async def test_device_add_port_that_can_t_be_is_refused(
    vm: Commander, arguments: dict[str, Any], description: str
) -> None:
    said = await vm.refusal("device_add", **{"driver": "virtserialport", **arguments})

    assert said == ("GenericError", description)
    assert list(console_of(vm).ports) == [0, 1]


async def test_device_add_ports_until_it_is_full(vm: Commander) -> None:
    for _ in range(2):
        await vm("device_add", driver="virtserialport")

    assert await vm.refusal("device_add", driver="virtserialport") == (
        "GenericError",
        "virtio-serial-bus: Maximum port limit for this device reached",
    )


async def test_device_add_port_machine_without_console_is_refused(start: Start) -> None:
    vm = await start()

    assert await vm.refusal("device_add", driver="virtserialport") == (
        "GenericError",
        "No 'virtio-serial-bus' bus found for device 'virtserialport'",
    )


async def test_device_add_port_whose_chardev_lives_elsewhere_is_refused(start: Start) -> None:
    console = {"driver": "virtio-console", "id": "vs0", "iothread": "io0", "max-ports": 2}
    vm = await start(**{**TABLES, "device": [console]})

    assert await vm.refusal("device_add", driver="virtserialport", chardev="c1") == (
        "GenericError",
        "chardev 'c1' lives in test, and device 'vs0' does not",
    )
