# SPDX-License-Identifier: GPL-2.0-or-later
"""What is below /objects, with what may be changed at run time: iothreads, filters and throttle groups."""

from __future__ import annotations

from typing import Final

from asyncemu.machine import Machine
from asyncemu.machine.iothreads import IOThreadOptions
from asyncemu.machine.throttle_groups import ThrottleGroupOptions
from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.plugin_arguments import checked
from asyncemu.monitor.qom.node import Json, Node, Property, Write
from asyncemu.spelling import toml_name

_MAX_INT: Final = (1 << 63) - 1


def object_node(machine: Machine, id: str, type_name: str) -> Node:
    """The object ``id``, which is there."""
    found = machine.objects.find(id)
    values = dict(found.properties(id)) if found is not None else {}
    return Node(type_name, tuple(_property(machine, id, type_name, name, value) for name, value in values.items()))


def _property(machine: Machine, id: str, type_name: str, name: str, value: Json) -> Property:
    write: Write | None = None
    if type_name == "iothread":
        write = _iothread_write(machine, id, name)
    elif type_name == "throttle-group" and name == "limits":
        write = _limits_write(machine, id)
    elif id in machine.net.filters and name == "status":
        write = _status_write(machine, id)
    refusal = f"Property '{type_name}.{name}' is not writable"
    return Property(name, _type_of(value), value, write, refusal)


def _type_of(value: Json) -> str:
    names: dict[type, str] = {bool: "bool", int: "int", str: "string"}
    return names.get(type(value), "any")


def _iothread_write(machine: Machine, id: str, name: str) -> Write:
    async def write(value: Json) -> None:
        if type(value) is not int:
            raise QmpError(f"Invalid parameter type for '{name}', expected: integer")
        least, most = _bounds(name)
        if not least <= value <= most:
            raise QmpError(f"{name} value must be in range [{least}, {most}]")
        try:
            await machine.iothreads[id].change(**{name.replace("-", "_"): value})
        except ValueError as error:
            raise QmpError("bad thread-pool-min/thread-pool-max values") from error

    return write


def _bounds(name: str) -> tuple[int, int]:
    """The least and the largest value of an iothread's parameter, as in vm.toml."""
    field = next(each for key, each in IOThreadOptions.model_fields.items() if toml_name(key) == name)
    bounds: dict[str, int] = {}
    for each in field.metadata:
        bounds |= {key: getattr(each, key) for key in ("ge", "le") if hasattr(each, key)}
    return bounds.get("ge", 0), bounds.get("le", _MAX_INT)


def _limits_write(machine: Machine, id: str) -> Write:
    async def write(value: Json) -> None:
        if not isinstance(value, dict):
            raise QmpError("Invalid parameter type for 'limits', expected: object")
        group = machine.block.throttle_groups.find(id, "throttle-group")
        limits = checked(ThrottleGroupOptions, {"limits": value}).limits
        group.configure(limits.config("limits"))

    return write


def _status_write(machine: Machine, id: str) -> Write:
    async def write(value: Json) -> None:
        if not isinstance(value, str):
            raise QmpError("Invalid parameter type for 'status', expected: string")
        if value not in ("on", "off"):
            raise QmpError("Invalid value for netfilter status, should be 'on' or 'off'")
        await machine.net.set_filter(id, value == "on")

    return write
