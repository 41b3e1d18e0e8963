# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of objects (monitor/qom): what is there, its properties, and their types."""

from __future__ import annotations

from typing import Any

from asyncemu.monitor.command import Call, command
from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.qom.node import Node, find
from asyncemu.monitor.qom.options import Described
from asyncemu.monitor.qom.tree import tree
from asyncemu.monitor.qom.types import all_types, device_properties, lineage, type_properties
from asyncemu.wire_model import WireModel

#: The property that every object has.
_TYPE = "type"


class QomListArguments(WireModel):
    """Of qom-list."""

    path: str


class QomGetArguments(WireModel):
    """Of qom-get."""

    path: str
    property: str


class QomSetArguments(WireModel):
    """Of qom-set."""

    path: str
    property: str
    value: Any


class QomListTypesArguments(WireModel):
    """Of qom-list-types."""

    #: Only those that derive from it.
    implements: str | None = None
    #: Also those that there are no objects of.
    abstract: bool = False


class TypenameArguments(WireModel):
    """Of qom-list-properties and device-list-properties."""

    typename: str


class ObjectPropertyInfo(WireModel):
    """QEMU: ObjectPropertyInfo."""

    name: str
    type: str
    description: str | None = None
    default_value: Any = None


class ObjectTypeInfo(WireModel):
    """QEMU: ObjectTypeInfo."""

    name: str
    abstract: bool | None = None
    parent: str | None = None


@command("qom-list")
async def qom_list(call: Call, arguments: QomListArguments) -> list[ObjectPropertyInfo]:
    """The properties of an object, the objects below it among them."""
    _, node = find(tree(call.control.machine), arguments.path)
    return [
        ObjectPropertyInfo(name=_TYPE, type="string"),
        *(ObjectPropertyInfo(name=each.name, type=each.type) for each in node.properties if each.name != _TYPE),
        *(ObjectPropertyInfo(name=name, type=f"child<{child.type}>") for name, child in node.children.items()),
    ]


@command("qom-get")
async def qom_get(call: Call, arguments: QomGetArguments) -> Any:
    """The value of a property; the path of an object below."""
    path, node = find(tree(call.control.machine), arguments.path)
    if arguments.property == _TYPE:
        return node.type
    if arguments.property in node.children:
        return f"{path.rstrip('/')}/{arguments.property}"
    return node.property(arguments.property).value


@command("qom-set")
async def qom_set(call: Call, arguments: QomSetArguments) -> None:
    """Another value for a property."""
    _, node = find(tree(call.control.machine), arguments.path)
    if arguments.property == _TYPE or arguments.property in node.children:
        raise _not_writable(node, arguments.property)
    found = node.property(arguments.property)
    if found.write is None:
        raise QmpError(found.refusal) if found.refusal else _not_writable(node, arguments.property)
    await found.write(arguments.value)


@command("qom-list-types")
async def qom_list_types(call: Call, arguments: QomListTypesArguments) -> list[ObjectTypeInfo]:
    """The types that there are."""
    types = all_types()
    return [
        ObjectTypeInfo(name=name, abstract=each.abstract or None, parent=each.parent or None)
        for name, each in types.items()
        if (arguments.abstract or not each.abstract)
        and (arguments.implements is None or arguments.implements in lineage(types, name))
    ]


@command("qom-list-properties")
async def qom_list_properties(call: Call, arguments: TypenameArguments) -> list[ObjectPropertyInfo]:
    """What objects of a type have."""
    return [ObjectPropertyInfo(name=_TYPE, type="string"), *map(_info, type_properties(arguments.typename))]


@command("device-list-properties")
async def device_list_properties(call: Call, arguments: TypenameArguments) -> list[ObjectPropertyInfo]:
    """What device_add takes for a driver."""
    return [_info(each) for each in device_properties(arguments.typename)]


def _info(found: Described) -> ObjectPropertyInfo:
    return ObjectPropertyInfo(
        name=found.name, type=found.type, description=found.description or None, default_value=found.default
    )


def _not_writable(node: Node, name: str) -> QmpError:
    return QmpError(f"Property '{node.type}.{name}' is not writable")
