# SPDX-License-Identifier: GPL-2.0-or-later
"""DeviceSet: the users' devices of a machine: made from vm.toml, or plugged in and out afterwards.

Each lives in the context that its options ask for. What becomes of one:

    add:     made --> references resolved --> plugged into the board --> drive moved home --> realized
    remove:  unrealized --> unplugged --> gone
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, cast

from asyncemu import author_errors
from asyncemu.block import BlockNode, move_nodes
from asyncemu.devices import Device
from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.events import DeviceDeleted
from asyncemu.loop import AioContext, any_thread, home
from asyncemu.machine.homes import home_of
from asyncemu.machine.references import references, resolve
from asyncemu.plugin_options import Configured

if TYPE_CHECKING:
    from asyncemu.machine.machine import Machine


class DeviceSet(Mapping[str, Device[Any]]):
    """By id, in the order in which they were made. Home: the machine's."""

    def __init__(self, machine: Machine) -> None:
        self.context = machine.context
        self._machine = machine
        self._devices: dict[str, Device[Any]] = {}
        #: The ids of those that the user has given none.
        self.unnamed: set[str] = set()
        #: The ids of those that came after the machine was built.
        self.hotplugged: set[str] = set()

    def __getitem__(self, id: str) -> Device[Any]:
        return self._devices[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._devices)

    def __len__(self) -> int:
        return len(self._devices)

    @home
    async def add(self, configured: Configured, where: str, bus: str = "") -> Device[Any]:
        """Make a device and plug it in, on ``bus`` if the board is not to choose.

        Raises ConfigError, and then has left nothing.
        """
        name = configured.identity or self._free_name(configured.plugin.name)
        if name in self._devices:
            raise ConfigError(f"{where}.id", f"{name!r} is taken already")
        context = self._machine.context_of(home_of(configured))
        device = await context.call(lambda: self._make(configured, name, context, where, bus))
        if not configured.identity:
            self.unnamed.add(name)
        device.qom_path = self.path(name)
        return device

    @home
    async def hotplug(self, configured: Configured, bus: str = "") -> Device[Any]:
        """``add`` to a machine that has been built. Raises AsyncemuError."""
        self._machine.board.check_hotplug(configured.plugin, bus, self._machine.has_run)
        self._check_homes(configured)
        device = await self.add(configured, "device_add", bus)
        self.hotplugged.add(device.id)
        return device

    @home
    async def remove(self, id: str) -> None:
        """Take a device out. KeyError: there is no such one. HotplugRefused: it stays."""
        device, board = self._devices[id], self._machine.board
        board.check_unplug(device, self._machine.has_run)
        await self._unrealize(device)
        self._machine.net.disconnected(device)
        board.unplug(device)
        self._machine.events.emit(DeviceDeleted(device=None if id in self.unnamed else id, path=self.path(id)))
        self._forget(id)

    @any_thread
    def path(self, id: str) -> str:
        """Where a device is in the tree of objects. QEMU: its canonical path."""
        if id in self.unnamed:
            number = [each for each in self._devices if each in self.unnamed].index(id)
            return f"/machine/peripheral-anon/device[{number}]"
        return f"/machine/peripheral/{id}"

    @home
    async def close(self) -> None:
        """Unrealize all of them, the last first."""
        async with AsyncExitStack() as stack:
            for device in self._devices.values():
                stack.push_async_callback(self._unrealize, device)

    def _free_name(self, driver: str) -> str:
        number = len(self._devices)
        while (name := f"{driver}{number}") in self._devices:
            number += 1
        return name

    async def _make(self, configured: Configured, name: str, context: AioContext, where: str, bus: str) -> Device[Any]:
        """In ``context``, the device's home, while the main context waits for it."""
        machine = self._machine
        environment = dataclasses.replace(machine.environment, context=context)
        try:
            device = cast("type[Device[Any]]", configured.plugin)(configured.options, name, environment)
            resolve(device, machine.lookup, where)
            machine.board.plug(device, where, bus)
        except (AsyncemuError, OSError):
            raise
        except Exception as error:
            author_errors.raise_as_config_error(where, error)
            raise
        self._devices[name] = device
        try:
            drive = getattr(device, "drive", None)
            if isinstance(drive, BlockNode):
                await move_nodes(drive, context)
            await device.realize()
            machine.net.connected(device)
        except BaseException as error:
            await self._undo_make(device)
            match error:
                case ConfigError():
                    raise ConfigError(f"{where}.{error.where}", error.problem, error.remedy) from error
                case AsyncemuError() | OSError():
                    raise ConfigError(where, str(error)) from error
                case Exception():
                    author_errors.raise_as_config_error(where, error)
            raise
        return device

    async def _undo_make(self, device: Device[Any]) -> None:
        try:
            await self._unrealize(device)
        finally:
            self._machine.board.unplug(device)
            self._forget(device.id)

    def _forget(self, id: str) -> None:
        del self._devices[id]
        self.unnamed.discard(id)
        self.hotplugged.discard(id)

    async def _unrealize(self, device: Device[Any]) -> None:
        try:
            # Asked for now: it may have moved since it was made.
            await device.context.call(device.unrealize)
        except Exception as error:
            author_errors.report_or_raise(f"{device.id}: unrealize", error)

    def _check_homes(self, configured: Configured) -> None:
        """Back ends stay where they are: only block nodes can follow a device."""
        context = self._machine.context_of(home_of(configured))
        for path, _, kind, name in references(configured.options, "device_add"):
            if kind not in ("chardev", "netdev"):
                continue
            try:
                found = self._machine.lookup(kind, name)
            except KeyError:
                continue  # ``resolve`` says it
            if found.context is not context:
                problem = f"{kind} {name!r} lives in {found.context.name}, and the device would not"
                raise ConfigError(path, problem, "give the device the same iothread")
