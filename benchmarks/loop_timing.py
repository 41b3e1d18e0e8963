# SPDX-License-Identifier: GPL-2.0-or-later
"""Bottom halves and descriptors, each beside what a bare loop has for it: call_soon, call_soon_threadsafe, add_reader.

Ours run on uvloop, as in a machine. A loop is asleep when nothing has happened for PAUSE, and awake while it is in one
of its callbacks.
"""

from __future__ import annotations

import asyncio
import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final

import uvloop

from asyncemu.loop import AioContext
from benchmarks.timing import WARM_UP, NewLoop, Timing, run_on

#: Callbacks of a batch.
BATCH: Final = 64
#: After this time without an event a loop is asleep in epoll_wait. Seconds; arbitrary, a hundred times what it takes.
PAUSE: Final = 0.0005
#: Events of one sample of ``fd_events``.
EVENTS: Final = 100

#: Makes what schedules so many callbacks of which the last one is ``last``.
Scheduler = Callable[[asyncio.AbstractEventLoop, AioContext | None, int, Callable[[], object]], Callable[[], None]]


def nothing() -> None:
    """What all callbacks but the last one do."""


def bottom_halves(
    loop: asyncio.AbstractEventLoop, context: AioContext | None, count: int, last: Callable[[], object]
) -> Callable[[], None]:
    """Scheduler of ours."""
    assert context is not None
    made = [context.bh_new(callback) for callback in [nothing] * (count - 1) + [last]]

    def schedule() -> None:
        for bottom_half in made:
            bottom_half.schedule()

    return schedule


def call_soon(
    loop: asyncio.AbstractEventLoop, context: AioContext | None, count: int, last: Callable[[], object]
) -> Callable[[], None]:
    """Scheduler of the bare loop at home."""
    callbacks = [nothing] * (count - 1) + [last]

    def schedule() -> None:
        for callback in callbacks:
            loop.call_soon(callback)

    return schedule


def call_soon_threadsafe(
    loop: asyncio.AbstractEventLoop, context: AioContext | None, count: int, last: Callable[[], object]
) -> Callable[[], None]:
    """Scheduler of the bare loop from other threads."""
    callbacks = [nothing] * (count - 1) + [last]

    def schedule() -> None:
        for callback in callbacks:
            loop.call_soon_threadsafe(callback)

    return schedule


@dataclass(frozen=True, slots=True)
class Side:
    """Who is measured: with ``ours`` there is an AioContext on the loop."""

    new_loop: NewLoop
    home: Scheduler
    elsewhere: Scheduler
    ours: bool = False

    def make_context(self, loop: asyncio.AbstractEventLoop) -> AioContext | None:
        return AioContext(loop, "benchmark") if self.ours else None


OURS: Final = Side(uvloop.new_event_loop, bottom_halves, bottom_halves, ours=True)
UVLOOP: Final = Side(uvloop.new_event_loop, call_soon, call_soon_threadsafe)
ASYNCIO: Final = Side(asyncio.new_event_loop, call_soon, call_soon_threadsafe)


def at_home(side: Side, batches: int, count: int = BATCH) -> Timing:
    """From the first schedule of ``count``, in a callback at home, until the last one has run; for each of them."""

    async def body(loop: asyncio.AbstractEventLoop) -> list[int]:
        context = side.make_context(loop)
        samples: list[int] = []
        finished = loop.create_future()
        start = 0

        def begin() -> None:
            nonlocal start
            start = perf_counter_ns()
            schedule()

        def last() -> None:
            samples.append(perf_counter_ns() - start)
            if len(samples) < WARM_UP + batches:
                loop.call_soon(begin)
            else:
                finished.set_result(None)

        schedule = side.home(loop, context, count, last)
        loop.call_soon(begin)
        await finished
        if context is not None:
            context.close()
        return samples[WARM_UP:]

    return Timing.of(run_on(side.new_loop, body), count)


