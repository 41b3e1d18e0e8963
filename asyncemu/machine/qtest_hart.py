# SPDX-License-Identifier: GPL-2.0-or-later
"""QtestHart: what the interrupt controllers drive where a machine has no CPU: wires and a timer, and nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Callable

from asyncemu.loop import AioContext, Clock, any_thread
from asyncemu.machine.qtest_commands import MAX_TIME
from asyncemu.vcpu.tcg.riscv import MSIP, NEVER, NS_PER_TICK


class QtestHart:
    """A ClintHart. ``lines`` are those that are up, as bits of MIP. Any thread."""

    def __init__(self, context: AioContext, clock: Clock) -> None:
        self.lines = 0
        #: Called with the number of a line (of its bit in MIP) and its level when that has changed; must not wait.
        self.on_line: Callable[[int, bool], None] | None = None
        self._clock = clock
        self._lock = threading.RLock()
        self._timer = context.timer(clock, self._timer_fired)
        #: Ticks, and the line (a bit) that goes up then.
        self._compare = (NEVER, 0)

    def reset(self) -> None:
        """Power-on: the timer is off, and no software interrupt. The PLIC lowers its lines itself."""
        with self._lock:
            self.set_timer(NEVER, self._compare[1])
            self.set_line(MSIP, False)

    def close(self) -> None:
        """No timer any more."""
        self._timer.cancel()

    @any_thread
    def set_line(self, line: int, level: bool) -> None:
        """See ClintHart."""
        with self._lock:
            if bool(self.lines & line) == level:
                return
            self.lines ^= line
            if (on_line := self.on_line) is not None:
                on_line(line.bit_length() - 1, level)

    @any_thread
    def set_timer(self, ticks: int, line: int) -> None:
        """See ClintHart."""
        with self._lock:
            self._compare = (ticks, line)
            ahead = self.time() < ticks
            self.set_line(line, not ahead)
            # Beyond that is "never" too: the clock would go there when it is asked for the next deadline.
            if ahead and ticks * NS_PER_TICK <= MAX_TIME:
                self._timer.mod(ticks * NS_PER_TICK)
            else:
                self._timer.cancel()

    @any_thread
    def time(self) -> int:
        """See ClintHart: ticks of NS_PER_TICK."""
        return self._clock.now() // NS_PER_TICK

    def _timer_fired(self) -> None:
        # Whoever has set it anew since it ran out has decided for the new time.
        with self._lock:
            self.set_timer(*self._compare)
