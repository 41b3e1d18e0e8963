# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects that users create: iothreads, throttle groups, secrets, TLS credentials, filters of netdevs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from asyncemu.machine.object_types import options_types
from asyncemu.machine.references import references
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.errors import DeviceNotFound, QmpError
from asyncemu.monitor.identifiers import check_identifier
from asyncemu.monitor.plugin_arguments import PluginArguments, checked, plugin_variants
from asyncemu.plain_options import AnyOptions
from asyncemu.wire_model import WireModel


class ObjectAddArguments(PluginArguments):
    """Of object-add; QEMU: ObjectOptions."""

    tag: ClassVar[str] = "qom-type"

    qom_type: str
    id: str

    @classmethod
    def variants(cls) -> Mapping[str, type[AnyOptions]]:
        return {**options_types(), **plugin_variants("netfilter")}


class ObjectDelArguments(WireModel):
    """Of object-del."""

    id: str


@command("object-add")
async def object_add(call: Call, arguments: ObjectAddArguments) -> None:
    """Create an object."""
    machine, name = call.control.machine, arguments.qom_type
    found = machine.objects.types().get(name)
    if found is None:
        raise QmpError(f"Parameter 'qom-type' does not accept value '{name}'")
    check_identifier(arguments.id)
    options = checked(found.options_type, found.prepared(arguments.own()), machine.block.directory)
    _check_chardevs(options, machine.chardevs)
    await machine.objects.add(name, arguments.id, options)


@command("object-del")
async def object_del(call: Call, arguments: ObjectDelArguments) -> None:
    """Delete an object that nobody uses."""
    await call.control.machine.objects.remove(arguments.id)


def _check_chardevs(options: AnyOptions, chardevs: Mapping[str, Any]) -> None:
    for _, _, kind, name in references(options, ""):
        if kind == "chardev" and name not in chardevs:
            raise DeviceNotFound(f"Device '{name}' not found")
