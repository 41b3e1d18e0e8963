# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers: how far from their deadlines they run on an idle loop, and what one of many costs."""

from __future__ import annotations

import asyncio
import math
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic_ns, perf_counter_ns
from typing import Final

import uvloop

from asyncemu.loop import AioContext, Clocks, Timer
from asyncemu.loop.timerfd import TimerFd
from asyncemu.testing.fake_clock import FakeClock
from benchmarks.goal import Goal, Measurement
from benchmarks.rows import Row, measurements
from benchmarks.timing import WARM_UP, NewLoop, percentile, run_on

#: From now to the deadline, in µs.
DELAYS: Final = (50, 100, 500, 1000, 5000)
#: In ns: the time over which the deadlines of many timers are spread, so that hardly two fall together. Arbitrary.
_SPREAD: Final = 10**12
#: Timers that ``costs_among`` times at least, so that few of them take measurable time.
_TIMED: Final = 10_000


@dataclass(frozen=True, slots=True)
class TimerErrors:
    """Of the timers of one run, all ``delay`` long: time of the call minus deadline, in µs."""

    errors: tuple[float, ...]

    @property
    def median(self) -> float:
        return percentile([abs(error) for error in self.errors], 0.5)

    @property
    def p99(self) -> float:
        """Of how far off it was, whichever way."""
        return percentile([abs(error) for error in self.errors], 0.99)

    @property
    def early(self) -> int:
        """How many were called before their deadline."""
        return sum(error < 0 for error in self.errors)


def our_errors(delay: int, count: int) -> TimerErrors:
    """Of a Timer on the realtime clock, one at a time."""

    async def body(loop: asyncio.AbstractEventLoop) -> list[int]:
        context, clock = AioContext(loop, "benchmark"), Clocks().realtime
        errors: list[int] = []
        finished = loop.create_future()
        deadline = 0

        def arm() -> None:
            nonlocal deadline
            deadline = clock.now() + delay * 1000
            timer.mod(deadline)

        def fired() -> None:
            errors.append(clock.now() - deadline)
            arm() if len(errors) < WARM_UP + count else finished.set_result(None)

        timer = context.timer(clock, fired)
        arm()
        await finished
        context.close()
        return errors[WARM_UP:]

    return TimerErrors(tuple(error / 1000 for error in run_on(uvloop.new_event_loop, body)))


def call_later_errors(new_loop: NewLoop, delay: int, count: int) -> TimerErrors:
    """Of a bare loop's call_later."""

    async def body(loop: asyncio.AbstractEventLoop) -> list[int]:
        errors: list[int] = []
        finished = loop.create_future()
        deadline = 0

        def arm() -> None:
            nonlocal deadline
            deadline = monotonic_ns() + delay * 1000
            loop.call_later(delay / 1e6, fired)

        def fired() -> None:
            errors.append(monotonic_ns() - deadline)
            arm() if len(errors) < WARM_UP + count else finished.set_result(None)

        arm()
        await finished
        return errors[WARM_UP:]

    return TimerErrors(tuple(error / 1000 for error in run_on(new_loop, body)))


def bare_errors(delay: int, count: int) -> TimerErrors:
    """Of a thread that does nothing but wait for a timerfd: what the host gives to anybody, whatever the loop."""
    timer_fd = TimerFd()
    os.set_blocking(timer_fd.fd, True)
    errors: list[int] = []
    for _ in range(WARM_UP + count):
        deadline = monotonic_ns() + delay * 1000
        timer_fd.arm(deadline)
        timer_fd.acknowledge()
        errors.append(monotonic_ns() - deadline)
    timer_fd.close()
    return TimerErrors(tuple(error / 1000 for error in errors[WARM_UP:]))


@dataclass(frozen=True, slots=True)
class TimerCosts:
    """For one of ``count`` timers, in µs."""

    #: Give a timer its first deadline, when half of the others have theirs, on average.
    arm: float
    #: Find it due, call it, and find the next one; again with half of the others on average.
    run: float
    #: Give it another deadline, when all are armed.
    move: float


