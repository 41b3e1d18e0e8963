# SPDX-License-Identifier: GPL-2.0-or-later
"""What is in a trace: who took how long, and who held a loop up. Pure functions from tracks to values; see summary_text
for how they are shown.

Total and self time. A span's total is its length; its self time is what is left without the spans directly within it.
Self times of a thread add up to the time it was in any span, so they are what shares are made of.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from asyncemu.tracing.categories import FENCE, HALT, LOOP, POLL, VCPU
from asyncemu.tracing.nesting import nested
from asyncemu.tracing.recorder import INSTANT, Track

#: Time in these is not work.
IDLE: Final = frozenset({HALT, FENCE, POLL})

#: What a thread may be, in the order in which threads are shown; "" for workers and others.
_KINDS: Final = ("loop", "vCPU", "")

#: A span within another is to blame for it from this share on: half.
_BLAME: Final = 2


@dataclass(slots=True)
class Group:
    """All spans of one category and name on one track. Times in ns."""

    category: str
    name: str
    self_ns: int = 0
    #: In ascending order.
    durations: array[int] = field(default_factory=lambda: array("Q"))

    @property
    def count(self) -> int:
        """How many spans there were."""
        return len(self.durations)

    @property
    def total_ns(self) -> int:
        """Their lengths together, in ns; nested spans included."""
        return sum(self.durations)

    @property
    def mean_ns(self) -> int:
        return self.total_ns // self.count

    @property
    def max_ns(self) -> int:
        return self.durations[-1]

    def percentile(self, percent: int) -> int:
        """The shortest duration that is not exceeded by ``percent`` % of all (nearest rank)."""
        return self.durations[max(-(-self.count * percent // 100), 1) - 1]

    def histogram(self) -> Counter[int]:
        """How many took how long: bucket b holds durations of 2**(b-1) to 2**b - 1 ns, bucket 0 those of 0 ns."""
        return Counter(duration.bit_length() for duration in self.durations)


@dataclass(frozen=True, slots=True)
class Blame:
    """A span, and the one within it that took at least half of it, if any."""

    category: str
    name: str
    duration_ns: int
    within: Blame | None

    def chain(self) -> list[Blame]:
        """From the outermost to the innermost."""
        chain = []
        link: Blame | None = self
        while link is not None:
            chain.append(link)
            link = link.within
        return chain


@dataclass(frozen=True, slots=True)
class Hold:
    """A loop that did one thing for long. ``at_ns`` is relative to the trace's begin."""

    track: str
    at_ns: int
    blame: Blame


@dataclass(slots=True)
class TrackSummary:
    """What one thread did in ``length_ns``: the trace, or the part of it that the thread's ring still held."""

    name: str
    #: "loop", "vCPU" or "" for other threads.
    kind: str
    length_ns: int
    events: int
    dropped: int
    #: By self time, the longest first.
    groups: list[Group]
    #: How many there were of each category and name.
    instants: Counter[tuple[str, str]]
    #: Self time of each category.
    categories: Counter[str]

    @property
    def busy_ns(self) -> int:
        """Time in spans other than waiting and polling."""
        return sum(time for category, time in self.categories.items() if category not in IDLE)


@dataclass(frozen=True, slots=True)
class Summary:
    """Of a whole trace."""

    length_ns: int
    tracks: list[TrackSummary]
    #: Of all loops, the longest first.
    holds: list[Hold]


def summarize(tracks: Sequence[Track], holds: int) -> Summary:
    """Summarize ``tracks``, with up to ``holds`` of the longest callbacks of loops."""
    begin = min((event[2] for track in tracks for event in track.events), default=0)
    end = max((max(event[2:]) for track in tracks for event in track.events), default=0)
    analyses = [_Analysis(track, begin, end, holds) for track in tracks]
    found = [hold for analysis in analyses for hold in analysis.holds()]
    found.sort(key=lambda hold: (-hold.blame.duration_ns, hold.at_ns))
    summaries = sorted((analysis.summary for analysis in analyses), key=lambda track: _KINDS.index(track.kind))
    return Summary(end - begin, summaries, found[:holds])


class _Open:
    """A span while those within it are looked at."""

    __slots__ = ("category", "duration", "longest", "name", "self_ns", "start")

    def __init__(self, category: str, name: str, start: int, duration: int) -> None:
        self.category = category
        self.name = name
        self.start = start
        self.duration = self.self_ns = duration
        self.longest: Blame | None = None


class _Analysis:
    """One walk over a track."""

    def __init__(self, track: Track, begin: int, end: int, holds: int) -> None:
        self._begin = begin
        self._wanted = holds
        # A heap with the shortest on top: duration, a number that no other has, start, who.
        self._holds: list[tuple[int, int, int, Blame]] = []
        self._seen = 0
        self._groups: dict[tuple[str, str], Group] = {}
        self._categories: Counter[str] = Counter()
        instants: Counter[tuple[str, str]] = Counter()
        stack: list[_Open] = []
        for depth, (category, name, start, stop) in nested(track.events):
            while len(stack) > depth:
                self._close(stack.pop(), stack)
            if stop == INSTANT:
                instants[category, name] += 1
            else:
                stack.append(_Open(category, name, start, stop - start))
        while stack:
            self._close(stack.pop(), stack)
        for group in self._groups.values():
            group.durations = array("Q", sorted(group.durations))
        # A ring that has dropped nothing has seen everything.
        seen_from = min((event[2] for event in track.events), default=begin) if track.dropped else begin
        self.summary = TrackSummary(
            track.name,
            self._kind(),
            end - seen_from,
            len(track.events),
            track.dropped,
            sorted(self._groups.values(), key=lambda group: (-group.self_ns, group.category, group.name)),
            instants,
            self._categories,
        )

    def holds(self) -> list[Hold]:
        """The longest callbacks, if the track is a loop's."""
        if self.summary.kind != "loop":
            return []
        return [Hold(self.summary.name, start - self._begin, blame) for _, _, start, blame in self._holds]

    def _kind(self) -> str:
        if any(category in self._categories for category in VCPU):
            return "vCPU"
        return "loop" if any(category in self._categories for category in LOOP) else ""

    def _close(self, span: _Open, stack: list[_Open]) -> None:
        group = self._groups.get((span.category, span.name))
        if group is None:
            group = self._groups[span.category, span.name] = Group(span.category, span.name)
        group.durations.append(span.duration)
        group.self_ns += span.self_ns
        self._categories[span.category] += span.self_ns
        longest = span.longest
        if longest is not None and longest.duration_ns * _BLAME < span.duration:
            longest = None
        blame = Blame(span.category, span.name, span.duration, longest)
        if stack:
            outer = stack[-1]
            outer.self_ns -= span.duration
            if outer.longest is None or outer.longest.duration_ns < span.duration:
                outer.longest = blame
        elif span.category not in IDLE and self._wanted:
            # The number: of two with the same duration the earlier one stays.
            self._seen += 1
            entry = (span.duration, -self._seen, span.start, blame)
            if len(self._holds) < self._wanted:
                heapq.heappush(self._holds, entry)
            else:
                heapq.heappushpop(self._holds, entry)
