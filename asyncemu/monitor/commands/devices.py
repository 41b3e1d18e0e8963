# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices in and out of a machine: device_add, device_del."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ConfigDict

from asyncemu.chardev import Chardev
from asyncemu.devices import Device
from asyncemu.errors import ConfigError
from asyncemu.machine import Machine
from asyncemu.machine.console_ports import add_port, check_bus, find_port, remove_port
from asyncemu.machine.device_types import device_type, find_device
from asyncemu.machine.references import references
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.errors import DeviceNotFound, QmpError
from asyncemu.monitor.identifiers import check_identifier
from asyncemu.monitor.plugin_arguments import checked
from asyncemu.monitor.qom.node import find
from asyncemu.monitor.qom.tree import tree
from asyncemu.monitor.qom.types import all_types
from asyncemu.plain_options import AnyOptions
from asyncemu.plain_options_pydantic import model_of
from asyncemu.plugin_options import Configured
from asyncemu.virtio.console import PortOptions, VirtioConsole
from asyncemu.wire_model import WireModel

#: What is plugged into a console rather than into the board.
PORT_TYPES: Final = ("virtserialport", "virtconsole")


class DeviceAddArguments(WireModel):
    """Of device_add: also the driver's own options, by their names in vm.toml or QEMU's with underscores.

    As in QEMU's schema these are not described: device-list-properties tells them.
    """

    model_config = ConfigDict(extra="allow")

    driver: str
    #: The bus to be on; the board chooses where it is not given.
    bus: str | None = None
    id: str | None = None

    def own(self) -> dict[str, Any]:
        """The driver's options, as they came."""
        return dict(self.model_extra or {})


class DeviceDelArguments(WireModel):
    """Of device_del."""

    #: The device's id, or its path in the tree of objects.
    id: str


@command("device_add")
async def device_add(call: Call, arguments: DeviceAddArguments) -> None:
    """Plug a device in. What a board can't plug in now is refused before anything is made."""
    machine, id = call.control.machine, arguments.id or ""
    if id:
        check_identifier(id)
    if arguments.driver in PORT_TYPES:
        await _add_port(machine, arguments)
        return
    plugin = _driver(arguments.driver)
    machine.board.check_hotplug(plugin, arguments.bus or "", machine.has_run)
    _check_free(machine, id)
    options = _options(machine, plugin, arguments.own())
    try:
        await machine.devices.hotplug(Configured(plugin, options, id), arguments.bus or "")
    except ConfigError as error:
        raise QmpError(error.problem) from error


@command("device_del")
async def device_del(call: Call, arguments: DeviceDelArguments) -> None:
    """Take a device out; DEVICE_DELETED tells when it is gone."""
    machine = call.control.machine
    port = find_port(machine, arguments.id.removeprefix("/machine/peripheral/"))
    if port is not None:
        await remove_port(machine, *port)
        return
    await machine.devices.remove(_device_id(machine, arguments.id))


async def _add_port(machine: Machine, arguments: DeviceAddArguments) -> None:
    """virtserialport or virtconsole: a port of a console. Raises QmpError, BoardError."""
    kind, own = arguments.driver, arguments.own()
    console = check_bus(machine, arguments.bus or "", kind)
    _check_free(machine, arguments.id or "")
    for key in own:
        if key not in ("chardev", "name", "nr"):
            raise QmpError(f"Property '{kind}.{key}' not found")
    number = own.pop("nr", None)
    if number is not None and type(number) is not int:
        raise QmpError("Invalid parameter type for 'nr', expected: integer")
    options = checked(PortOptions, {"chardev": "", **own, "id": arguments.id or "", "console": kind == "virtconsole"})
    await add_port(machine, console, options, _port_chardev(machine, console, kind, options.chardev), number)


def _port_chardev(machine: Machine, console: VirtioConsole, kind: str, name: str) -> Chardev[Any] | None:
    if not name:
        return None
    chardev = machine.chardevs.get(name)
    if chardev is None:
        raise QmpError(f"Property '{kind}.chardev' can't find value '{name}'")
    if chardev.frontend_open and not chardev.is_mux():
        raise QmpError(f"Property '{kind}.chardev' can't take value '{name}': Device '{name}' is in use")
    if chardev.context is not console.context:
        raise QmpError(f"chardev '{name}' lives in {chardev.context.name}, and device '{console.id}' does not")
    return chardev


def _check_free(machine: Machine, id: str) -> None:
    if id and (id in machine.devices or id in machine.net.netdevs or find_port(machine, id) is not None):
        raise QmpError(f"Duplicate device ID '{id}'")


def _driver(name: str) -> type[Device[Any]]:
    found = find_device(name)
    if found is not None:
        return found
    if name in all_types() and all_types()[name].abstract:
        raise QmpError("Parameter 'driver' expects a non-abstract device type")
    raise QmpError(f"'{name}' is not a valid device model name")


def _options(machine: Machine, plugin: type[Device[Any]], given: Mapping[str, Any]) -> AnyOptions:
    """The driver's options. Raises QmpError."""
    kind = device_type(plugin)
    known = {field.alias or name for name, field in model_of(plugin.options_type).model_fields.items()}
    table: dict[str, Any] = {}
    for key, value in given.items():
        name = key if key in known else key.replace("_", "-")
        if name not in known:
            raise QmpError(f"Property '{kind}.{key}' not found")
        table[name] = value
    options = checked(plugin.options_type, table, machine.block.directory)
    for path, _, table_name, target in references(options, kind):
        try:
            machine.lookup(table_name, target)
        except KeyError:
            raise QmpError(f"Property '{path}' can't find value '{target}'") from None
    return options


def _device_id(machine: Machine, id: str) -> str:
    """The name of the device that a user calls ``id``: its own or its path. Raises QmpError."""
    if not id.startswith("/"):
        if id not in machine.devices or id in machine.devices.unnamed:
            raise DeviceNotFound(f"Device '{id}' not found")
        return id
    path, _ = find(tree(machine), id)
    for name in machine.devices:
        if machine.devices.path(name) == path:
            return name
    raise QmpError(f"{id} is not a hotpluggable device")
