# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of one machine; node.py draws it."""

from __future__ import annotations

from typing import Any

from asyncemu.chardev import Chardev
from asyncemu.devices import Device
from asyncemu.machine import Machine
from asyncemu.machine.console_ports import named_ports, port_bus, port_type
from asyncemu.machine.device_types import device_type
from asyncemu.monitor.qom.node import Json, Node, Property, container
from asyncemu.monitor.qom.objects import object_node
from asyncemu.monitor.qom.options import as_json, properties
from asyncemu.virtio.console import VirtioConsole
from asyncemu.virtio.console_port import ConsolePort

#: What QEMU calls the class of the harts that we have.
HART_TYPE = "rv64-riscv-cpu"


def tree(machine: Machine) -> Node:
    """All objects. At the machine's home."""
    return container(
        {
            "machine": _machine_node(machine),
            "objects": container({id: object_node(machine, id, type_name) for id, type_name in machine.objects.all()}),
            "chardevs": container({id: _chardev_node(each) for id, each in machine.chardevs.items()}),
            "backend": container({}),
        }
    )


def _machine_node(machine: Machine) -> Node:
    refusal = "Property 'virt-machine.{name}' is not writable"
    own = [each for each in properties(machine.options, refusal) if each.name not in ("name", "uuid", "memory", "type")]
    sizes = {"size": machine.ram.size}
    own.append(Property("memory", "MemorySizeConfiguration", sizes, refusal=refusal.format(name="memory")))
    devices = machine.devices
    return Node(
        "virt-machine",
        tuple(own),
        {
            "peripheral": container(
                {id: _device_node(machine, each) for id, each in devices.items() if id not in devices.unnamed}
                | {port.id: _port_node(machine, console, port) for console, port in named_ports(machine)}
            ),
            "peripheral-anon": container(
                {
                    f"device[{number}]": _device_node(machine, devices[id])
                    for number, id in enumerate(each for each in devices if each in devices.unnamed)
                }
            ),
            "soc0": Node(
                "riscv.hart_array",
                children={f"harts[{index}]": Node(HART_TYPE) for index in range(len(machine.vcpus))},
            ),
            "unattached": container(_unattached(machine)),
        },
    )


def _unattached(machine: Machine) -> dict[str, Node]:
    found = {each.id: Node(device_type(type(each))) for each in machine.board.own_devices}
    for bus in machine.board.buses():
        number = bus.rpartition(".")[2]
        found[f"virtio-mmio[{number}]"] = Node("virtio-mmio", children={bus: Node("virtio-mmio-bus")})
    return found


def bus_path(bus: str) -> str:
    """Where a bus is in the tree."""
    number = bus.rpartition(".")[2]
    return f"/machine/unattached/virtio-mmio[{number}]/{bus}" if number.isdecimal() else f"/{bus}"


def _device_node(machine: Machine, device: Device[Any]) -> Node:
    devices, kind = machine.devices, device_type(type(device))
    named = f"device '{device.id}'" if device.id not in devices.unnamed else "anonymous device"
    refusal = f"Attempt to set property '{{name}}' on {named} (type '{kind}') after it was realized"

    def fixed(name: str, type_name: str, value: Json) -> Property:
        return Property(name, type_name, value, refusal=f"Property '{kind}.{name}' is not writable")

    return Node(
        kind,
        (
            fixed("parent_bus", "link<bus>", bus_path(machine.board.bus_of(device))),
            fixed("realized", "bool", True),
            fixed("hotplugged", "bool", device.id in devices.hotplugged),
            fixed("hotpluggable", "bool", not machine.has_run),
            *properties(device.options, refusal),
        ),
        {port_bus(device): Node("virtio-serial-bus")} if isinstance(device, VirtioConsole) else {},
    )


def _port_node(machine: Machine, console: VirtioConsole, port: ConsolePort) -> Node:
    kind, bus = port_type(port), port_bus(console)
    refusal = f"Attempt to set property '{{name}}' on device '{port.id}' (type '{kind}') after it was realized"
    values: dict[str, tuple[str, Json]] = {
        "parent_bus": ("link<bus>", f"{machine.devices.path(console.id)}/{bus}"),
        "realized": ("bool", True),
        "nr": ("int", port.number),
        "name": ("str", port.options.name if port.options is not None else ""),
        "chardev": ("str", port.chardev.id if port.chardev is not None else ""),
    }
    return Node(
        kind,
        tuple(
            Property(name, type_name, value, refusal=refusal.format(name=name))
            for name, (type_name, value) in values.items()
        ),
    )


def _chardev_node(chardev: Chardev[Any]) -> Node:
    kind = f"chardev-{chardev.name}"
    connected = Property("connected", "bool", chardev.opened, refusal=f"Property '{kind}.connected' is not writable")
    address = Property("addr", "str", as_json(chardev.filename), refusal=f"Property '{kind}.addr' is not writable")
    return Node(kind, (connected, address))
