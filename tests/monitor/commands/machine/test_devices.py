# SPDX-License-Identifier: GPL-2.0-or-later
"""device_add and device_del on the board virt, whose slots take devices until the guest has run."""

from __future__ import annotations

from typing import Any

import pytest

from asyncemu.events import DeviceDeleted
from asyncemu.virtio.mmio_registers import Register
from tests.monitor.commands.machine.conftest import Commander, Start

TABLES: dict[str, Any] = {
    "iothread": [{"id": "io0"}],
    "chardev": [{"id": "c0", "backend": "null"}],
    "blockdev": [{"driver": "null-co", "node-name": name, "size": "1MiB"} for name in ("d0", "d1")],
    "netdev": [{"id": "net0", "type": "user"}],
    "device": [
        {"driver": "virtio-blk", "id": "blk0", "drive": "d0"},
        {"driver": "virtio-rng"},
    ],
}
#: A guest that waits.
WAIT = "1: wfi; j 1b"


@pytest.fixture
async def vm(start: Start) -> Commander:
    return await start(**TABLES)


async def devices(vm: Commander) -> dict[str, str]:
    """The users' devices: types by ids."""
    found = await vm("qom-list", path="/machine/peripheral")
    return {each["name"]: each["type"] for each in found[1:]}


@pytest.mark.parametrize("driver", ["virtio-blk", "virtio-blk-device"])
async def test_device_add_disk_is_in_a_slot(vm: Commander, driver: str) -> None:
    await vm("device_add", driver=driver, id="blk1", drive="d1", iothread="io0", logical_block_size=4096)

    device = vm.machine.devices["blk1"]
    assert vm.machine.board.slots[2].device is device
    assert device.context is vm.machine.iothreads["io0"].aio_context
    assert await vm("qom-get", path="blk1", property="logical-block-size") == 4096
    assert await vm("qom-get", path="blk1", property="hotplugged") is True


async def test_device_add_network_card_is_connected(vm: Commander) -> None:
    await vm("device_add", driver="virtio-net-device", id="nic0", netdev="net0")

    assert vm.machine.net.netdevs["net0"].peer is not None


async def test_device_add_bus_chooses_the_slot(vm: Commander) -> None:
    await vm("device_add", driver="virtio-rng-device", id="rng1", bus="virtio-mmio-bus.6")

    assert vm.machine.board.slots[6].device is vm.machine.devices["rng1"]


async def test_device_add_without_id_is_anonymous(vm: Commander) -> None:
    await vm("device_add", driver="virtio-rng-device")

    assert await vm("qom-get", path="/machine/peripheral-anon/device[1]", property="type") == "virtio-rng-device"


async def test_device_add_and_del_are_what_the_guest_finds_in_the_slot(vm: Commander, as_vcpu_thread: None) -> None:
    slot = vm.machine.board.slots[2]
    await vm("device_add", driver="virtio-rng", id="rng1")
    there = slot.mmio_read(Register.DEVICE_ID, 4)
    await vm("device_del", id="rng1")

    assert (there, slot.mmio_read(Register.DEVICE_ID, 4)) == (4, 0)


async def test_device_del_frees_slot_name_and_disk(vm: Commander) -> None:
    for _ in range(2):
        await vm("device_add", driver="virtio-blk", id="blk1", drive="d1")
        await vm("device_del", id="blk1")
    await vm("blockdev-del", node_name="d1")

    assert vm.machine.board.slots[2].device is None
    assert vm.occurred == [DeviceDeleted(device="blk1", path="/machine/peripheral/blk1")] * 2
    assert await devices(vm) == {"blk0": "child<virtio-blk-device>"}


async def test_device_del_by_path_takes_anonymous_ones_too(vm: Commander) -> None:
    await vm("device_del", id="/machine/peripheral-anon/device[0]")

    assert vm.occurred == [DeviceDeleted(path="/machine/peripheral-anon/device[0]")]


async def test_device_del_device_of_vm_toml_and_the_machine_closes(vm: Commander) -> None:
    await vm("device_del", id="blk0")
    await vm("cont")

    await vm.machine.close()

    assert list(vm.machine.devices) == ["virtio-rng1"]


