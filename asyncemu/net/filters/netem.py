# SPDX-License-Identifier: GPL-2.0-or-later
"""filter-netem: a link as bad as one likes. Delay, jitter, loss, duplicates, damage, another order, a rate.

What tc-netem(8) does on a Linux host, with its words. Each direction has a queue and dice of its own; with the same
``seed`` the same frames have the same fate. Segments are cut first, so that a fate is that of one packet of the wire.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush
from random import Random
from typing import Final

from pydantic import Field, model_validator

from asyncemu.loop import AioContext, Clock
from asyncemu.net.filter import FilterOptions, NetFilter, Way
from asyncemu.net.frame import Frame, Frames
from asyncemu.net.plain_frames import plain

#: Bytes that wait in one direction at most, whatever ``limit`` says.
MAX_BYTES: Final = 32 << 20

_US: Final = 1000
_S: Final = 1_000_000_000


class NetemOptions(FilterOptions):
    """Options of filter-netem. Shares are percentages; times are microseconds of the guest's."""

    delay: int = Field(default=0, ge=0, le=60_000_000, description="Microseconds that each frame is late.")
    jitter: int = Field(default=0, ge=0, le=60_000_000, description="Microseconds around delay, evenly spread.")
    loss: float = Field(default=0, ge=0, le=100, description="Percentage of frames that are lost.")
    duplicate: float = Field(default=0, ge=0, le=100, description="Percentage of frames that come twice.")
    corrupt: float = Field(default=0, ge=0, le=100, description="Percentage of frames with one bit that is wrong.")
    reorder: float = Field(default=0, ge=0, le=100, description="Percentage of frames that are not delayed.")
    rate: int = Field(default=0, ge=0, le=1 << 40, description="Bits a second; 0: no limit.")
    limit: int = Field(default=1000, ge=1, le=100_000, description="Frames that wait at most; more are lost.")
    seed: int = Field(default=0, description="Of the dice.")

    @model_validator(mode="after")
    def _consistent(self) -> NetemOptions:
        if self.reorder and not (self.delay or self.jitter):
            raise ValueError("reorder needs delay")
        return self


class _Link:
    """One direction."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        #: (when it is due, how many went in before it, frame).
        self.late: list[tuple[int, int, Frame]] = []
        #: What is due, and was not taken.
        self.due: deque[Frame] = deque()
        self.nbytes = 0
        self.number = 0
        #: When the last bit is on the wire.
        self.busy_until = 0
        self.sending = False


class Netem(NetFilter[NetemOptions], name="filter-netem"):
    """It takes all frames, as a wire does."""

    description = "A bad link: delay, jitter, loss, duplicates, damage, reordering, rate."

    def __init__(self, options: NetemOptions, id: str, context: AioContext, clock: Clock) -> None:
        super().__init__(options, id, context, clock)
        #: Frames lost by chance, and as there was no room or nobody there; then those with another fate.
        self.lost = 0
        self.overflowed = 0
        self.duplicated = 0
        self.corrupted = 0
        self.reordered = 0
        # Random's own way with text: the two directions have nothing in common.
        self._links = {to_netdev: _Link(Random(f"{options.seed} {to_netdev}")) for to_netdev in (False, True)}
        self._timer = context.timer(clock, self._release)

    async def close(self) -> None:
        self._timer.cancel()

    def pass_on(self, frames: Frames, way: Way) -> int:
        link = self._links[way.to_netdev]
        for frame in frames:
            parts = plain(frame)
            self.lost += not parts
            for part in parts:
                self._meet_fate(part, link)
        self._send_due(way, link)
        self._set_timer()
        return len(frames)

    def status_changed(self) -> None:
        if self.enabled:
            return
        # The link is good again: nothing is late any more.
        self._timer.cancel()
        for way in list(self.ways):
            self._send_due(way, self._links[way.to_netdev], all_of_them=True)
        self._forget((True, False))

    def next_ready(self, way: Way) -> None:
        self._send_due(way, self._links[way.to_netdev])
        way.ready()

    # ---- inside

    def _meet_fate(self, frame: Frame, link: _Link) -> None:
        options, dice = self.options, link.dice
        # As many throws for each frame whatever they give: another loss leaves the other fates as they are.
        lost, twice, damaged, place, first, shift = (dice.random() for _ in range(6))
        if lost * 100 < options.loss:
            self.lost += 1
            return
        if damaged * 100 < options.corrupt and frame.nbytes:
            self.corrupted += 1
            frame = _damaged(frame, int(place * frame.nbytes * 8))
        now = self.clock.now()
        when = now
        if first * 100 < options.reorder:
            self.reordered += 1
        else:
            when += max(0, round((options.delay + options.jitter * (2 * shift - 1)) * _US))
        copies = 1
        if twice * 100 < options.duplicate:
            self.duplicated += 1
            copies = 2
        for _ in range(copies):
            self._enqueue(frame, link, now, when)

    def _enqueue(self, frame: Frame, link: _Link, now: int, when: int) -> None:
        length = frame.nbytes
        if len(link.late) + len(link.due) >= self.options.limit or link.nbytes + length > MAX_BYTES:
            self.overflowed += 1
            return
        if self.options.rate:
            link.busy_until = max(now, link.busy_until) + length * 8 * _S // self.options.rate
            when += link.busy_until - now
        link.nbytes += length
        link.number += 1
        heappush(link.late, (when, link.number, frame.copy()))

    def _send_due(self, way: Way, link: _Link, all_of_them: bool = False) -> None:
        now = self.clock.now()
        while link.late and (all_of_them or link.late[0][0] <= now):
            link.due.append(heappop(link.late)[2])
        if link.sending:
            return
        link.sending = True
        while link.due and way.forward((link.due[0],)):
            link.nbytes -= link.due.popleft().nbytes
        link.sending = False

    def _release(self) -> None:
        for way in list(self.ways):
            self._send_due(way, self._links[way.to_netdev])
        # The link has lost its device.
        self._forget({True, False} - {way.to_netdev for way in self.ways})
        self._set_timer()

    def _forget(self, directions: Iterable[bool]) -> None:
        for to_netdev in directions:
            link = self._links[to_netdev]
            self.overflowed += len(link.late) + len(link.due)
            link.late.clear()
            link.due.clear()
            link.nbytes = 0

    def _set_timer(self) -> None:
        deadlines = [link.late[0][0] for link in self._links.values() if link.late]
        if deadlines:
            self._timer.mod(min(deadlines))


def _damaged(frame: Frame, bit: int) -> Frame:
    data = bytearray(frame.tobytes())
    data[bit >> 3] ^= 1 << (bit & 7)
    return Frame.of(data)
