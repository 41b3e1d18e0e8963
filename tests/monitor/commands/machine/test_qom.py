# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of objects."""

from __future__ import annotations

from typing import Any

import pytest

from tests.monitor.commands.machine.conftest import Commander, Start

TABLES: dict[str, Any] = {
    "iothread": [{"id": "io0"}],
    "throttle-group": [{"id": "group0", "limits": {"iops-total": 100}}],
    "chardev": [{"id": "c0", "backend": "null"}],
    "blockdev": [{"driver": "null-co", "node-name": "d0", "size": "1MiB"}],
    "netdev": [{"id": "net0", "type": "user"}],
    "netfilter": [{"id": "filter0", "type": "filter-buffer", "netdev": "net0", "interval": 1000}],
    "device": [
        {"driver": "virtio-blk", "id": "blk0", "drive": "d0", "iothread": "io0"},
        {"driver": "virtio-rng"},
        {"driver": "virtio-net", "id": "nic0", "netdev": "net0"},
    ],
}


@pytest.fixture
async def vm(start: Start) -> Commander:
    return await start(**TABLES)


async def names(vm: Commander, path: str) -> dict[str, str]:
    """What qom-list tells: types by names."""
    return {each["name"]: each["type"] for each in await vm("qom-list", path=path)}


async def test_qom_list_root_has_qemus_places(vm: Commander) -> None:
    assert await names(vm, "/") == {
        "type": "string",
        "machine": "child<virt-machine>",
        "objects": "child<container>",
        "chardevs": "child<container>",
        "backend": "child<container>",
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/machine/peripheral", {"blk0": "child<virtio-blk-device>", "nic0": "child<virtio-net-device>"}),
        ("/machine/peripheral-anon", {"device[0]": "child<virtio-rng-device>"}),
        ("/machine/soc0", {"harts[0]": "child<rv64-riscv-cpu>"}),
        (
            "/objects",
            {"io0": "child<iothread>", "group0": "child<throttle-group>", "filter0": "child<filter-buffer>"},
        ),
        ("/chardevs", {"c0": "child<chardev-null>"}),
        ("/backend", {}),
    ],
)
async def test_qom_list_place_has_its_objects(vm: Commander, path: str, expected: dict[str, str]) -> None:
    found = await names(vm, path)
    del found["type"]

    assert found == expected


async def test_qom_list_unattached_has_the_boards_own_devices(vm: Commander) -> None:
    assert (await names(vm, "/machine/unattached")).items() >= {
        "rtc": "child<goldfish_rtc>",
        "serial0": "child<serial-mm>",
        "test": "child<riscv.sifive.test>",
        "virtio-mmio[7]": "child<virtio-mmio>",
    }.items()


async def test_qom_list_iothread_has_qemus_properties(vm: Commander) -> None:
    assert await names(vm, "/objects/io0") == {
        "type": "string",
        "poll-max-ns": "int",
        "poll-grow": "int",
        "poll-shrink": "int",
        "aio-max-batch": "int",
        "thread-pool-min": "int",
        "thread-pool-max": "int",
    }


async def test_qom_list_device_by_the_end_of_its_path(vm: Commander) -> None:
    assert await names(vm, "blk0") == await names(vm, "/machine/peripheral/blk0")


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("/objects/io0", "poll-max-ns", 32768),
        ("/objects/io0", "type", "iothread"),
        ("io0", "type", "iothread"),
        ("/machine", "type", "virt-machine"),
        ("/machine", "kernel", ""),
        ("/machine", "memory", {"size": 16 << 20}),
        ("/machine", "peripheral", "/machine/peripheral"),
        ("/", "machine", "/machine"),
        ("/machine/peripheral/blk0", "drive", "d0"),
        ("/machine/peripheral/blk0", "iothread", "/objects/io0"),
        ("/machine/peripheral/blk0", "logical_block_size", 512),
        ("/machine/peripheral/blk0", "realized", True),
        ("/machine/peripheral/blk0", "hotplugged", False),
        ("/machine/peripheral/blk0", "parent_bus", "/machine/unattached/virtio-mmio[0]/virtio-mmio-bus.0"),
        ("/machine/unattached/virtio-mmio[0]/virtio-mmio-bus.0", "type", "virtio-mmio-bus"),
        ("/machine/peripheral/nic0", "netdev", "net0"),
        ("/objects/filter0", "status", "on"),
        ("/chardevs/c0", "addr", "null"),
    ],
)
async def test_qom_get_property_is_its_value(vm: Commander, path: str, name: str, value: Any) -> None:
    assert await vm("qom-get", path=path, property=name) == value


async def test_qom_set_iothread_changes_it_while_it_runs(vm: Commander) -> None:
    await vm("qom-set", path="/objects/io0", property="poll-max-ns", value=5)

    (iothread,) = await vm("query-iothreads")
    assert iothread["poll-max-ns"] == 5
    assert vm.machine.iothreads["io0"].parameters.poll_max_ns == 5


async def test_qom_set_filter_status_switches_it(vm: Commander) -> None:
    await vm("qom-set", path="/objects/filter0", property="status", value="off")

    assert not vm.machine.net.filters["filter0"].enabled
    assert await vm("qom-get", path="/objects/filter0", property="status") == "off"