async def test_guest_has_run_nothing_comes_or_goes_even_after_a_reset(start: Start) -> None:
    vm = await start(WAIT, **TABLES)
    await vm("stop")
    await vm("system_reset")

    refusals = [
        await vm.refusal("device_add", driver="virtio-rng", id="rng1"),
        await vm.refusal("device_del", id="blk0"),
    ]

    assert refusals == [
        ("GenericError", "Bus 'virtio-mmio-bus.2' does not support hotplugging"),
        ("GenericError", "Bus 'virtio-mmio-bus.0' does not support hotplugging"),
    ]
    assert await devices(vm) == {"blk0": "child<virtio-blk-device>"}


@pytest.mark.parametrize(
    ("arguments", "description"),
    [
        ({"driver": "nope"}, "'nope' is not a valid device model name"),
        ({"driver": "iothread"}, "'iothread' is not a valid device model name"),
        ({"driver": "virtio-device"}, "Parameter 'driver' expects a non-abstract device type"),
        ({}, "Parameter 'driver' is missing"),
        ({"driver": "virtio-blk"}, "Parameter 'drive' is missing"),
        ({"driver": "virtio-blk", "drive": "zz"}, "Property 'virtio-blk-device.drive' can't find value 'zz'"),
        ({"driver": "virtio-rng", "id": "blk0"}, "Duplicate device ID 'blk0'"),
        ({"driver": "virtio-rng", "id": "net0"}, "Duplicate device ID 'net0'"),
        ({"driver": "virtio-rng", "id": "1x"}, "Parameter 'id' expects an identifier"),
        ({"driver": "virtio-rng", "zzz": 1}, "Property 'virtio-rng-device.zzz' not found"),
        ({"driver": "virtio-rng", "bus": "zz"}, "Bus 'zz' not found"),
        ({"driver": "virtio-rng", "bus": "virtio-mmio-bus.0"}, "Bus 'virtio-mmio-bus.0' is full"),
        ({"driver": "goldfish-rtc"}, "Bus 'main-system-bus' does not support hotplugging"),
        ({"driver": "virtio-blk", "drive": "d1", "serial": 1}, "Invalid parameter type for 'serial', expected: string"),
        (
            {"driver": "virtio-net", "netdev": "net0", "iothread": "io0"},
            "netdev 'net0' lives in test, and the device would not",
        ),
    ],
)
async def test_device_add_what_can_t_be_is_refused_and_leaves_nothing(
    vm: Commander, arguments: dict[str, Any], description: str
) -> None:
    said = await vm.refusal("device_add", **arguments)

    assert said == ("GenericError", description)
    assert [slot.device is None for slot in vm.machine.board.slots] == [False] * 2 + [True] * 6


async def test_device_add_disk_in_use_is_refused_and_leaves_nothing(vm: Commander) -> None:
    await vm.refusal("device_add", driver="virtio-blk", id="blk1", drive="d0")

    assert await devices(vm) == {"blk0": "child<virtio-blk-device>"}
    assert vm.machine.board.slots[2].device is None


async def test_device_add_board_that_is_full_is_refused(vm: Commander) -> None:
    for _ in range(6):
        await vm("device_add", driver="virtio-rng")

    assert await vm.refusal("device_add", driver="virtio-rng") == (
        "GenericError",
        "No 'virtio-bus' bus found for device 'virtio-rng-device'",
    )


@pytest.mark.parametrize(
    ("id", "error"),
    [
        ("nope", ("DeviceNotFound", "Device 'nope' not found")),
        ("virtio-rng1", ("DeviceNotFound", "Device 'virtio-rng1' not found")),
        ("/machine/nope", ("DeviceNotFound", "Device '/machine/nope' not found")),
        ("/machine/unattached", ("GenericError", "/machine/unattached is not a hotpluggable device")),
    ],
)
async def test_device_del_what_is_no_device_is_refused(vm: Commander, id: str, error: tuple[str, str]) -> None:
    assert await vm.refusal("device_del", id=id) == error
