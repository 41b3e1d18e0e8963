# SPDX-License-Identifier: GPL-2.0-or-later
"""Row: which value of a round that held all sides is ours, and which one is the peer's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from benchmarks.goal import Goal, Measurement


@dataclass(frozen=True, slots=True)
class Row:
    """``ours`` and ``peer`` are attributes of a round, with dots: ``"uvloop.batch.median"``."""

    name: str
    ours: str
    peer: str | None = None
    goal: Goal | None = None
    unit: str = "us"


def measurements(rounds: Sequence[object], rows: Sequence[Row]) -> list[Measurement]:
    """A Measurement for each row over all rounds."""
    return [
        Measurement(row.name, row.unit, _values(rounds, row.ours), _values(rounds, row.peer), row.goal)
        if row.peer
        else Measurement(row.name, row.unit, _values(rounds, row.ours), None, row.goal)
        for row in rows
    ]


def _values(rounds: Sequence[object], path: str) -> tuple[float, ...]:
    return tuple(map(attrgetter(path), rounds))
