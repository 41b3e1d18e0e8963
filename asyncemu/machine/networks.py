# SPDX-License-Identifier: GPL-2.0-or-later
"""The networks of a machine: its netdevs with their filters, and what is plugged into them.

Netdevs are made all together, as they may refer to each other, and opened before the devices; a device that has a
``netdev`` connects its ports to it in ``realize``, and the filters take their places then.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from asyncemu.devices import Device
from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.loop import AioContext, Clocks, any_thread, home
from asyncemu.machine.filter_order import insert_filter
from asyncemu.machine.references import references, resolve
from asyncemu.net import FilterOptions, NetBackend, NetFilter, NetPort, place
from asyncemu.net.announce import AnnounceParameters, Announcer
from asyncemu.plugin_options import Configured

if TYPE_CHECKING:
    from asyncemu.machine.homes import Homes

log = logging.getLogger("asyncemu.machine")


@runtime_checkable
class Announces(Protocol):
    """A device that can tell the network, or its guest to tell it, where the machine is."""

    def announce(self) -> None:
        """Once. At its home."""


@runtime_checkable
class Quiets(Protocol):
    """A device that can leave its network alone for a while. Any thread."""

    async def quiesce(self) -> None:
        """Neither take frames nor hand any over until ``resume``. Nests."""

    async def resume(self) -> None:
        """The other end."""


@runtime_checkable
class HasLink(Protocol):
    """A device that has more to do when its cable is plugged in or out than its ports have."""

    async def set_link(self, up: bool) -> None:
        """See Networks.set_link. At its home."""


class Networks:
    """Home: the machine's."""

    def __init__(self, context: AioContext, clocks: Clocks, context_of: Callable[[str], AioContext]) -> None:
        self.context = context
        self.netdevs: dict[str, NetBackend[Any]] = {}
        self.filters: dict[str, NetFilter[Any]] = {}
        self._clocks = clocks
        self._context_of = context_of
        #: Devices with a netdev, by id; and the filters of each netdev, from the head to the tail.
        self._nics: dict[str, Device[Any]] = {}
        self._orders: dict[str, list[str]] = {}
        self._announcers: dict[str, Announcer] = {}

    # ---- building

    @home
    async def add_netdevs(
        self,
        netdevs: Sequence[Configured],
        devices: Sequence[Configured],
        homes: Homes,
        lookup: Callable[[str, str], Any],
        undo: AsyncExitStack,
    ) -> None:
        """Make and open all of them; ``undo`` gets what closes them. Raises ConfigError."""
        undo.callback(self._cancel_announcers)
        for index, configured in enumerate(netdevs):
            where, name = f"netdev[{index}]", configured.identity
            if not name:
                raise ConfigError(f"{where}.id", "is missing")
            if name in self.netdevs:
                raise ConfigError(f"{where}.id", f"{name!r} is taken already")
            context = self._context_of(homes.of("netdev", name))
            plugin = cast("type[NetBackend[Any]]", configured.plugin)
            try:
                self.netdevs[name] = plugin(configured.options, name, context, self._clocks)
            except ValueError as error:
                raise ConfigError(where, str(error)) from error
        for index, device in enumerate(devices):
            self._spread(device, f"device[{index}]")
        wheres = {id(netdev): f"netdev[{index}]" for index, netdev in enumerate(self.netdevs.values())}
        for netdev in self.netdevs.values():
            resolve(netdev, lookup, wheres[id(netdev)])
        # A netdev that names another one connects to it when it is opened: that one is to be open by then.
        for netdev in sorted(self.netdevs.values(), key=_names_another):
            undo.push_async_callback(netdev.context.call, netdev.close)
            await self._open(netdev, wheres[id(netdev)])

    def _spread(self, device: Configured, where: str) -> None:
        """Give the netdev's ports the homes of the device's queue pairs, where these are several."""
        pair_iothreads = getattr(device.options, "pair_iothreads", None)
        netdev = self.netdevs.get(str(getattr(device.options, "netdev", "")))
        if pair_iothreads is None or netdev is None:
            return
        try:
            names = pair_iothreads(len(netdev.ports))
        except ValueError as error:
            raise ConfigError(f"{where}.iothread-vq-mapping", str(error)) from error
        for port, name in zip(netdev.ports, names, strict=True):
            port.context = self._context_of(name)

    @home
    async def add_filters(
        self, netfilters: Sequence[Configured], lookup: Callable[[str, str], Any], undo: AsyncExitStack
    ) -> None:
        """Make and open all of them; ``undo`` gets what closes them. Raises ConfigError."""
        for index, configured in enumerate(netfilters):
            where, name = f"netfilter[{index}]", configured.identity
            if not name:
                raise ConfigError(f"{where}.id", "is missing")
            if name in self.filters:
                raise ConfigError(f"{where}.id", f"{name!r} is taken already")
            plugin = cast("type[NetFilter[Any]]", configured.plugin)
            options = cast("FilterOptions", configured.options)
            netdev = self.netdevs.get(options.netdev)
            if netdev is None:
                raise ConfigError(f"{where}.netdev", f"no netdev has the id {options.netdev!r}")
            if len(netdev.ports) > 1:
                # As in QEMU: a filter sees all frames of its link, in their order.
                raise ConfigError(f"{where}.netdev", f"netdev {netdev.id!r} has several queues", "use one without")
            netfilter = plugin(options, name, netdev.context, self._clocks.virtual)
            resolve(netfilter, lookup, where)
            try:
                insert_filter(self._orders.setdefault(netdev.id, []), name, options)
            except ValueError as error:
                raise ConfigError(f"{where}.position", str(error)) from error
            self.filters[name] = netfilter
            undo.push_async_callback(netdev.context.call, netfilter.close)
            await self._open(netfilter, where)
        for netdev in self.netdevs.values():
            undo.push_async_callback(self._take_filters_away, netdev)
            await self._place(netdev)

    async def _open(self, part: NetBackend[Any] | NetFilter[Any], where: str) -> None:
        try:
            await part.context.call(part.open)
        except ConfigError as error:
            # It names itself by its id, which is not where the user finds it in vm.toml.
            raise ConfigError(where, error.problem, error.remedy) from error
        except (AsyncemuError, OSError, ValueError) as error:
            raise ConfigError(where, str(error)) from error

    @any_thread
    def connected(self, device: Device[Any]) -> None:
        """A device is realized, and its ports are connected if it has a netdev. At the device's home."""
        netdev = getattr(device, "netdev", None)
        if isinstance(netdev, NetBackend):
            self._nics[device.id] = device
            if self._orders.get(netdev.id):
                place(netdev, self._filters_of(netdev))

    @home
    def warn_of_loose_ends(self) -> None:
        """Once all is built: say which netdevs nobody uses."""
        for netdev in self.netdevs.values():
            if netdev.peer is None:
                log.warning("netdev %s has no peer", netdev.id)

    # ---- at run time

    @home
    async def set_link(self, name: str, up: bool) -> None:
        """Plug the cable in at a netdev or a device, or out. KeyError: nothing is called that. QEMU: set_link."""
        nic = self._nics.get(name)
        if isinstance(nic, HasLink):
            await nic.context.call(partial(nic.set_link, up))
            return
        netdev = self.netdevs[name] if nic is None else cast("NetBackend[Any]", nic.netdev)  # type: ignore[attr-defined]
        for port in netdev.ports:
            end = port if nic is None else port.peer
            if end is not None:
                await _at_home(end, partial(end.set_link, up))

    @home
    async def set_filter(self, name: str, on: bool) -> None:
        """Let frames pass a filter, or pass it by. KeyError: nothing is called that. QEMU: a filter's ``status``."""
        netfilter = self.filters[name]
        if netfilter.enabled is not on:
            netfilter.enabled = on

            async def change() -> None:
                netfilter.status_changed()

            await netfilter.context.call(change)
            await self._place(self.netdevs[netfilter.options.netdev])

    @home
    def announce_self(
        self, parameters: AnnounceParameters | None = None, interfaces: Sequence[str] | None = None, id: str = ""
    ) -> None:
        """Tell the network where the machine is, in several rounds. QEMU: announce-self.

        ``interfaces`` are ids of devices, None: all. A second call with the same ``id`` takes the place of the first.
        """
        nics = [nic for name, nic in self._nics.items() if interfaces is None or name in interfaces]

        def announce_all() -> None:
            for nic in nics:
                if isinstance(nic, Announces):
                    nic.context.schedule_oneshot(nic.announce)

        before = self._announcers.get(id)
        if before is not None:
            before.cancel()
        announcer = Announcer(self.context, self._clocks.realtime, parameters or AnnounceParameters(), announce_all)
        self._announcers[id] = announcer
        announcer.start()

    @home
    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """No frame goes into the guest or out of it within: it stands still. QEMU: net_vm_change_state_handler."""
        async with AsyncExitStack() as stack:
            for nic in self._nics.values():
                if isinstance(nic, Quiets):
                    await nic.quiesce()
                    stack.push_async_callback(nic.resume)
            yield

    # ---- inside

    def _filters_of(self, netdev: NetBackend[Any]) -> list[NetFilter[Any]]:
        return [self.filters[name] for name in self._orders.get(netdev.id, ())]

    async def _place(self, netdev: NetBackend[Any]) -> None:
        if self._orders.get(netdev.id):
            await _at_home(netdev, partial(place, netdev, self._filters_of(netdev)))

    async def _take_filters_away(self, netdev: NetBackend[Any]) -> None:
        if self._orders.get(netdev.id):
            await _at_home(netdev, partial(place, netdev, ()))

    def _cancel_announcers(self) -> None:
        for announcer in self._announcers.values():
            announcer.cancel()


def _names_another(netdev: NetBackend[Any]) -> bool:
    return any(kind == "netdev" for _, _, kind, _ in references(netdev.options, ""))


async def _at_home(port: NetPort, action: Callable[[], None]) -> None:
    async def act() -> None:
        action()

    await port.context.call(act)
