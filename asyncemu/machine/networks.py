# SPDX-License-Identifier: GPL-2.0-or-later
"""The networks of a machine: its netdevs with their filters, and what is plugged into them.

Netdevs are made all together, as they may refer to each other, and opened before the devices; a device that has a
``netdev`` connects its ports to it in ``realize``, and the filters take their places then. Later they come and go one
by one. What can be asked of them at run time is in network_controls.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from asyncemu import author_errors
from asyncemu.devices import Device
from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.loop import AioContext, Clocks, any_thread, home
from asyncemu.machine.filter_order import insert_filter
from asyncemu.machine.network_controls import NetworkControls, at_home
from asyncemu.machine.references import references, resolve
from asyncemu.net import FilterOptions, NetBackend, NetFilter, disconnect, place
from asyncemu.net.filter import MAX_FILTERS
from asyncemu.net.refusals import NotThere, Refused
from asyncemu.plugin_options import Configured

if TYPE_CHECKING:
    from asyncemu.events import Event
    from asyncemu.machine.homes import Homes

log = logging.getLogger("asyncemu.machine")

#: Where messages say that something is, which is not in vm.toml.
NETDEV_ADD: Final = "netdev_add"


class Networks(NetworkControls):
    """Home: the machine's. ``emit`` takes events from any thread."""

    def __init__(
        self,
        context: AioContext,
        clocks: Clocks,
        context_of: Callable[[str], AioContext],
        lookup: Callable[[str, str], Any],
        emit: Callable[[Event], object],
    ) -> None:
        super().__init__(context, clocks.realtime)
        self.filters: dict[str, NetFilter[Any]] = {}
        self._clocks = clocks
        self._context_of = context_of
        self._lookup = lookup
        self._emit = emit
        #: Netdevs in the order in which they were opened; and the filters of each, from the head to the tail.
        self._opened: list[NetBackend[Any]] = []
        self._orders: dict[str, list[str]] = {}

    # ---- building

    @home
    async def add_netdevs(
        self, netdevs: Sequence[Configured], devices: Sequence[Configured], homes: Homes, undo: AsyncExitStack
    ) -> None:
        """Make and open all of them; ``undo`` gets what closes them. Raises ConfigError."""
        undo.callback(self.cancel_announcers)
        undo.push_async_callback(self._close_netdevs)
        wheres: dict[str, str] = {}
        for index, configured in enumerate(netdevs):
            where, name = f"netdev[{index}]", configured.identity
            if not name:
                raise ConfigError(f"{where}.id", "is missing")
            if name in self.netdevs:
                raise ConfigError(f"{where}.id", f"{name!r} is taken already")
            self.netdevs[name] = self._make(configured, self._context_of(homes.of("netdev", name)), where)
            wheres[name] = where
        for index, device in enumerate(devices):
            self._spread(device, f"device[{index}]")
        for netdev in self.netdevs.values():
            resolve(netdev, self._lookup, wheres[netdev.id])
        # A netdev that names another one connects to it when it is opened: that one is to be open by then.
        for netdev in sorted(self.netdevs.values(), key=_names_another):
            self._opened.append(netdev)
            await _open(netdev, wheres[netdev.id])

    def _make(self, configured: Configured, context: AioContext, where: str) -> NetBackend[Any]:
        plugin = cast("type[NetBackend[Any]]", configured.plugin)
        try:
            netdev = plugin(configured.options, configured.identity, context, self._clocks)
        except Exception as error:
            author_errors.raise_as_config_error(where, error)
            raise
        netdev.emit = self._emit
        return netdev

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
    async def add_filters(self, netfilters: Sequence[Configured], undo: AsyncExitStack) -> None:
        """Make and open all of them; ``undo`` gets what closes them. Raises ConfigError."""
        undo.push_async_callback(self._close_filters)
        for index, configured in enumerate(netfilters):
            where, name = f"netfilter[{index}]", configured.identity
            if not name:
                raise ConfigError(f"{where}.id", "is missing")
            if name in self.filters:
                raise ConfigError(f"{where}.id", f"{name!r} is taken already")
            await self._add_filter(configured, where)

    async def _add_filter(self, configured: Configured, where: str) -> None:
        plugin = cast("type[NetFilter[Any]]", configured.plugin)
        options = cast("FilterOptions", configured.options)
        netdev = self.netdevs.get(options.netdev)
        if netdev is None:
            raise ConfigError(f"{where}.netdev", f"no netdev has the id {options.netdev!r}")
        if len(netdev.ports) > 1:
            # As in QEMU: a filter sees all frames of its link, in their order.
            raise ConfigError(f"{where}.netdev", f"netdev {netdev.id!r} has several queues", "use one without")
        try:
            netfilter = plugin(options, configured.identity, netdev.context, self._clocks.virtual)
        except Exception as error:
            author_errors.raise_as_config_error(where, error)
            raise
        resolve(netfilter, self._lookup, where)
        self._check_homes(netfilter, where)
        order = self._orders.setdefault(netdev.id, [])
        if len(order) >= MAX_FILTERS:
            raise ConfigError(f"{where}.netdev", f"netdev {netdev.id!r} has {MAX_FILTERS} filters", "use fewer")
        try:
            insert_filter(order, configured.identity, options)
        except ValueError as error:
            raise ConfigError(f"{where}.position", str(error)) from error
        self.filters[netfilter.id] = netfilter
        try:
            await _open(netfilter, where)
        except BaseException:
            self._forget_filter(netfilter)
            raise
        await self._place(netdev)

    def _check_homes(self, netfilter: NetFilter[Any], where: str) -> None:
        """What a filter uses can't move to it. ConfigError: it lives elsewhere."""
        for path, _, kind, name in references(netfilter.options, where):
            context = _home_of(self._lookup(kind, name))
            if context is not None and context is not netfilter.context:
                homes = f"{context.name}, and netdev {netfilter.options.netdev!r} in {netfilter.context.name}"
                raise ConfigError(path, f"{kind} {name!r} lives in {homes}", "use another one")

    def _forget_filter(self, netfilter: NetFilter[Any]) -> None:
        del self.filters[netfilter.id]
        self._orders[netfilter.options.netdev].remove(netfilter.id)

    @any_thread
    def connected(self, device: Device[Any]) -> None:
        """A device is realized, and its ports are connected if it has a netdev. At the device's home."""
        netdev = getattr(device, "netdev", None)
        if isinstance(netdev, NetBackend):
            self.nics[device.id] = device
            if self._orders.get(netdev.id):
                place(netdev, self._filters_of(netdev))

    @any_thread
    def disconnected(self, device: Device[Any]) -> None:
        """A device is unrealized, and gone for good."""
        self.nics.pop(device.id, None)

    @home
    def warn_of_loose_ends(self) -> None:
        """Once all is built: say which netdevs nobody uses."""
        for netdev in self.netdevs.values():
            if netdev.peer is None:
                log.warning("netdev %s has no peer", netdev.id)

    # ---- at run time

    @home
    async def add_netdev(self, configured: Configured, iothread: str = "") -> None:
        """Make and open one more; it lives where those do that it has to live with, else in ``iothread``.

        Raises Refused, ConfigError. QEMU: netdev_add.
        """
        name = configured.identity
        if name in self.netdevs:
            raise Refused(f"Duplicate ID '{name}'")
        netdev = self._make(configured, self._home_for(configured, iothread), NETDEV_ADD)
        resolve(netdev, self._lookup, NETDEV_ADD)
        # Before it is open, so that no other one takes the name meanwhile.
        self.netdevs[name] = netdev
        self._opened.append(netdev)
        try:
            await _open(netdev, NETDEV_ADD)
        except BaseException:
            self._opened.remove(netdev)
            del self.netdevs[name]
            raise

    def _home_for(self, configured: Configured, iothread: str) -> AioContext:
        for _, _, kind, name in references(configured.options, ""):
            try:
                found = self._lookup(kind, name)
            except KeyError:
                # ``resolve`` says so.
                continue
            context = _home_of(found)
            if context is not None:
                return context
        group = _group_of(configured.options)
        for netdev in self.netdevs.values():
            if group is not None and _group_of(netdev.options) == group:
                return netdev.context
        return self._context_of(iothread)

    @home
    async def remove_netdev(self, name: str) -> None:
        """Close it, with its filters. Whoever was connected to it stays, without a link. Raises NotThere.

        QEMU: netdev_del.
        """
        netdev = self.netdevs.pop(name, None)
        if netdev is None:
            raise NotThere(name)
        self._opened.remove(netdev)
        for netfilter in self._filters_of(netdev):
            await self._remove_filter(netfilter, netdev)
        self._orders.pop(name, None)
        for port in netdev.ports:
            await at_home(port, partial(disconnect, port))
        await netdev.context.call(netdev.close)

    @home
    def order(self, netdev: str) -> list[str]:
        """Ids of a netdev's filters, from the head to the tail."""
        return list(self._orders.get(netdev, ()))

    @home
    async def add_filter(self, configured: Configured) -> None:
        """One more. Raises Refused, ConfigError. QEMU: object-add."""
        if configured.identity in self.filters:
            raise Refused(f"Duplicate ID '{configured.identity}'")
        await self._add_filter(configured, "object-add")

    @home
    async def remove_filter(self, name: str) -> None:
        """Frames pass without it from now on. Raises NotThere. QEMU: object-del."""
        netfilter = self.filters.get(name)
        if netfilter is None:
            raise NotThere(name)
        await self._remove_filter(netfilter, self.netdevs[netfilter.options.netdev])

    async def _remove_filter(self, netfilter: NetFilter[Any], netdev: NetBackend[Any]) -> None:
        self._forget_filter(netfilter)
        await at_home(netdev, partial(_place_without, netdev, self._filters_of(netdev), netfilter))
        await _close_filter(netfilter)

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

    # ---- inside

    def _filters_of(self, netdev: NetBackend[Any]) -> list[NetFilter[Any]]:
        return [self.filters[name] for name in self._orders.get(netdev.id, ())]

    async def _place(self, netdev: NetBackend[Any]) -> None:
        if self._orders.get(netdev.id):
            await at_home(netdev, partial(place, netdev, self._filters_of(netdev)))

    async def _close_netdevs(self) -> None:
        """The last one first, and all of them, whatever one raises."""
        async with AsyncExitStack() as closing:
            for netdev in self._opened:
                closing.push_async_callback(netdev.context.call, netdev.close)

    async def _close_filters(self) -> None:
        async with AsyncExitStack() as closing:
            for netfilter in self.filters.values():
                closing.push_async_callback(_close_filter, netfilter)
            for netdev in self.netdevs.values():
                if self._orders.get(netdev.id):
                    closing.push_async_callback(at_home, netdev, partial(place, netdev, ()))


