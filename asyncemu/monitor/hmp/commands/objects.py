# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects and devices: made, removed, looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final

from asyncemu.machine.device_types import find_device
from asyncemu.machine.object_types import options_types
from asyncemu.monitor.commands.devices import PORT_TYPES
from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.hmp.arguments import DeviceId, DeviceOptions, Flag, ObjectId, ObjectOptions, Rest, Text
from asyncemu.monitor.hmp.option_text import split, typed
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import hmp_command
from asyncemu.virtio.console import PortOptions

#: What device_add takes besides a driver's options; ``nr`` is a port's number.
_OF_DEVICE_ADD: Final[Mapping[str, Any]] = {"driver": str, "id": str, "bus": str, "nr": int}
#: Objects of the tree that are shown. Arbitrary: a bound.
_TREE_LIMIT: Final = 10_000


@hmp_command("object_add", "[qom-type=]type,id=str[,prop=value][,...]", "create QOM object")
async def object_add(session: Session, object: ObjectOptions) -> None:
    """QMP: object-add."""
    options = split(object, "qom-type")
    variant = options_types().get(options.get("qom-type", [""])[-1])
    await session.qmp("object-add", typed(variant, options, {"qom-type": str, "id": str}))


@hmp_command("object_del", "id", "destroy QOM object")
async def object_del(session: Session, id: ObjectId) -> None:
    """QMP: object-del."""
    await session.qmp("object-del", id=id)


@hmp_command("device_add", "driver[,prop=value][,...]", "add device, like -device on the command line")
async def device_add(session: Session, device: DeviceOptions | None = None) -> None:
    """QMP: device_add."""
    options = split(device or "", "driver")
    driver = options.get("driver", [""])[-1]
    plugin = find_device(driver)
    variant = PortOptions if driver in PORT_TYPES else plugin.options_type if plugin is not None else None
    await session.qmp("device_add", typed(variant, options, _OF_DEVICE_ADD))


@hmp_command("device_del", "device", "remove device")
async def device_del(session: Session, id: DeviceId) -> None:
    """QMP: device_del."""
    await session.qmp("device_del", id=id)


@hmp_command("qom-list", "path", "list QOM properties")
async def qom_list(session: Session, path: Text | None = None) -> None:
    """QMP: qom-list."""
    if path is None:
        session.print("/\n")
        return
    for each in await session.qmp("qom-list", path=path):
        session.print(f"{each['name']} ({each['type']})\n")


@hmp_command("qom-get", "path property", "print QOM property")
async def qom_get(session: Session, path: Text, property: Text) -> None:
    """QMP: qom-get."""
    value = await session.qmp("qom-get", path=path, property=property)
    session.print(json.dumps(value, indent=4) + "\n")


@hmp_command(
    "qom-set",
    "[-j] path property value",
    "set QOM property.\n\t\t\t-j: the value is specified in json format.",
)
async def qom_set(
    session: Session, as_json: Annotated[bool, Flag("j")], path: Text, property: Text, value: Rest
) -> None:
    """QMP: qom-set; without -j a value is what it looks like."""
    await session.qmp("qom-set", {"path": path, "property": property, "value": _value(value, as_json)})


def _value(text: str, as_json: bool) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if as_json:
            raise QmpError(f"JSON parse error: {error}") from error
    return {"on": True, "off": False}.get(text, text)


@hmp_command("info iothreads", "", "show iothreads")
async def info_iothreads(session: Session) -> None:
    """QMP: query-iothreads."""
    for each in await session.qmp("query-iothreads"):
        session.print(f"{each['id']}:\n")
        for key, label in (("thread-id", "thread_id"), *((key, key) for key in _POLLING)):
            session.print(f"  {label}={each[key]}\n")


_POLLING: Final = ("poll-max-ns", "poll-grow", "poll-shrink", "aio-max-batch")


@hmp_command("info qom-tree", "[path]", "show QOM composition tree")
async def info_qom_tree(session: Session, path: Text | None = None) -> None:
    """What is inside what, from ``path`` on."""
    path = path or "/machine"
    type = await session.qmp("qom-get", path=path, property="type")
    session.print(f"{path} ({type})\n")
    await _print_children(session, path, 1, [_TREE_LIMIT])


async def _print_children(session: Session, path: str, level: int, left: list[int]) -> None:
    for each in await session.qmp("qom-list", path=path):
        if not each["type"].startswith("child<"):
            continue
        left[0] -= 1
        if left[0] < 0:
            return
        session.print(f"{'  ' * level}/{each['name']} ({each['type'][6:-1]})\n")
        await _print_children(session, f"{path.rstrip('/')}/{each['name']}", level + 1, left)
