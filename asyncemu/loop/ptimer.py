# SPDX-License-Identifier: GPL-2.0-or-later
"""PTimer: the periodic down-counter that models of hardware timers are made of. QEMU: hw/core/ptimer.c.

A counter goes down by one each period. At zero it triggers, which is to call the device's callback, and then begins
anew from the limit or, as a one-shot, stops.

            run(oneshot)                        the count is 0
    STOPPED ───────────▶ PERIODIC or ONESHOT ──────────────────▶ trigger ─┬─ PERIODIC: again, from the limit
       ▲                    │   │      ▲                                  └─ ONESHOT: STOPPED
       └────────────────────┘   └──────┘
      stop, set_period(0)        run: another mode, the same count

Theory of operation. Nothing is done per count: a cycle is so many periods, one Timer is set to its end, and a reading
divides what is left by the period. Times within are in 1/2**32 ns (QEMU's precision), and a cycle begins where the one
before it ended, not when the callback got to run: no drift. A cycle of n shows n at the instant it begins, then n - 1
in its first period and 0 in its last (NO_COUNTER_ROUND_DOWN: n and 1).

Bounds, for the guest chooses the numbers: a cycle that is periodic, or that the callback starts, is no shorter than
MIN_CYCLE; a late context makes up for MAX_CATCH_UP triggers at most; a callback that zeroes the counter again is called
MAX_RELOADS times in a row at most.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from asyncemu.loop.clock import Clock
from asyncemu.loop.markers import home

if TYPE_CHECKING:
    from asyncemu.loop.context import AioContext

#: A periodic cycle is stretched to this, in ns. QEMU's value; our trigger, with its turn of the loop, takes longer
#: (some 70 µs), so a guest can keep the home thread busy; but a turn has only one trigger, and the others have theirs.
MIN_CYCLE: Final = 10_000
#: More cycles late than this, and all that were missed become one trigger (arbitrary: a second of a 250 Hz tick).
MAX_CATCH_UP: Final = 256
#: One change reloads the counter so often at most, through callbacks that change it again; then it stops (arbitrary).
MAX_RELOADS: Final = 16
#: Counts, limits, periods and frequencies are what a 64-bit register holds.
MAX_VALUE: Final = (1 << 64) - 1
#: Binary digits of a nanosecond's fraction.
FRACTION_BITS: Final = 32


class PTimerPolicy(enum.Flag):
    """What the counter does at zero. Look into the hardware's manual: hardly any is like DEFAULT.

    DEFAULT: set to zero, or started there, it triggers and reloads at once (limit 0: and stops); having counted down to
    zero it reloads in the same instant; while it runs it shows one less than it has.
    """

    DEFAULT = 0
    #: A periodic counter shows 0 for one period before it begins anew: its cycle is one period longer.
    WRAP_AFTER_ONE_PERIOD = enum.auto()
    #: A periodic counter with limit 0 triggers each period.
    CONTINUOUS_TRIGGER = enum.auto()
    #: Set to zero, or started there, it does not trigger at once; if it stays there it does after one period.
    NO_IMMEDIATE_TRIGGER = enum.auto()
    #: Set to zero, or started there, it reloads after one period; a one-shot not at all.
    NO_IMMEDIATE_RELOAD = enum.auto()
    #: A running counter shows what it has.
    NO_COUNTER_ROUND_DOWN = enum.auto()
    #: Set to zero, or started there, it does not trigger; it has to count down. Not with NO_IMMEDIATE_TRIGGER.
    TRIGGER_ONLY_ON_DECREMENT = enum.auto()


class _Mode(enum.Enum):
    STOPPED = enum.auto()
    PERIODIC = enum.auto()
    ONESHOT = enum.auto()


class _Cause(enum.Enum):
    """Why a cycle begins."""

    SET = enum.auto()  # it was started, or its count or period was set
    WRAPPED = enum.auto()  # it counted down to zero
    WAITED = enum.auto()  # it stood at zero for a period


class PTimer:
    """One counter, at home; in the beginning stopped, with count, limit and period 0.

    The callback is called at home, by the clock or from within the call that zeroed the counter. It may change the
    timer; if that triggers again it is called once more when it has returned. What it raises goes to the loop's
    exception handler.
    """

    def __init__(
        self,
        context: AioContext,
        clock: Clock,
        callback: Callable[[], object],
        policy: PTimerPolicy = PTimerPolicy.DEFAULT,
    ) -> None:
        # One triggers when the count leaves zero, the other when it comes there.
        if PTimerPolicy.NO_IMMEDIATE_TRIGGER in policy and PTimerPolicy.TRIGGER_ONLY_ON_DECREMENT in policy:
            raise ValueError("NO_IMMEDIATE_TRIGGER and TRIGGER_ONLY_ON_DECREMENT exclude each other")
        self.context = context
        self.clock = clock
        self._callback = callback
        self._timer = context.timer(clock, self._tick)
        # Taken apart here, for a Flag takes its time to answer.
        self._wrap_after_one_period = PTimerPolicy.WRAP_AFTER_ONE_PERIOD in policy
        self._continuous_trigger = PTimerPolicy.CONTINUOUS_TRIGGER in policy
        self._no_immediate_trigger = PTimerPolicy.NO_IMMEDIATE_TRIGGER in policy
        self._no_immediate_reload = PTimerPolicy.NO_IMMEDIATE_RELOAD in policy
        self._no_round_down = PTimerPolicy.NO_COUNTER_ROUND_DOWN in policy
        self._trigger_when_set = not self._no_immediate_trigger and PTimerPolicy.TRIGGER_ONLY_ON_DECREMENT not in policy
        self._mode = _Mode.STOPPED
        self._closed = False
        self._limit = 0
        self._period = 0  # 1/2**32 ns
        self._delta = 0  # stopped: the count. Otherwise what the cycle counts down from; 0: it waits at zero
        # The cycle; all in 1/2**32 ns.
        self._end = 0
        self._cycle_period = 0  # the period, or more because of MIN_CYCLE
        self._zero_until = 0  # WRAP_AFTER_ONE_PERIOD's zero
        self._transactions = 0
        self._reload_wanted = False  # running, and what was set asks for a new cycle
        self._called_back = False  # since the last change from outside

    @home
    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Changes that count as one: a new cycle begins, and may trigger, at the end (also if the block raises).

        A change outside of any is one of its own; one in the callback, or nested, belongs to that around it. Never
        await within. QEMU: ptimer_transaction_begin, ptimer_transaction_commit.
        """
        self._transactions += 1
        try:
            yield
        finally:
            self._transactions -= 1
            self._settle()

    @home
    def set_period(self, ns: int) -> None:
        """Count down each ``ns``; 0 stops. A running one loses the period it has begun. QEMU: ptimer_set_period."""
        self._set(self.get_count(), _checked("period", ns) << FRACTION_BITS)

    @home
    def set_freq(self, hz: int) -> None:
        """As ``set_period``, ``hz`` times a second, rounded down to 1/2**32 ns; 0 stops. QEMU: ptimer_set_freq."""
        period = max((10**9 << FRACTION_BITS) // hz, 1) if _checked("frequency", hz) else 0
        self._set(self.get_count(), period)

    @home
    def set_limit(self, limit: int, reload: bool) -> None:
        """Begin anew from ``limit`` after zero and, with ``reload``, now. QEMU: ptimer_set_limit."""
        self._limit = _checked("limit", limit)
        if reload:
            self._set(limit, self._period)

    @home
    def get_limit(self) -> int:
        """What the counter begins anew from. QEMU: ptimer_get_limit."""
        return self._limit

    @home
    def set_count(self, count: int) -> None:
        """Count down from ``count``: now, or when started. QEMU: ptimer_set_count."""
        self._set(_checked("count", count), self._period)

    @home
    def get_count(self) -> int:
        """What the counter shows, running or not. QEMU: ptimer_get_count."""
        if self._mode is _Mode.STOPPED or self._reload_wanted or self._delta == 0:
            return self._delta
        now = self.clock.now() << FRACTION_BITS
        if now <= self._zero_until:
            return 0
        count = max(self._end - now, 0) // self._cycle_period + self._no_round_down
        # It would be more at the instant it begins, and before that, when the wall clock has been set back.
        return min(count, self._delta)

    @home
    def run(self, oneshot: bool) -> None:
        """Count down to zero once or ever again; if running already, only change that. Not without a period.

        QEMU: ptimer_run.
        """
        if self._closed or self._period == 0:
            return
        if self._mode is _Mode.STOPPED:
            self._reload_wanted = True
        self._mode = _Mode.ONESHOT if oneshot else _Mode.PERIODIC
        self._settle()

    @home
    def stop(self) -> None:
        """Stand still at what the counter shows; the period it has begun is lost. QEMU: ptimer_stop."""
        self._halt(self.get_count())

    @home
    def close(self) -> None:
        """Stop for good: ``run`` does nothing from now on. Twice is once. QEMU: ptimer_free."""
        self.stop()
        self._closed = True

    def _set(self, count: int, period: int) -> None:
        self._delta = count
        self._period = period
        self._reload_wanted = self._mode is not _Mode.STOPPED
        self._settle()

    def _halt(self, count: int) -> None:
        self._timer.cancel()
        self._mode = _Mode.STOPPED
        self._reload_wanted = False
        self._delta = count

    def _settle(self) -> None:
        """Unless in a transaction: do what the changes ask for, and those that the callback makes meanwhile."""
        if self._transactions:
            return
        self._transactions = 1  # the callback's own changes return above, and the loop sees them
        try:
            for _ in range(MAX_RELOADS):
                if not self._reload_wanted or self._period == 0:
                    break
                self._reload_wanted = False
                trigger = self._delta == 0 and self._trigger_when_set
                self._begin(self.clock.now() << FRACTION_BITS, _Cause.SET, trigger)
            if self._reload_wanted:  # no period, or no end
                self._halt(self._delta)
        finally:
            self._called_back = False
            self._transactions = 0

    def _tick(self) -> None:
        """The cycle has ended."""
        if self._reload_wanted:
            return  # somebody awaits in a transaction that has taken this cycle back
        with self.transaction():
            if self._mode is _Mode.ONESHOT:
                self._halt(0)
                self._trigger()
                return
            cause = _Cause.WRAPPED if self._delta else _Cause.WAITED
            # What waited for NO_IMMEDIATE_RELOAD alone has triggered before the wait, or is not to.
            silent = self._delta == 0 and self._limit != 0 and not self._no_immediate_trigger
            self._delta = self._limit
            self._begin(self._end, cause, not silent)

    def _begin(self, start: int, cause: _Cause, trigger: bool) -> None:
        """Begin a cycle at ``start`` (1/2**32 ns), and then trigger if told so: the callback finds it reloaded."""
        if not self._no_immediate_reload:
            self._delta = self._delta or self._limit
        if periods := self._periods(cause):
            period = self._period
            if self._mode is _Mode.PERIODIC or self._called_back:
                period = max(period, -(-(MIN_CYCLE << FRACTION_BITS) // periods))
            missed = ((self.clock.now() << FRACTION_BITS) - start) // (periods * period)
            if missed > MAX_CATCH_UP:
                start += missed * periods * period
            self._end = start + periods * period
            self._cycle_period = period
            self._zero_until = start + period if periods > self._delta else -1
            self._timer.mod(-(-self._end >> FRACTION_BITS))  # rounded up: never early
        if trigger:
            self._trigger()
        if not periods and not self._reload_wanted:
            self._halt(self._delta)

    def _periods(self, cause: _Cause) -> int:
        """The length of the cycle; 0: the counter stops at zero."""
        if self._delta:
            return self._delta + (self._wrap_after_one_period and cause is _Cause.WRAPPED)
        # At zero (despite a limit: NO_IMMEDIATE_RELOAD). It waits there for a period if something is to happen then.
        if self._mode is _Mode.PERIODIC and (self._limit or self._continuous_trigger):
            return 1
        return int(self._no_immediate_trigger and cause is _Cause.SET)

    def _trigger(self) -> None:
        self._called_back = True
        try:
            self._callback()
        except Exception as error:
            # Not to the caller, who may be writing a register; and the counter has to go on.
            message = f"ptimer callback of {self.context.name}"
            self.context.loop.call_exception_handler({"message": message, "exception": error})


def _checked(what: str, value: int) -> int:
    if not 0 <= value <= MAX_VALUE:
        raise ValueError(f"{what} {value} does not fit a 64-bit register")
    return value
