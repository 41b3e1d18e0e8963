# SPDX-License-Identifier: GPL-2.0-or-later
"""Goal and Measurement: what was measured on both sides, and whether that is good enough."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

SampleT = TypeVar("SampleT")


@dataclass(frozen=True, slots=True)
class Goal:
    """At most ``limit``: of the ratio of medians ours/peer, or, with ``absolute``, of our median itself."""

    limit: float
    absolute: bool = False


@dataclass(frozen=True, slots=True)
class Spread:
    """Smallest, median and largest of some samples."""

    minimum: float
    median: float
    maximum: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """ValueError without a sample."""
        if not samples:
            raise ValueError("no sample")
        return cls(min(samples), statistics.median(samples), max(samples))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One quantity, smaller is better, taken on both sides in turns: ``ours[i]`` and ``peer[i]`` are a pair.

    ``peer`` is None where nobody else has such a thing. Without a goal it is shown for information. ValueError unless
    there are pairs, or when a goal needs a peer that there is not.
    """

    name: str
    unit: str
    ours: tuple[float, ...]
    peer: tuple[float, ...] | None
    goal: Goal | None = None

    def __post_init__(self) -> None:
        if not self.ours:
            raise ValueError(f"{self.name}: no sample of ours")
        if self.peer is not None and len(self.ours) != len(self.peer):
            raise ValueError(f"{self.name}: {len(self.ours)} samples of ours and {len(self.peer)} of the peer's")
        if self.peer is None and self.goal is not None and not self.goal.absolute:
            raise ValueError(f"{self.name}: a goal relative to no peer")

    @property
    def ratio(self) -> float:
        """Median of ours by median of the peer's; not a number without a peer."""
        return math.nan if self.peer is None else _divide(statistics.median(self.ours), statistics.median(self.peer))

    @property
    def pair_ratios(self) -> tuple[float, ...]:
        """Ours by the peer's, for each pair: how much of the ratio is noise. None at all without a peer."""
        return () if self.peer is None else tuple(map(_divide, self.ours, self.peer))

    @property
    def reached(self) -> bool:
        """Is the goal reached? True without one."""
        if self.goal is None:
            return True
        value = statistics.median(self.ours) if self.goal.absolute else self.ratio
        return value <= self.goal.limit


def compare(
    name: str,
    unit: str,
    ours: Sequence[SampleT],
    peer: Sequence[SampleT],
    value: Callable[[SampleT], float],
    goal: Goal | None = None,
) -> Measurement:
    """The Measurement of one ``value`` of samples that hold several."""
    return Measurement(name, unit, tuple(map(value, ours)), tuple(map(value, peer)), goal)


def _divide(ours: float, peer: float) -> float:
    # An idle peer may have used no measurable CPU time at all.
    return ours / peer if peer else float("inf") if ours else 1.0
