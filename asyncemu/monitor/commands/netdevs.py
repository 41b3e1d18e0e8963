# SPDX-License-Identifier: GPL-2.0-or-later
"""Network back ends: added and removed; cables, filters of cards, announcements."""

from __future__ import annotations

import builtins
import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, ClassVar, Final, Literal

from asyncemu.monitor.command import Call, command
from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.identifiers import check_identifier
from asyncemu.monitor.monitor import DescriptorHolder
from asyncemu.monitor.plugin_arguments import PluginArguments, configured, plugin_variants
from asyncemu.net.announce import AnnounceParameters
from asyncemu.plain_options import AnyOptions
from asyncemu.wire_model import WireModel

#: Types that QEMU has and we have not.
_FOREIGN_TYPES: Final = frozenset(
    ("bridge", "l2tpv3", "netmap", "nic", "none", "vde", "vhost-user", "vhost-vdpa"),
)


#: Of a descriptor's number; more are none.
_MAX_DIGITS: Final = 9

#: Of one netdev: more than it may have queues.
_MAX_DESCRIPTORS: Final = 256


class NetdevArguments(PluginArguments):
    """Of netdev_add; QEMU: Netdev."""

    tag: ClassVar[str] = "type"

    type: str
    id: str

    @classmethod
    def variants(cls) -> Mapping[str, builtins.type[AnyOptions]]:
        return plugin_variants("netdev")


class NetdevDelArguments(WireModel):
    """Of netdev_del."""

    id: str


class SetLinkArguments(WireModel):
    """Of set_link: of a netdev or a device."""

    name: str
    up: bool


class AnnounceSelfArguments(WireModel):
    """Of announce-self; QEMU: AnnounceParameters. Times in ms."""

    initial: int
    max: int
    rounds: int
    step: int
    #: Ids of cards; all, if not given.
    interfaces: list[str] | None = None
    #: A second call with the same one takes the place of the first.
    id: str | None = None


class RxFilterArguments(WireModel):
    """Of query-rx-filter."""

    #: Of one card only.
    name: str | None = None


class RxFilterInfo(WireModel):
    """QEMU: RxFilterInfo."""

    name: str
    promiscuous: bool
    multicast: Literal["normal", "none", "all"]
    unicast: Literal["normal", "none", "all"]
    vlan: Literal["normal", "none", "all"]
    broadcast_allowed: bool
    multicast_overflow: bool
    unicast_overflow: bool
    main_mac: str
    vlan_table: list[int]
    unicast_table: list[str]
    multicast_table: list[str]


@command("netdev_add")
async def netdev_add(call: Call, arguments: NetdevArguments) -> None:
    """Make a netdev, for a device that is added later or for another netdev."""
    machine = call.control.machine
    check_identifier(arguments.id)
    if arguments.type in _FOREIGN_TYPES - plugin_variants("netdev").keys():
        raise QmpError(f"network backend '{arguments.type}' is not compiled into this binary")
    # A netdev has a duplicate of what it is given.
    with ExitStack() as taken:
        options = {key: _plain(key, value, call, taken) for key, value in arguments.own().items()}
        found = configured("netdev", arguments.type, arguments.id, options, machine.block.directory)
        await machine.net.add_netdev(found)


@command("netdev_del")
async def netdev_del(call: Call, arguments: NetdevDelArguments) -> None:
    """Close a netdev, and its filters; a card that uses it loses its link."""
    await call.control.machine.net.remove_netdev(arguments.id)


@command("set_link")
async def set_link(call: Call, arguments: SetLinkArguments) -> None:
    """Plug a cable in, or out."""
    await call.control.machine.net.set_link(arguments.name, arguments.up)


@command("query-rx-filter")
async def query_rx_filter(call: Call, arguments: RxFilterArguments) -> list[RxFilterInfo]:
    """Which frames each card takes."""
    found = await call.control.machine.net.rx_filters(arguments.name)
    return [RxFilterInfo(**{name: getattr(each, name) for name in RxFilterInfo.model_fields}) for each in found]


@command("announce-self")
async def announce_self(call: Call, arguments: AnnounceSelfArguments) -> None:
    """Have the network told where the guest is, in several rounds."""
    parameters = AnnounceParameters(
        initial=arguments.initial, max=arguments.max, rounds=arguments.rounds, step=arguments.step
    )
    call.control.machine.net.announce_self(parameters, arguments.interfaces, arguments.id or "")


def _plain(key: str, value: Any, call: Call, taken: ExitStack) -> Any:
    """As vm.toml has it: lists of text, which are ``[{"str": "a"}]`` in QMP; descriptors by number, not by name."""
    match key, value:
        case _, list():
            return [each["str"] if isinstance(each, dict) and each.keys() == {"str"} else each for each in value]
        case "fd", str():
            return _descriptor(value, call, taken)
        case "fds", str():
            return ":".join(str(_descriptor(each, call, taken)) for each in value.split(":", _MAX_DESCRIPTORS))
        case _, {"type": "fd", "str": str(name)}:
            return {**value, "str": _descriptor(name, call, taken)}
        case _:
            return value


def _descriptor(text: str, call: Call, taken: ExitStack) -> int:
    """The number ``text``, or the one that a client has handed over by that name, which ``taken`` closes. QmpError."""
    if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS:
        return int(text)
    if not isinstance(call.monitor, DescriptorHolder):
        raise QmpError(f"File descriptor named '{text}' has not been found")
    number = call.monitor.descriptors.take(text)
    taken.callback(os.close, number)
    return number
