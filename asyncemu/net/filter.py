# SPDX-License-Identifier: GPL-2.0-or-later
"""NetFilter: what an author of a filter writes, and its place on a link. QEMU: NetFilterState.

    class Count(NetFilter[FilterOptions], name="filter-count"):
        frames = 0

        def pass_on(self, frames: Frames, way: Way) -> int:
            self.frames += len(frames)
            return way.forward(frames)

A netdev has a list of filters. What it sends passes them from the head to the tail, what is sent to it from the tail to
the head. A filter has a Way for each direction that it looks at. It forwards frames as they are, changed or later;
those that it does not take are the sender's still, as between two ports.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field

from asyncemu import author_errors
from asyncemu.loop import AioContext, Clock, HasHome, any_thread, home
from asyncemu.net.frame import Frames
from asyncemu.net.port import NetPort
from asyncemu.options import Options
from asyncemu.plugins import Plugin, Reference


class FilterOptions(Options):
    """Keys that every filter takes. QEMU: netfilter."""

    netdev: Annotated[str, Reference("netdev"), Field(description="The netdev on whose link it is.")]
    queue: Literal["all", "rx", "tx"] = Field(
        default="all", description="rx: what is sent to the netdev; tx: what the netdev sends."
    )
    status: Literal["on", "off"] = Field(default="on", description="off: frames pass by as if it were not there.")
    position: str = Field(
        default="tail", description="head, tail, or id=FILTER: in front of it or behind it, as insert says."
    )
    insert: Literal["before", "behind"] = Field(default="behind", description="With position = id=FILTER.")


OptionsT = TypeVar("OptionsT", bound=FilterOptions, covariant=True)


class Way:
    """One filter in one direction: where its frames come from and go on to. Home: the filter's."""

    __slots__ = ("_following", "_previous", "_receiver", "_sender", "filter", "to_netdev")

    def __init__(self, filter: NetFilter[Any], sender: NetPort, receiver: NetPort, to_netdev: bool) -> None:
        self.filter = filter
        #: Queue ``rx``: on its way to the netdev, from the guest; else ``tx``, to the guest.
        self.to_netdev = to_netdev
        self._sender = sender
        self._receiver = receiver
        self._previous: Way | None = None
        self._following: Way | None = None

    def take(self, frames: Frames) -> int:
        """Frames that come by: how many were taken."""
        try:
            return self.filter.pass_on(frames, self)
        except Exception as error:
            if not author_errors.report(f"{self.filter.id}: pass_on; the frames are lost", error):
                raise
            return len(frames)

    def forward(self, frames: Frames) -> int:
        """Hand frames on: how many were taken. For the others, ``NetFilter.next_ready`` follows."""
        following = self._following
        if following is not None:
            return following.take(frames)
        if not (self._receiver.link_up and self._sender.link_up):
            return len(frames)
        return self._receiver.receive(frames)

    def ready(self) -> None:
        """Frames may come by again: tell who was refused."""
        previous = self._previous
        if previous is not None:
            previous.filter.next_ready(previous)
        else:
            self._sender.peer_ready()


class NetFilter(Plugin[OptionsT], HasHome):
    """Base of all filters. All methods run at home, which is the netdev's."""

    kind = "netfilter"

    def __init__(self, options: OptionsT, id: str, context: AioContext, clock: Clock) -> None:
        self.options = options
        self.id = id
        self.context = context
        #: Of the guest: what a filter holds back stands still with the machine.
        self.clock = clock
        self.enabled = options.status == "on"
        #: For each direction that it looks at, while it is enabled.
        self.ways: list[Way] = []

    @home
    async def open(self) -> None:
        """Get ready, before frames come by. Raises ConfigError or NetError, and has given back everything then."""

    @home
    async def close(self) -> None:
        """Give everything back; nothing comes by any more."""

    @home
    def pass_on(self, frames: Frames, way: Way) -> int:
        """Frames that come by: how many were taken, of which ``way.forward`` may be one."""
        return way.forward(frames)

    @home
    def status_changed(self) -> None:
        """``enabled`` has changed: what is held back may go on now. Its ways are those from before."""

    @home
    def next_ready(self, way: Way) -> None:
        """``way.forward`` takes frames again, after it had not taken all."""
        way.ready()

    @any_thread
    def __repr__(self) -> str:
        return f"<NetFilter {self.id} ({self.name})>"


#: Filters of one link at most: frames pass them one within the other.
MAX_FILTERS: Final = 64


def place(netdev: NetPort, filters: Sequence[NetFilter[Any]]) -> None:
    """Make ``filters``, from the head to the tail, those of the link of ``netdev``; at home.

    Also to be called when one has been enabled or disabled, or the link has got another peer.
    """
    for each in filters:
        each.ways = []
    device = netdev.peer
    if device is None:
        netdev.first_filter = netdev.last_filter = None
        return
    on = [each for each in filters if each.enabled]
    sent = _ways([each for each in on if each.options.queue != "rx"], netdev, device, False)
    received = _ways([each for each in reversed(on) if each.options.queue != "tx"], device, netdev, True)
    netdev.first_filter, device.last_filter = (sent[0], sent[-1]) if sent else (None, None)
    device.first_filter, netdev.last_filter = (received[0], received[-1]) if received else (None, None)


def _ways(filters: Sequence[NetFilter[Any]], sender: NetPort, receiver: NetPort, to_netdev: bool) -> list[Way]:
    ways = [Way(each, sender, receiver, to_netdev) for each in filters]
    for before, behind in pairwise(ways):
        before._following, behind._previous = behind, before
    for way in ways:
        way.filter.ways.append(way)
    return ways
