# SPDX-License-Identifier: GPL-2.0-or-later
"""Which iothread the objects of a machine live in.

A device says where it lives (``iothread``, ``iothread-vq-mapping``). A back end lives where its user does, and is
opened there: a character back end with the device or the filter that names it, a netdev with its device, with the
netdev that names it (hubport) and with the others of its group (the ports of one hub). What nobody uses lives in the
main loop. Block nodes are opened in the main loop and move to their user, with all that is connected with them.
A chardev that only a QMP monitor uses lives in the monitors' own thread, which is no iothread of the user's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from asyncemu.errors import ConfigError
from asyncemu.machine.references import references
from asyncemu.plugin_options import Configured

#: Stands for the monitors' thread where an iothread is named; no user's iothread has such a name.
MONITOR_IOTHREAD: Final = "#monitors"


@dataclass(frozen=True, slots=True)
class MonitorChardev:
    """A chardev that a monitor speaks over."""

    chardev: str
    #: TOML path of the monitor.
    where: str
    #: QMP, and nobody else can be on the chardev: it may live in the monitors' thread.
    apart: bool
    #: The chardev, when it is made for the monitor.
    own: Configured | None = None


def home_of(device: Configured) -> str:
    """Id of the iothread that a device lives in; empty: the main loop."""
    home_iothread = getattr(device.options, "home_iothread", None)
    return home_iothread() if home_iothread is not None else ""


@dataclass(frozen=True, slots=True)
class Users:
    """All that may refer to back ends; None stands for an entry that is wrong."""

    devices: Sequence[Configured | None] = ()
    netdevs: Sequence[Configured | None] = ()
    netfilters: Sequence[Configured | None] = ()
    #: The chardev that the board's UART has been given.
    serial: str = ""
    monitors: Sequence[MonitorChardev] = ()


class Homes:
    """The home of each back end that has a user, and the ``conflicts`` between users that live apart."""

    def __init__(self, users: Users) -> None:
        self.conflicts: list[ConfigError] = []
        self._groups = _Groups(users.netdevs)
        #: By table and name: (iothread, TOML path) of the first user.
        self._homes: dict[tuple[str, str], tuple[str, str]] = {}
        if users.serial:
            self._use("machine.serial", "", "chardev", users.serial)
        for index, device in enumerate(users.devices):
            if device is not None:
                self._use_all(device, home_of(device), f"device[{index}]")
        # Behind the devices: now it is known where these live.
        for index, netdev in enumerate(users.netdevs):
            if netdev is not None:
                self._use_all(netdev, self.of("netdev", netdev.identity), f"netdev[{index}]")
        for index, netfilter in enumerate(users.netfilters):
            if netfilter is not None:
                home = self.of("netdev", str(getattr(netfilter.options, "netdev", "")))
                self._use_all(netfilter, home, f"netfilter[{index}]")

        for monitor in users.monitors:
            if not monitor.apart:
                self._use(f"{monitor.where}.chardev", "", "chardev", monitor.chardev)
            else:
                self._homes.setdefault(("chardev", monitor.chardev), (MONITOR_IOTHREAD, monitor.where))

    def of(self, kind: str, name: str) -> str:
        """Id of the iothread that the back end lives in; empty: the main loop."""
        return self._homes.get((kind, self._key(kind, name)), ("", ""))[0]

    def _use_all(self, user: Configured, home: str, where: str) -> None:
        for path, _, kind, name in references(user.options, where):
            self._use(path, home, kind, name)

    def _use(self, path: str, home: str, kind: str, name: str) -> None:
        if kind == "iothread":
            return
        first_home, first = self._homes.setdefault((kind, self._key(kind, name)), (home, path))
        if first_home != home:
            problem = f"{kind} {name!r} is used in {_called(home)}, and by {first} in {_called(first_home)}"
            self.conflicts.append(ConfigError(path, problem, "give its users the same iothread"))

    def _key(self, kind: str, name: str) -> str:
        return self._groups.first_of(name) if kind == "netdev" else name


class _Groups:
    """Netdevs that share a home: each group goes by the name of one of them."""

    def __init__(self, netdevs: Sequence[Configured | None]) -> None:
        self._leader: dict[str, str] = {}
        for one, other in _pairs(netdevs):
            first, second = self.first_of(one), self.first_of(other)
            if first != second:
                self._leader[second] = first

    def first_of(self, name: str) -> str:
        """The one that stands for all of those that share a home with ``name``."""
        while name in self._leader:
            name = self._leader[name]
        return name


def _pairs(netdevs: Sequence[Configured | None]) -> Iterator[tuple[str, str]]:
    """Names of two that share a home: one refers to the other, or the options' ``home_group()`` (text) is the same."""
    groups: dict[str, str] = {}
    for netdev in netdevs:
        if netdev is None or not netdev.identity:
            continue
        for _, _, kind, name in references(netdev.options, ""):
            if kind == "netdev":
                yield netdev.identity, name
        home_group = getattr(netdev.options, "home_group", None)
        if home_group is not None:
            yield groups.setdefault(home_group(), netdev.identity), netdev.identity


def _called(iothread: str) -> str:
    return f"iothread {iothread!r}" if iothread else "the main loop"
