# SPDX-License-Identifier: GPL-2.0-or-later
"""FakeClock: time that stands still until a test moves it.

    time = FakeClock()
    clocks = Clocks(time)
    timer = context.timer(clocks.realtime, expired)
    timer.mod(1_000_000)
    time.advance(1_000_000)    # expired() has been called

It is a ClockSource; every clock of a ``Clocks`` over it moves with it.
"""

from __future__ import annotations

from typing import Final

from asyncemu.loop import AioContext

#: So many rounds of timers at one instant, and there will be no end of them (arbitrary).
MAX_ROUNDS: Final = 1000


class FakeClock:
    """A ClockSource for tests. Everything in the thread of the contexts whose timers it runs.

    A timer that is set to a time that has passed runs in the next ``advance``; ``advance(0)`` will do.
    """

    follows_kernel = False

    def __init__(self, monotonic_ns: int = 0, wall_ns: int = 0) -> None:
        self._monotonic = monotonic_ns
        self._wall_offset = wall_ns - monotonic_ns
        self._contexts: list[AioContext] = []

    def monotonic_ns(self) -> int:
        """Where ``advance`` has brought it, in ns."""
        return self._monotonic

    def wall_ns(self) -> int:
        """The time of day: goes on with ``advance``, jumps with ``set_wall``; ns since 1970."""
        return self._monotonic + self._wall_offset

    def attach(self, context: AioContext) -> None:
        """Run the timers of ``context`` too; it calls this itself."""
        if context not in self._contexts:
            self._contexts.append(context)

    def set_wall(self, wall_ns: int) -> None:
        """Set the time of day, as an administrator does. Timers of HOST run in the next ``advance``."""
        self._wall_offset = wall_ns - self._monotonic

    def advance(self, ns: int) -> None:
        """Move time on by ``ns`` and run what falls due, in the order of deadlines: each callback sees its own deadline
        as the time, and what it sets within the ``ns`` runs as well. When it returns the time is ``ns`` later.

        Tasks that a callback has woken run when the caller next awaits. RuntimeError when timers that re-arm themselves
        at once would never let time go on.
        """
        end = self._monotonic + ns
        rounds = 0
        while (soonest := self._next_deadline()) is not None and soonest <= end:
            rounds = 0 if soonest > self._monotonic else rounds + 1
            if rounds > MAX_ROUNDS:
                raise RuntimeError(f"timers have been due at {self._monotonic} ns {rounds} times in a row")
            self._monotonic = max(self._monotonic, soonest)
            for context in list(self._contexts):
                context.run_timers()
        self._monotonic = end

    def _next_deadline(self) -> int | None:
        deadlines = [context.next_deadline(self) for context in self._contexts]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)
