# SPDX-License-Identifier: GPL-2.0-or-later
"""The types of objects that there are, by QEMU's names, and what each derives from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from asyncemu.devices import Device
from asyncemu.machine import MachineOptions
from asyncemu.machine.device_types import device_type, find_device
from asyncemu.machine.object_types import options_types
from asyncemu.monitor.errors import DeviceNotFound, QmpError
from asyncemu.monitor.qom.options import Described, described
from asyncemu.plain_options import AnyOptions
from asyncemu.plugins import find, names
from asyncemu.virtio.device import VirtioDevice


class QomType(NamedTuple):
    """A type: what it derives from (empty: nothing), and the options that its objects have (None: they have none)."""

    parent: str
    abstract: bool = False
    options: type[AnyOptions] | None = None


_ABSTRACT = {
    "object": QomType("", abstract=True),
    "machine": QomType("object", abstract=True),
    "chardev": QomType("object", abstract=True),
    "netfilter": QomType("object", abstract=True),
    "event-loop-base": QomType("object", abstract=True),
    "tls-creds": QomType("object", abstract=True),
    "device": QomType("object", abstract=True),
    "sys-bus-device": QomType("device", abstract=True),
    "virtio-device": QomType("device", abstract=True),
}

#: What objects that users create derive from, where it is not "object".
_PARENTS = {"iothread": "event-loop-base", "main-loop": "event-loop-base", "tls-creds-x509": "tls-creds"}


def all_types() -> Mapping[str, QomType]:
    """All of them, by name. Imports what vm.toml may name."""
    found = dict(_ABSTRACT)
    found["virt-machine"] = QomType("machine", options=MachineOptions)
    found |= {name: QomType(_PARENTS.get(name, "object"), options=each) for name, each in options_types().items()}
    for name in names("netfilter"):
        found[name] = QomType("netfilter", options=find("netfilter", name, "type").options_type)
    for name in names("chardev"):
        found[f"chardev-{find('chardev', name, 'backend').name}"] = QomType("chardev")
    for name in names("device"):
        plugin = find("device", name, "driver")
        parent = "virtio-device" if issubclass(plugin, VirtioDevice) else "sys-bus-device"
        found[device_type(plugin)] = QomType(parent, options=plugin.options_type)
    return found


def lineage(types: Mapping[str, QomType], name: str) -> Iterator[str]:
    """``name`` and what it derives from, up to "object"."""
    while name:
        yield name
        name = types[name].parent if name in types else ""


def type_properties(name: str) -> list[Described]:
    """What objects of a type have. DeviceNotFound."""
    found = all_types().get(name)
    if found is None:
        raise DeviceNotFound(f"Class '{name}' not found")
    return list(described(found.options)) if found.options is not None else []


def device_properties(name: str) -> list[Described]:
    """What a device's driver takes. QmpError."""
    plugin: type[Device[object]] | None = find_device(name)  # type: ignore[type-var]
    if plugin is not None:
        return list(described(plugin.options_type))
    if name in all_types():
        raise QmpError("Parameter 'typename' expects a non-abstract device type")
    raise DeviceNotFound(f"Device '{name}' not found")
