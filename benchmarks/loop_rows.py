# SPDX-License-Identifier: GPL-2.0-or-later
"""Bottom halves and descriptors in the event_model benchmark: what a round is, and its rows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.goal import Goal, Measurement
from benchmarks.loop_timing import (
    ASYNCIO,
    BATCH,
    OURS,
    UVLOOP,
    Crossing,
    Side,
    at_home,
    fd_events,
    from_asleep,
    from_awake,
)
from benchmarks.rows import Row
from benchmarks.timing import Timing

# ---- from home


@dataclass(frozen=True, slots=True)
class HomeTimings:
    """Of one side: one of a batch, and one that is alone in its round of the loop."""

    batch: Timing
    alone: Timing


@dataclass(frozen=True, slots=True)
class HomeRound:
    """All sides, once."""

    ours: HomeTimings
    uvloop: HomeTimings
    asyncio: HomeTimings


def measure_home(batches: int) -> HomeRound:
    """One round."""

    def measure(side: Side) -> HomeTimings:
        return HomeTimings(at_home(side, batches), at_home(side, 10 * batches, 1))

    return HomeRound(measure(OURS), measure(UVLOOP), measure(ASYNCIO))


_BH: Final = f"BH schedule->run, batch of {BATCH}"
HOME_ROWS: Final = (
    Row(_BH, "ours.batch.median", goal=Goal(0.5, absolute=True)),
    Row(f"{_BH} / uvloop call_soon", "ours.batch.median", "uvloop.batch.median", Goal(1.2)),
    Row(f"{_BH}, p99 / uvloop call_soon", "ours.batch.p99", "uvloop.batch.p99"),
    Row(f"{_BH} / asyncio call_soon", "ours.batch.median", "asyncio.batch.median"),
    Row("BH schedule->run, alone / uvloop call_soon", "ours.alone.median", "uvloop.alone.median"),
    Row("BH schedule->run, alone / asyncio call_soon", "ours.alone.median", "asyncio.alone.median"),
)


# ---- from another thread


@dataclass(frozen=True, slots=True)
class CrossingTimings:
    """Of one side."""

    alone: Crossing
    batch: Crossing
    awake: Crossing


@dataclass(frozen=True, slots=True)
class CrossingRound:
    """All sides, once."""

    ours: CrossingTimings
    uvloop: CrossingTimings
    asyncio: CrossingTimings


def measure_crossing(batches: int) -> CrossingRound:
    """One round."""

    def measure(side: Side) -> CrossingTimings:
        return CrossingTimings(
            from_asleep(side, batches, 1), from_asleep(side, batches, BATCH), from_awake(side, batches)
        )

    return CrossingRound(measure(OURS), measure(UVLOOP), measure(ASYNCIO))


_ALONE: Final = "cross-thread BH, loop asleep"
_BATCH: Final = f"cross-thread batch of {BATCH}, loop asleep"
_AWAKE: Final = f"cross-thread batch of {BATCH}, loop awake"
_PEER: Final = "/ uvloop call_soon_threadsafe"
CROSSING_ROWS: Final = (
    Row(f"{_ALONE} {_PEER}", "ours.alone.until_run.median", "uvloop.alone.until_run.median", Goal(1.2)),
    Row(f"{_ALONE}, p99 {_PEER}", "ours.alone.until_run.p99", "uvloop.alone.until_run.p99"),
    Row(f"{_ALONE} / asyncio call_soon_threadsafe", "ours.alone.until_run.median", "asyncio.alone.until_run.median"),
    Row(f"{_ALONE}, cost to the caller {_PEER}", "ours.alone.caller.median", "uvloop.alone.caller.median", Goal(1.2)),
    Row(f"{_BATCH} {_PEER}", "ours.batch.until_run.median", "uvloop.batch.until_run.median", Goal(1.2)),
    Row(f"{_BATCH} / asyncio call_soon_threadsafe", "ours.batch.until_run.median", "asyncio.batch.until_run.median"),
    Row(f"{_AWAKE}, cost to the caller {_PEER}", "ours.awake.caller.median", "uvloop.awake.caller.median", Goal(1.2)),
    Row(
        f"{_AWAKE}, cost to the caller / asyncio call_soon_threadsafe",
        "ours.awake.caller.median",
        "asyncio.awake.caller.median",
    ),
    Row(f"eventfd writes for a {_AWAKE}", "ours.awake.wakeups", goal=Goal(0, absolute=True), unit=""),
    Row(f"eventfd writes for a {_BATCH}", "ours.batch.wakeups", unit=""),
)


# ---- descriptors


#: Fam Zheng, RFC "QEMU Poll API", 2014: 22 us for a ppoll of 20 descriptors, 75 us of 600.
QEMU_PPOLL_GROWTH: Final = 75 / 22


#: A round takes so many turns: a noise of a second hits all numbers of descriptors alike.
FD_TURNS: Final = 10


@dataclass(frozen=True, slots=True)
class FdRound:
    """One event, in µs: the median; among each number of idle descriptors, and the peers among the first of them."""

    ours: tuple[float, ...]
    uvloop: float
    asyncio: float


def measure_fds(batches: int, idle_fds: Sequence[int]) -> FdRound:
    """One round."""
    asked = [(OURS, idle) for idle in idle_fds] + [(side, idle_fds[0]) for side in (UVLOOP, ASYNCIO)]
    each = -(-batches // FD_TURNS)
    turns = [[fd_events(side, each, idle).median for side, idle in asked] for _ in range(FD_TURNS)]
    *ours, uvloop, asyncio = (statistics.median(taken) for taken in zip(*turns, strict=True))
    return FdRound(tuple(ours), uvloop, asyncio)


def fd_measurements(rounds: Sequence[FdRound], idle_fds: Sequence[int]) -> list[Measurement]:
    """How the cost grows with the descriptors, beside that of the fewest; and the peers' with those."""
    few, *numbers = idle_fds
    fewest, *more = zip(*(each.ours for each in rounds), strict=True)
    made = [
        Measurement(f"event among {many} idle fds / among {few}", "us", ours, fewest, Goal(1.2))
        for many, ours in zip(numbers, more, strict=True)
    ]
    if more:
        growth = tuple(many / few for many, few in zip(more[0], fewest, strict=True))
        name = f"growth to {numbers[0]} idle fds / QEMU's ppoll from 20 to 600 (published)"
        made.append(Measurement(name, "x", growth, (QEMU_PPOLL_GROWTH,) * len(growth)))
    for peer in ("uvloop", "asyncio"):
        beside = tuple(getattr(each, peer) for each in rounds)
        made.append(Measurement(f"event among {few} idle fds / {peer} add_reader", "us", fewest, beside))
    return made
