# SPDX-License-Identifier: GPL-2.0-or-later
"""What [[netdev]] and [[netfilter]] tables say about each other: a link has two ends, and its filters have an order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asyncemu.errors import ConfigError
from asyncemu.machine.filter_order import insert_filter
from asyncemu.machine.references import references
from asyncemu.net import FilterOptions
from asyncemu.net.filter import MAX_FILTERS
from asyncemu.plugin_options import Configured


def link_errors(devices: Sequence[Configured | None], netdevs: Sequence[Configured | None]) -> Iterator[ConfigError]:
    """A netdev has one peer: a device, or the netdev that it names or that names it."""
    peers: dict[str, str] = {}
    for kind, users in (("device", devices), ("netdev", netdevs)):
        for index, user in enumerate(users):
            if user is None:
                continue
            for path, _, referred, name in references(user.options, f"{kind}[{index}]"):
                if referred != "netdev":
                    continue
                # A netdev that names another one has its own end of that link.
                ends = [name, user.identity] if kind == "netdev" and user.identity else [name]
                for end in ends:
                    first = peers.setdefault(end, path)
                    if first != path or ends.count(end) > 1:
                        yield ConfigError(path, f"netdev {end!r} has a peer already, by {first}", "use another one")
                        break


def netfilter_errors(
    netdevs: Sequence[Configured | None], netfilters: Sequence[Configured | None]
) -> Iterator[ConfigError]:
    """Positions, how many there are, and links with filters at both ends."""
    orders: dict[str, list[str]] = {}
    for index, netfilter in enumerate(netfilters):
        if netfilter is None or not isinstance(netfilter.options, FilterOptions):
            continue
        options = netfilter.options
        order = orders.setdefault(options.netdev, [])
        try:
            insert_filter(order, netfilter.identity, options)
        except ValueError as error:
            if None not in netfilters:
                problem, _, remedy = str(error).partition("; ")
                yield ConfigError(f"netfilter[{index}].position", problem, remedy)
        if len(order) == MAX_FILTERS + 1:
            problem = f"netdev {options.netdev!r} has more than {MAX_FILTERS} filters"
            yield ConfigError(f"netfilter[{index}].netdev", problem, "use fewer")
    for index, netdev in enumerate(netdevs):
        if netdev is None or netdev.identity not in orders:
            continue
        for path, _, kind, name in references(netdev.options, f"netdev[{index}]"):
            if kind == "netdev" and name in orders:
                problem = f"netdev {name!r} and {netdev.identity!r} are the ends of one link, and both have filters"
                yield ConfigError(path, problem, "give all filters to one of the two")