def costs_among(count: int) -> TimerCosts:
    """Arm, run and move ``count`` timers with deadlines at random places, on a clock that is moved by hand."""

    async def body(loop: asyncio.AbstractEventLoop) -> list[int]:
        chance = random.Random(count)  # the same deadlines in each run
        rounds = [_round(loop, count, chance) for _ in range(_rounds(count))]
        return [sum(spent) for spent in zip(*rounds, strict=True)]

    spent = run_on(uvloop.new_event_loop, body)
    return TimerCosts(*(ns / _rounds(count) / count / 1000 for ns in spent))


def _rounds(count: int) -> int:
    """Few timers are timed more often."""
    return max(1, _TIMED // count)


def _round(loop: asyncio.AbstractEventLoop, count: int, chance: random.Random) -> tuple[int, int, int]:
    """ns to arm all, to run all, to move all."""
    context, time = AioContext(loop, "benchmark"), FakeClock()  # a context keeps its lists of timers until its end
    clock = Clocks(time).realtime
    called = 0

    def expired() -> None:
        nonlocal called
        called += 1

    timers = [context.timer(clock, expired) for _ in range(count)]
    first, second, third = ([chance.randrange(_SPREAD) for _ in timers] for _ in range(3))
    start = perf_counter_ns()
    _set(timers, first)
    armed = perf_counter_ns()
    time.advance(_SPREAD)
    run = perf_counter_ns()
    assert called == count
    _set(timers, second)
    move = perf_counter_ns()
    _set(timers, third)
    moved = perf_counter_ns()
    context.close()
    return armed - start, run - armed, moved - move


def _set(timers: Sequence[Timer], deadlines: Sequence[int]) -> None:
    for timer, deadline in zip(timers, deadlines, strict=True):
        timer.mod(deadline)


# ---- in the benchmark


@dataclass(frozen=True, slots=True)
class TimerRound:
    """All sides, once, with one delay."""

    ours: TimerErrors
    uvloop: TimerErrors
    asyncio: TimerErrors
    bare: TimerErrors


def measure_errors(count: int) -> list[TimerRound]:
    """One round, for each of DELAYS."""
    return [
        TimerRound(
            our_errors(delay, count),
            call_later_errors(uvloop.new_event_loop, delay, count),
            call_later_errors(asyncio.new_event_loop, delay, count),
            bare_errors(delay, count),
        )
        for delay in DELAYS
    ]


def error_measurements(rounds: Sequence[Sequence[TimerRound]]) -> list[Measurement]:
    """Error of each delay, beside uvloop's; of all of them beside asyncio's; and how many were early."""
    made: list[Measurement] = []
    for delay, each in zip(DELAYS, zip(*rounds, strict=True), strict=True):
        goal = Goal(150, absolute=True)
        made += measurements(
            each,
            (
                Row(f"timer of {delay} us, error p99 / uvloop call_later", "ours.p99", "uvloop.p99", goal),
                Row(f"timer of {delay} us, error p99 / a thread that waits for a timerfd", "ours.p99", "bare.p99"),
                Row(f"timer of {delay} us, error median / asyncio call_later", "ours.median", "asyncio.median"),
            ),
        )
    ours, uvloops = (
        tuple(float(sum(getattr(each, side).early for each in taken)) for taken in rounds)
        for side in ("ours", "uvloop")
    )
    made.append(Measurement("timers called early / uvloop call_later", "", ours, uvloops, Goal(0, absolute=True)))
    return made


@dataclass(frozen=True, slots=True)
class CostRound:
    """With many timers and with few, once."""

    many: TimerCosts
    few: TimerCosts


def measure_costs(few: int, many: int) -> CostRound:
    """One round."""
    return CostRound(costs_among(many), costs_among(few))


def cost_rows(few: int, many: int) -> Sequence[Row]:
    """What one of many costs by what one of few costs: O(log n) is at most the quotient of the logarithms."""
    goal = Goal(round(math.log(many) / math.log(few), 2))
    return [
        Row(f"{what} one of {many} timers / of {few}", f"many.{what}", f"few.{what}", goal)
        for what in ("arm", "run", "move")
    ]
