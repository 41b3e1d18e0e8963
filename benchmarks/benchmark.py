# SPDX-License-Identifier: GPL-2.0-or-later
"""Benchmark: what a module of this folder offers to ``python -m benchmarks``; and the turns both sides take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from benchmarks.goal import Measurement

SampleT = TypeVar("SampleT")

#: Pairs of a measurement unless --runs says otherwise.
DEFAULT_RUNS: Final = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a benchmark hands back; ``peer`` says who was measured beside us, and its version.

    ``remarks`` are lines for the reader of some figures: which ones are not of this run, say.
    """

    peer: str
    measurements: tuple[Measurement, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """``run(runs, note)`` measures ``runs`` pairs and says how far it is by ``note(line)``; raises BenchmarkError."""

    name: str
    summary: str
    run: Callable[[int, Callable[[str], None]], Outcome]


def interleave(
    runs: int, ours: Callable[[], SampleT], peer: Callable[[], SampleT]
) -> tuple[list[SampleT], list[SampleT]]:
    """``runs`` samples of each side, in turns: ours, peer, ours, peer ... What else the host does then hits both."""
    pairs = [(ours(), peer()) for _ in range(runs)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
