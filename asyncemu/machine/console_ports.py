# SPDX-License-Identifier: GPL-2.0-or-later
"""Ports of virtio-consoles that are plugged in and out while the guest runs. QEMU: virtserialport, virtconsole.

A console is a bus of its own, named ID.0, that has hot-plug; what it may hold is its ``max-ports``. All of this runs
at the machine's home; the ports live with their console.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from asyncemu.chardev import Chardev
from asyncemu.events import DeviceDeleted
from asyncemu.machine.device_types import BoardError
from asyncemu.virtio.console import PortOptions, VirtioConsole
from asyncemu.virtio.console_port import ConsolePort

if TYPE_CHECKING:
    from asyncemu.machine.machine import Machine


def port_bus(console: VirtioConsole) -> str:
    """The name of the bus that a console is."""
    return f"{console.id}.0"


def port_type(port: ConsolePort) -> str:
    """QEMU's name of the type."""
    return "virtconsole" if port.options is None or port.options.console else "virtserialport"


def named_ports(machine: Machine) -> Iterator[tuple[VirtioConsole, ConsolePort]]:
    """All ports that have an id."""
    for console in _consoles(machine):
        # A copy, as they may live in an iothread.
        yield from ((console, port) for port in list(console.ports.values()) if port.id)


def find_port(machine: Machine, id: str) -> tuple[VirtioConsole, ConsolePort] | None:
    """The port that is called that, with its console; None: there is none."""
    return next((each for each in named_ports(machine) if each[1].id == id), None)


def check_bus(machine: Machine, bus: str, kind: str) -> VirtioConsole:
    """The console that is called ``bus``; empty: the first one. BoardError, in QEMU's words."""
    consoles = _consoles(machine)
    if bus:
        found = next((console for console in consoles if port_bus(console) == bus), None)
        if found is None:
            raise BoardError(f"Bus '{bus}' not found")
        return found
    if not consoles:
        raise BoardError(f"No 'virtio-serial-bus' bus found for device '{kind}'")
    return consoles[0]


async def add_port(
    machine: Machine, console: VirtioConsole, options: PortOptions, chardev: Chardev[Any] | None, number: int | None
) -> None:
    """Plug a port into ``console``: the first one that is free where ``number`` is None. BoardError."""
    count, ports = console.options.port_count, console.ports
    if number is None:
        number = next((each for each in range(1, count) if each not in ports), None)
        if number is None:
            raise BoardError("virtio-serial-bus: Maximum port limit for this device reached")
    elif not 0 <= number < count:
        raise BoardError(f"virtio-serial-bus: Out-of-range port id specified, max. allowed: {count - 1}")
    if number in ports:
        raise BoardError(f"virtio-serial-bus: A port already exists at id {number}")
    names = {port.options.name for port in list(ports.values()) if port.options is not None}
    if options.name and options.name in names:
        raise BoardError(f"virtio-serial-bus: A port already exists by name {options.name}")
    place = number

    async def add() -> None:
        console.add_port(place, options, chardev)

    await console.context.call(add)


async def remove_port(machine: Machine, console: VirtioConsole, port: ConsolePort) -> None:
    """Take a port out, and say so."""

    async def remove() -> None:
        console.remove_port(port.number)

    await console.context.call(remove)
    machine.events.emit(DeviceDeleted(device=port.id, path=f"/machine/peripheral/{port.id}"))


def _consoles(machine: Machine) -> list[VirtioConsole]:
    return [device for device in machine.devices.values() if isinstance(device, VirtioConsole)]
