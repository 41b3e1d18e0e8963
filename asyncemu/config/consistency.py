# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tables of vm.toml say about each other: names that are taken, missing or used twice.

Each entry is right in itself; an entry that is not is None here, and a reference to it is let pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncemu.config.blockdevs import nested_blockdevs
from asyncemu.config.networks import link_errors, netfilter_errors
from asyncemu.config.sharing import is_single, monitor_chardevs
from asyncemu.devices import MmioDevice
from asyncemu.errors import ConfigError
from asyncemu.machine import MachineOptions
from asyncemu.machine.homes import Homes, Users
from asyncemu.machine.iothreads import IOThreadEntry
from asyncemu.machine.references import references
from asyncemu.machine.throttle_groups import ThrottleGroupEntry
from asyncemu.machine.virt import VIRTIO_SLOTS
from asyncemu.plain_options import AnyOptions
from asyncemu.plugin_options import IDENTITY_KEY, Configured
from asyncemu.spelling import nearest
from asyncemu.virtio import VirtioDevice

if TYPE_CHECKING:
    from asyncemu.monitor.options import MonitorEntry


def consistency_errors(
    machine: MachineOptions | None,
    configured: Mapping[str, Sequence[Configured | None]],
    iothreads: Sequence[IOThreadEntry | None],
    throttle_groups: Sequence[ThrottleGroupEntry | None],
    blockdev_tables: Any,
    directory: Path,
    monitors: Sequence[MonitorEntry] = (),
) -> list[ConfigError]:
    """All that does not fit together. ``blockdev_tables`` are the tables behind ``configured["blockdev"]``."""
    errors: list[ConfigError] = []
    block_names: dict[str, str] = {}
    # Not known, when one of them is wrong.
    groups = None if None in throttle_groups else [entry.identity for entry in throttle_groups if entry is not None]
    for index, entry in enumerate(configured["blockdev"]):
        if entry is not None:
            errors += nested_blockdevs(entry, f"blockdev[{index}]", directory, block_names, groups)
    names: dict[str, list[str]] = {}
    for kind, entries in configured.items():
        if kind != "blockdev":
            errors += _identity_errors(kind, entries)
        names[kind] = [entry.identity for entry in entries if entry is not None]
    names["blockdev"] = list(block_names)
    errors += _identity_errors("iothread", iothreads)
    errors += _identity_errors("throttle-group", throttle_groups)
    names["iothread"] = [entry.identity for entry in iothreads if entry is not None]
    errors += _needed_names(configured)
    complete = {kind: None not in entries for kind, entries in configured.items()}
    complete["iothread"] = None not in iothreads
    complete["blockdev"] = complete["blockdev"] and isinstance(blockdev_tables, list)
    for path, kind, name in _all_references(machine, configured, monitors):
        if name not in names[kind] and complete[kind]:
            known = [each for each in names[kind] if each]
            errors.append(ConfigError(path, f"no {kind} is named {name!r}", nearest(name, known)))
    errors += _stdio_errors(configured["chardev"])
    errors += _sharing_errors(machine, configured, monitors)
    errors += _bus_errors(configured["device"])
    errors += link_errors(configured["device"], configured["netdev"])
    errors += netfilter_errors(configured["netdev"], configured["netfilter"])
    serial = machine.serial if machine is not None else ""
    on_monitors = monitor_chardevs(monitors, [each for each in configured["chardev"] if each is not None])
    users = Users(configured["device"], configured["netdev"], configured["netfilter"], serial, on_monitors)
    return errors + Homes(users).conflicts


def _identity_errors(
    kind: str, entries: Sequence[Configured | IOThreadEntry | ThrottleGroupEntry | None]
) -> Iterator[ConfigError]:
    owners: dict[str, int] = {}
    for index, entry in enumerate(entries):
        if entry is None or not entry.identity:
            continue
        owner = owners.setdefault(entry.identity, index)
        if owner != index:
            where = f"{kind}[{index}].{IDENTITY_KEY[kind]}"
            yield ConfigError(where, f"{entry.identity!r} is the name of {kind}[{owner}] already", "choose another")


def _needed_names(configured: Mapping[str, Sequence[Configured | None]]) -> Iterator[ConfigError]:
    for kind in ("chardev", "netdev", "netfilter", "blockdev"):
        for index, entry in enumerate(configured[kind]):
            if entry is not None and not entry.identity:
                remedy = "name it" if kind == "netfilter" else "name it, so that a device can refer to it"
                yield ConfigError(f"{kind}[{index}].{IDENTITY_KEY[kind]}", "is missing", remedy)


def _all_references(
    machine: MachineOptions | None,
    configured: Mapping[str, Sequence[Configured | None]],
    monitors: Sequence[MonitorEntry],
) -> Iterator[tuple[str, str, str]]:
    """(TOML path, table, name) of each reference but those of block nodes."""
    users: list[tuple[AnyOptions, str]] = [
        (entry.options, f"{kind}[{index}]")
        for kind in ("device", "netdev", "netfilter")
        for index, entry in enumerate(configured[kind])
        if entry is not None
    ]
    if machine is not None:
        users.append((machine, "machine"))
    users += [(entry.options, entry.where) for entry in monitors if entry.own_chardev is None]
    for options, where in users:
        for path, _, kind, name in references(options, where):
            yield path, kind, name


def _stdio_errors(chardevs: Sequence[Configured | None]) -> Iterator[ConfigError]:
    owner: int | None = None
    for index, chardev in enumerate(chardevs):
        if chardev is None or chardev.plugin.name != "stdio":
            continue
        if owner is not None:
            problem = f"standard input and output belong to chardev[{owner}] already"
            yield ConfigError(f"chardev[{index}].backend", problem, "give one of the two another backend")
        owner = index if owner is None else owner


def _sharing_errors(
    machine: MachineOptions | None,
    configured: Mapping[str, Sequence[Configured | None]],
    monitors: Sequence[MonitorEntry],
) -> Iterator[ConfigError]:
    """A chardev without mux has one user."""
    single = {
        chardev.identity: index
        for index, chardev in enumerate(configured["chardev"])
        if chardev is not None and is_single(chardev)
    }
    users: dict[str, str] = {}
    for path, kind, name in _all_references(machine, configured, monitors):
        if kind != "chardev" or name not in single:
            continue
        first = users.setdefault(name, path)
        if first != path:
            remedy = f"set mux = true in chardev[{single[name]}], or use another one"
            yield ConfigError(path, f"chardev {name!r} is in use by {first} already", remedy)


def _bus_errors(devices: Sequence[Configured | None]) -> Iterator[ConfigError]:
    slots = 0
    for index, device in enumerate(devices):
        if device is None:
            continue
        if issubclass(device.plugin, VirtioDevice):
            slots += 1
            if slots > VIRTIO_SLOTS:
                problem = f"all {VIRTIO_SLOTS} virtio slots of the board are taken"
                yield ConfigError(f"device[{index}]", problem, "remove a device")
        elif not issubclass(device.plugin, MmioDevice):
            name = device.plugin.name or device.plugin.__qualname__
            yield ConfigError(f"device[{index}]", f"{name!r} is for no bus of this board", "remove it")