async def _open(part: NetBackend[Any] | NetFilter[Any], where: str) -> None:
    opening: Callable[[], Awaitable[None]] = part.open
    try:
        await part.context.call(opening)
    except ConfigError as error:
        # It names itself by its id, and an option of its own behind that; in vm.toml both are found elsewhere.
        key = error.where.removeprefix(part.id)
        raise ConfigError(where + key if key.startswith(".") else where, error.problem, error.remedy) from error
    except (AsyncemuError, OSError) as error:
        raise ConfigError(where, str(error)) from error
    except Exception as error:
        author_errors.raise_as_config_error(where, error)
        raise


async def _close_filter(netfilter: NetFilter[Any]) -> None:
    try:
        await netfilter.context.call(netfilter.close)
    except Exception as error:
        author_errors.report_or_raise(f"{netfilter.id}: close", error)


def _place_without(netdev: NetBackend[Any], filters: Sequence[NetFilter[Any]], without: NetFilter[Any]) -> None:
    without.ways = []
    place(netdev, filters)


def _home_of(found: object) -> AioContext | None:
    """Of what an option names."""
    context = getattr(found, "context", None)
    return context if isinstance(context, AioContext) else None


def _group_of(options: object) -> str | None:
    """See Homes: those with the same text live together."""
    home_group: Callable[[], str] | None = getattr(options, "home_group", None)
    return home_group() if home_group is not None else None


def _names_another(netdev: NetBackend[Any]) -> bool:
    return any(kind == "netdev" for _, _, kind, _ in references(netdev.options, ""))