async def test_qom_set_throttle_group_has_other_limits(vm: Commander) -> None:
    await vm("qom-set", path="/objects/group0", property="limits", value={"iops-total": 7})

    limits = await vm("qom-get", path="/objects/group0", property="limits")
    assert limits["iops-total"] == 7


@pytest.mark.parametrize(
    ("path", "name", "value", "description"),
    [
        ("/objects/io0", "nope", 1, "Property 'iothread.nope' not found"),
        ("/objects/io0", "type", "x", "Property 'iothread.type' is not writable"),
        ("/objects/io0", "poll-max-ns", -5, "poll-max-ns value must be in range [0, 1000000000]"),
        ("/objects/io0", "poll-max-ns", "x", "Invalid parameter type for 'poll-max-ns', expected: integer"),
        ("/objects/io0", "poll-max-ns", True, "Invalid parameter type for 'poll-max-ns', expected: integer"),
        ("/objects/io0", "thread-pool-min", 100, "bad thread-pool-min/thread-pool-max values"),
        ("/objects/filter0", "status", 1, "Invalid parameter type for 'status', expected: string"),
        ("/objects/filter0", "status", "x", "Invalid value for netfilter status, should be 'on' or 'off'"),
        ("/objects/filter0", "interval", 1, "Property 'filter-buffer.interval' is not writable"),
        ("/objects/group0", "limits", 1, "Invalid parameter type for 'limits', expected: object"),
        ("/objects/group0", "limits", {"zz": 1}, "Parameter 'limits.zz' is unexpected"),
        ("/machine", "kernel", "x", "Property 'virt-machine.kernel' is not writable"),
        ("/machine", "peripheral", "x", "Property 'virt-machine.peripheral' is not writable"),
        ("/machine/peripheral/blk0", "realized", False, "Property 'virtio-blk-device.realized' is not writable"),
        (
            "/machine/peripheral/blk0",
            "serial",
            "x",
            "Attempt to set property 'serial' on device 'blk0' (type 'virtio-blk-device') after it was realized",
        ),
        (
            "/machine/peripheral-anon/device[0]",
            "packed",
            True,
            "Property 'virtio-rng-device.packed' not found",
        ),
    ],
)
async def test_qom_set_what_can_t_be_set_is_refused(
    vm: Commander, path: str, name: str, value: Any, description: str
) -> None:
    assert await vm.refusal("qom-set", path=path, property=name, value=value) == ("GenericError", description)


@pytest.mark.parametrize("path", ["/nope", "machine/nope", "/machine/peripheral/nope/x", "/" + "x/" * 100])
@pytest.mark.parametrize("command", ["qom-list", "qom-get"])
async def test_qom_path_to_nothing_is_not_found(vm: Commander, command: str, path: str) -> None:
    arguments = {"property": "type"} if command == "qom-get" else {}

    assert await vm.refusal(command, path=path, **arguments) == ("DeviceNotFound", f"Device '{path}' not found")


async def test_qom_path_to_several_is_ambiguous(vm: Commander) -> None:
    assert await vm.refusal("qom-list", path="") == ("GenericError", "Path '' is ambiguous")


async def test_qom_list_types_of_virtio_devices(vm: Commander) -> None:
    found = await vm("qom-list-types", implements="virtio-device")

    assert {"name": "virtio-blk-device", "parent": "virtio-device"} in found
    assert {each["parent"] for each in found} == {"virtio-device"}


async def test_qom_list_types_abstract_ones_only_when_asked_for(vm: Commander) -> None:
    without = await vm("qom-list-types", implements="event-loop-base")
    with_abstract = await vm("qom-list-types", implements="event-loop-base", abstract=True)

    assert {each["name"] for each in without} == {"iothread", "main-loop"}
    assert {"name": "event-loop-base", "abstract": True, "parent": "object"} in with_abstract


async def test_qom_list_types_of_what_is_none_is_empty(vm: Commander) -> None:
    assert await vm("qom-list-types", implements="zz") == []


async def test_qom_list_properties_of_iothread_are_those_of_the_object(vm: Commander) -> None:
    found = await vm("qom-list-properties", typename="iothread")

    assert {each["name"] for each in found} == (await names(vm, "/objects/io0")).keys()


async def test_device_list_properties_has_types_defaults_and_help(vm: Commander) -> None:
    found = {each["name"]: each for each in await vm("device-list-properties", typename="virtio-blk-device")}

    assert found["iothread"]["type"] == "link<iothread>"
    assert found["logical-block-size"]["default-value"] == 512
    assert found["drive"]["description"]


@pytest.mark.parametrize(
    ("command", "typename", "error"),
    [
        ("qom-list-properties", "zz", ("DeviceNotFound", "Class 'zz' not found")),
        ("device-list-properties", "zz", ("DeviceNotFound", "Device 'zz' not found")),
        (
            "device-list-properties",
            "iothread",
            ("GenericError", "Parameter 'typename' expects a non-abstract device type"),
        ),
    ],
)
async def test_properties_of_a_type_that_is_none_are_refused(
    vm: Commander, command: str, typename: str, error: tuple[str, str]
) -> None:
    assert await vm.refusal(command, typename=typename) == error
