# SPDX-License-Identifier: GPL-2.0-or-later
"""SteppedSource: a machine whose time moves only when it is told to. QEMU: qtest's clock_step and clock_set.

    source = SteppedSource(context)
    clocks = Clocks(source)
    ...
    await source.step(1_000_000)            # a millisecond; what falls due in it has run
    await source.step_to_next_deadline()

It is a ClockSource, for whatever has a protocol of its own to drive a machine by; for tests that need no IOThreads and
no awaiting there is ``asyncemu.testing.FakeClock``.

Theory of operation. A step goes from deadline to deadline. At each, time stands still there while every context that
has something due runs its timers at home, one context after the other, in the order in which they first had a timer on
this source; and then what those have scheduled by bottom half. So a run of a machine that waits for nothing but its
timers is the same each time, IOThreads or not. Who reads the time, from any thread, reads an attribute.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Final

from asyncemu.loop.context import AioContext
from asyncemu.loop.markers import any_thread, home

#: So many times something falls due at one instant, and there will be no end of it (arbitrary).
MAX_ROUNDS: Final = 1000


class SteppedSource:
    """Stepped from ``context``; contexts that have timers on it may be in other threads.

    A timer that is set to a time that has passed runs in the next step; ``step(0)`` will do. Steps that are asked for
    at the same time are done one after the other. All times are ns.
    """

    follows_kernel = False

    def __init__(self, context: AioContext, monotonic_ns: int = 0, wall_ns: int = 0) -> None:
        self.context = context
        self._monotonic = monotonic_ns
        self._wall_offset = wall_ns - monotonic_ns
        # Made anew at each change: the others look at it without the lock.
        self._contexts: tuple[AioContext, ...] = ()
        self._attaching = threading.Lock()
        self._stepping = asyncio.Lock()

    # ---- as a ClockSource

    @any_thread
    def monotonic_ns(self) -> int:
        """Where the steps have brought it."""
        return self._monotonic

    @any_thread
    def wall_ns(self) -> int:
        """The time of day: goes on with the steps, jumps with ``set_wall``; since 1970."""
        return self._monotonic + self._wall_offset

    @any_thread
    def attach(self, context: AioContext) -> None:
        """Run the timers of ``context`` too; it calls this itself."""
        with self._attaching:
            if context not in self._contexts:
                self._contexts = (*(each for each in self._contexts if not each.closed), context)

    # ---- stepping

    @home
    async def step(self, ns: int) -> int:
        """Let ``ns`` pass; what time it is then. ValueError when that is negative. QEMU: clock_step NS.

        RuntimeError when timers that are set anew at once would never let time go on; it stands still there.
        """
        if ns < 0:
            raise ValueError(f"a step of {ns} ns")
        async with self._stepping:
            return await self._run_to(self._monotonic + ns)

    @home
    async def step_to_next_deadline(self) -> int:
        """Go to where the next timer falls due, and let it run; what time it is then. Without a timer time stands
        still. RuntimeError as ``step``. QEMU: clock_step.
        """
        async with self._stepping:
            deadline = self._next_deadline()
            return self._monotonic if deadline is None else await self._run_to(max(deadline, self._monotonic))

    @home
    async def set(self, ns: int) -> int:
        """Go to ``ns``. ValueError when that has passed; RuntimeError as ``step``. QEMU: clock_set NS."""
        async with self._stepping:
            if ns < self._monotonic:
                raise ValueError(f"{ns} ns has passed: it is {self._monotonic} ns")
            return await self._run_to(ns)

    @home
    def set_wall(self, wall_ns: int) -> None:
        """Set the time of day, as an administrator does. Timers of HOST run in the next step."""
        self._wall_offset = wall_ns - self._monotonic

    async def _run_to(self, end: int) -> int:
        rounds = 0
        while (soonest := self._next_deadline()) is not None and soonest <= end:
            rounds = 0 if soonest > self._monotonic else rounds + 1
            if rounds > MAX_ROUNDS:
                raise RuntimeError(f"timers have been due at {self._monotonic} ns {rounds} times in a row")
            self._monotonic = max(self._monotonic, soonest)
            for context in self._contexts:
                deadline = context.next_deadline(self)
                if deadline is not None and deadline <= self._monotonic:
                    await _run_timers(context)
        self._monotonic = end
        return end

    def _next_deadline(self) -> int | None:
        deadlines = [context.next_deadline(self) for context in self._contexts]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)


async def _run_timers(context: AioContext) -> None:
    """What is due, and the bottom halves that it schedules. Nothing when the context is closed meanwhile."""

    async def at_home() -> None:
        context.run_timers()
        await asyncio.sleep(0)  # the round that they have asked of the loop is before us

    try:
        await context.call(at_home)
    except RuntimeError:
        if not context.closed:
            raise