@dataclass(frozen=True, slots=True)
class Crossing:
    """From another thread; all for one of ``count`` callbacks."""

    #: From the first schedule until the last one has run.
    until_run: Timing
    #: What the calls cost their caller.
    caller: Timing
    #: eventfd writes of ours for each batch; 0 on a bare loop, which does not count them.
    wakeups: float


def from_asleep(side: Side, batches: int, count: int) -> Crossing:
    """A thread schedules ``count`` callbacks of a loop that is asleep."""
    return _crossing(side, batches, count, awake=False)


def from_awake(side: Side, batches: int, count: int = BATCH) -> Crossing:
    """The same while the loop is in a callback, which goes on until the thread has scheduled all."""
    return _crossing(side, batches, count, awake=True)


def _crossing(side: Side, batches: int, count: int, awake: bool) -> Crossing:
    async def body(loop: asyncio.AbstractEventLoop) -> Crossing:
        context = side.make_context(loop)
        until_run: list[int] = []
        caller: list[int] = []
        heard, entered, leave = threading.Semaphore(0), threading.Semaphore(0), threading.Semaphore(0)
        ran_at = wakeups = 0

        def last() -> None:
            nonlocal ran_at
            ran_at = perf_counter_ns()
            heard.release()

        def stay_awake() -> None:
            entered.release()
            leave.acquire()

        schedule = side.elsewhere(loop, context, count, last)
        enter = side.elsewhere(loop, context, 1, stay_awake)

        def thread() -> None:
            nonlocal wakeups
            for _ in range(WARM_UP + batches):
                if awake:
                    enter()
                    entered.acquire()
                else:
                    time.sleep(PAUSE)
                before = _wakeups(context)
                start = perf_counter_ns()
                schedule()
                caller.append(perf_counter_ns() - start)
                wakeups += _wakeups(context) - before
                if awake:
                    leave.release()
                heard.acquire()
                until_run.append(ran_at - start)

        await loop.run_in_executor(None, thread)
        if context is not None:
            context.close()
        made = wakeups / (WARM_UP + batches)
        return Crossing(Timing.of(until_run[WARM_UP:], count), Timing.of(caller[WARM_UP:], count), made)

    return run_on(side.new_loop, body)


def _wakeups(context: AioContext | None) -> int:
    return context.statistics()["wakeups"] if context is not None else 0


def fd_events(side: Side, batches: int, idle: int) -> Timing:
    """One event of a descriptor, in a round of the loop of its own, among ``idle`` others that are watched."""

    async def body(loop: asyncio.AbstractEventLoop) -> list[int]:
        context = side.make_context(loop)
        watch = loop.add_reader if context is None else context.set_fd_handler
        descriptors = [os.eventfd(0) for _ in range(idle + 1)]
        samples: list[int] = []
        finished = loop.create_future()
        start, events, active = perf_counter_ns(), 0, descriptors[-1]

        def readable() -> None:
            nonlocal start, events
            os.eventfd_read(active)
            events += 1
            if events == EVENTS:
                now = perf_counter_ns()
                samples.append(now - start)
                start, events = now, 0
                if len(samples) == WARM_UP + batches:
                    finished.set_result(None)
                    return
            os.eventfd_write(active, 1)

        for fd in descriptors[:-1]:
            watch(fd, nothing)
        watch(active, readable)
        os.eventfd_write(active, 1)
        await finished
        for fd in descriptors:
            loop.remove_reader(fd) if context is None else context.set_fd_handler(fd, None)
            os.close(fd)
        if context is not None:
            context.close()
        return samples[WARM_UP:]

    return Timing.of(run_on(side.new_loop, body), EVENTS)


def allow_descriptors(count: int) -> bool:
    """Raise this process's limit of open files so that ``count`` more fit; False where it may not be so high."""
    wanted = count + 100  # what is open already, and each loop's own
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return True
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return True
