# SPDX-License-Identifier: GPL-2.0-or-later
"""How the pieces of an event loop are timed: on a fresh loop, without garbage collection, in batches.

A batch is so much work that the clock's own 0.1 µs does not matter. The first batches of a run are thrown away: CPython
specialises bytecode during the first calls. A run gives the median and the 99th percentile over its batches.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final, TypeVar

from asyncemu.loop.main_loop import SWITCH_INTERVAL

ResultT = TypeVar("ResultT")
NewLoop = Callable[[], asyncio.AbstractEventLoop]

#: Batches that a run throws away. Arbitrary; specialisation takes eight calls.
WARM_UP: Final = 20


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one run, in µs."""

    median: float
    p99: float

    @classmethod
    def of(cls, samples_ns: Sequence[float], each: int = 1) -> Timing:
        """Of samples that took ``each`` operations. ValueError without a sample."""
        return cls(percentile(samples_ns, 0.5) / each / 1000, percentile(samples_ns, 0.99) / each / 1000)


def percentile(samples: Sequence[float], part: float) -> float:
    """The sample below which ``part`` of them lie (nearest rank). ValueError without a sample."""
    if not samples:
        raise ValueError("no sample")
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def run_on(new_loop: NewLoop, body: Callable[[asyncio.AbstractEventLoop], Awaitable[ResultT]]) -> ResultT:
    """``await body(loop)`` on a loop of its own, with the switch interval of our main loop and no garbage collection.

    Both sides of a comparison are run by this.
    """

    async def main() -> ResultT:
        return await body(asyncio.get_running_loop())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main())
    finally:
        gc.enable()
        sys.setswitchinterval(interval)


def time_batches(operation: Callable[[], object], batches: int, each: int) -> Timing:
    """``batches`` times ``operation()``, which does ``each`` of what is timed and returns when it is done."""
    samples = []
    for _ in range(WARM_UP + batches):
        start = perf_counter_ns()
        operation()
        samples.append(perf_counter_ns() - start)
    return Timing.of(samples[WARM_UP:], each)
