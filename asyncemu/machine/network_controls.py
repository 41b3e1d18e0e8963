# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be asked of a machine's networks at run time: links, announcements, what cards let in, and user networks.

Cards and netdevs answer at their homes; this is where a monitor asks, from the machine's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

from asyncemu.devices import Device
from asyncemu.loop import AioContext, Clock, HasHome, any_thread, home
from asyncemu.net import NetBackend, NetPort
from asyncemu.net.announce import AnnounceParameters, Announcer
from asyncemu.net.refusals import NotThere, Refused
from asyncemu.net.rx_filter_info import RxFilterInfo

if TYPE_CHECKING:
    from asyncemu.net.user.connections import Connection

ResultT = TypeVar("ResultT")


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


@runtime_checkable
class HasReceiveFilter(Protocol):
    """A card that chooses what it lets in."""

    def rx_filter(self) -> RxFilterInfo:
        """As it stands; the next change is told by an event. At its home."""


@runtime_checkable
class UserNetwork(Protocol):
    """A network of our own with doors of the host. All at its home."""

    def connections(self) -> list[Connection]:
        """What goes on."""

    def statistics(self) -> dict[str, int]:
        """Counters by name."""

    def add_hostfwd(self, text: str) -> None:
        """Open a door. Raises Refused."""

    def remove_hostfwd(self, text: str) -> bool:
        """Close one; False: there is none. Raises Refused."""


class NetworkControls(HasHome):
    """Home: the machine's. Errors are QEMU's, word for word."""

    def __init__(self, context: AioContext, clock: Clock) -> None:
        """``clock``: of announcements."""
        self.context = context
        #: By id, in the order in which they came.
        self.netdevs: dict[str, NetBackend[Any]] = {}
        #: Devices with a netdev, by id.
        self.nics: dict[str, Device[Any]] = {}
        self._clock = clock
        self._announcers: dict[str, Announcer] = {}

    # ---- links

    @home
    async def set_link(self, name: str, up: bool) -> None:
        """Plug the cable in at a netdev or a device, or out. Raises NotThere. QEMU: set_link."""
        nic = self.nics.get(name)
        if isinstance(nic, HasLink):
            await nic.context.call(partial(nic.set_link, up))
            return
        netdev = self.netdevs.get(name) if nic is None else cast("NetBackend[Any]", nic.netdev)  # type: ignore[attr-defined]
        if netdev is None:
            raise NotThere(name)
        for port in netdev.ports:
            end = port if nic is None else port.peer
            if end is not None:
                await at_home(end, partial(end.set_link, up))

    @home
    def announce_self(
        self, parameters: AnnounceParameters | None = None, interfaces: Sequence[str] | None = None, id: str = ""
    ) -> None:
        """Tell the network where the machine is, in several rounds. QEMU: announce-self.

        ``interfaces`` are ids of devices, None: all. A second call with the same ``id`` takes the place of the first.
        """
        nics = [nic for name, nic in self.nics.items() if interfaces is None or name in interfaces]

        def announce_all() -> None:
            for nic in nics:
                if isinstance(nic, Announces):
                    nic.context.schedule_oneshot(nic.announce)

        before = self._announcers.get(id)
        if before is not None:
            before.cancel()
        announcer = Announcer(self.context, self._clock, parameters or AnnounceParameters(), announce_all)
        self._announcers[id] = announcer
        announcer.start()

    @home
    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """No frame goes into the guest or out of it within: it stands still. QEMU: net_vm_change_state_handler."""
        async with AsyncExitStack() as stack:
            for nic in self.nics.values():
                if isinstance(nic, Quiets):
                    await nic.quiesce()
                    stack.push_async_callback(nic.resume)
            yield

    @home
    def cancel_announcers(self) -> None:
        """Announce nothing more."""
        for announcer in self._announcers.values():
            announcer.cancel()

    # ---- what cards let in

    @home
    async def rx_filters(self, name: str | None = None) -> list[RxFilterInfo]:
        """What each card lets in, or that of one name. Raises Refused. QEMU: query-rx-filter."""
        if name is not None and name not in self.nics:
            if name in self.netdevs:
                raise Refused(f"net client({name}) isn't a NIC")
            raise Refused(f"invalid net client name: {name}")
        infos = []
        for nic in [self.nics[name]] if name is not None else list(self.nics.values()):
            if isinstance(nic, HasReceiveFilter):
                infos.append(await _ask(nic.context, nic.rx_filter))
            elif name is not None:
                raise Refused(f"net client({name}) doesn't support rx-filter querying")
        return infos

    # ---- user networks

    @any_thread
    def user_netdevs(self) -> list[str]:
        """Ids of the user networks."""
        return [name for name, netdev in self.netdevs.items() if isinstance(netdev, UserNetwork)]

    @home
    async def connections(self, id: str = "") -> list[Connection]:
        """What goes on in a user network; empty: the first. Raises Refused. QEMU: info usernet."""
        context, network = self._user_network(id)
        return await _ask(context, network.connections)

    @home
    async def statistics(self, id: str = "") -> dict[str, int]:
        """Counters of a user network; empty: the first. Raises Refused."""
        context, network = self._user_network(id)
        return await _ask(context, network.statistics)

    @home
    async def add_hostfwd(self, text: str, id: str = "") -> None:
        """Open a door to a user network's guest; empty: the first. Raises Refused. QEMU: hostfwd_add."""
        context, network = self._user_network(id)
        await _ask(context, partial(network.add_hostfwd, text))

    @home
    async def remove_hostfwd(self, text: str, id: str = "") -> bool:
        """Close the door ``tcp:HOSTADDR:HOSTPORT``; False: there is none. Raises Refused. QEMU: hostfwd_remove."""
        context, network = self._user_network(id)
        return await _ask(context, partial(network.remove_hostfwd, text))

    def _user_network(self, id: str) -> tuple[AioContext, UserNetwork]:
        if not id:
            names = self.user_netdevs()
            if not names:
                raise Refused("user mode network stack not in use")
            id = names[0]
        netdev = self.netdevs.get(id)
        if netdev is None:
            raise Refused(f"unrecognized netdev id '{id}'")
        if not isinstance(netdev, UserNetwork):
            raise Refused("invalid device specified")
        return netdev.context, cast("UserNetwork", netdev)


async def _ask(context: AioContext, question: Callable[[], ResultT]) -> ResultT:
    async def ask() -> ResultT:
        return question()

    return await context.call(ask)


async def at_home(port: NetPort, action: Callable[[], None]) -> None:
    """Do it where the port lives."""
    await _ask(port.context, action)
