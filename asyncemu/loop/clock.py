# SPDX-License-Identifier: GPL-2.0-or-later
"""The four clocks, and where they get their time.

    REALTIME     monotonic; goes on while the machine is stopped
    VIRTUAL      what the guest calls time; stands still while the machine is stopped
    HOST         wall-clock time since 1970; may jump
    VIRTUAL_RT   as VIRTUAL here (it differs from it only under instruction counting)

A machine has a set of its own (``Clocks``): two machines in one process stop independently. All times are int ns.
"""

from __future__ import annotations

import enum
import threading
import time
from typing import TYPE_CHECKING, Protocol

from asyncemu.loop.markers import any_thread

if TYPE_CHECKING:
    from asyncemu.loop.context import AioContext
    from asyncemu.loop.timer import TimerList


class ClockKind(enum.Enum):
    """QEMU's QEMU_CLOCK_* names."""

    REALTIME = "realtime"
    VIRTUAL = "virtual"
    HOST = "host"
    VIRTUAL_RT = "virtual-rt"


class ClockSource(Protocol):
    """Where time comes from: the kernel, or a test that moves it by hand."""

    #: True: sleeping contexts wake by the kernel's timers. False: by ``attach``'s callback, when the owner moves time.
    follows_kernel: bool

    def monotonic_ns(self) -> int:
        """Time since an arbitrary start, in ns; never goes back."""

    def wall_ns(self) -> int:
        """Time since 1970-01-01 UTC, in ns."""

    def attach(self, context: AioContext) -> None:
        """A context has timers on this source: call its ``run_timers`` at home when time has moved."""


class MonotonicSource:
    """The kernel's time: CLOCK_MONOTONIC and CLOCK_REALTIME."""

    follows_kernel = True

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()

    def attach(self, context: AioContext) -> None:
        """Nothing to do: the context's own timerfd follows this clock."""


class Clock:
    """One clock. ``now`` from any thread; ``enable`` from the machine's home context."""

    def __init__(self, kind: ClockKind, source: ClockSource, *, enabled: bool = True) -> None:
        self.kind = kind
        self.source = source
        self._lock = threading.Lock()
        self._enabled = enabled
        # While enabled: now = source - offset. While stopped: now = _stopped_at.
        self._offset = 0 if kind in (ClockKind.REALTIME, ClockKind.HOST) else source.monotonic_ns()
        self._stopped_at = 0
        self._lists: list[TimerList] = []

    @property
    def enabled(self) -> bool:
        """Is it running?"""
        return self._enabled

    @any_thread
    def now(self) -> int:
        """The time in ns."""
        if self.kind is ClockKind.HOST:
            return self.source.wall_ns()
        with self._lock:
            return self.source.monotonic_ns() - self._offset if self._enabled else self._stopped_at

    @any_thread
    def monotonic_deadline(self, deadline: int) -> int | None:
        """When, on the source's monotonic time, this clock will show ``deadline`` ns; None while it is stopped."""
        with self._lock:
            if not self._enabled:
                return None
            if self.kind is ClockKind.HOST:
                return self.source.monotonic_ns() + deadline - self.source.wall_ns()
            return deadline + self._offset

    @any_thread
    def offset(self) -> int:
        """The source's monotonic time minus this clock's, in ns, while it runs: for readers in native code."""
        with self._lock:
            return self._offset if self._enabled else self.source.monotonic_ns() - self._stopped_at

    def enable(self, enabled: bool) -> None:
        """Start or stop the clock; its timers stop with it and keep their deadlines.

        When it is stopped, this returns after the timer callbacks that other contexts are running; a callback of this
        clock that calls it is not waited for. QEMU: qemu_clock_enable.
        """
        with self._lock:
            if enabled == self._enabled:
                return
            if enabled:
                self._offset = self.source.monotonic_ns() - self._stopped_at
            else:
                self._stopped_at = self.source.monotonic_ns() - self._offset
            self._enabled = enabled
        for timers in list(self._lists):
            if not enabled:
                timers.wait_idle()
            timers.context.timers.rearm()

    @any_thread
    def add_list(self, timers: TimerList) -> None:
        """Contexts tell of their timer lists on this clock."""
        with self._lock:
            self._lists.append(timers)

    @any_thread
    def remove_list(self, timers: TimerList) -> None:
        """The context of ``timers`` is closed."""
        with self._lock:
            self._lists.remove(timers)


class Clocks:
    """A machine's four clocks over one source. VIRTUAL and VIRTUAL_RT begin stopped, at 0."""

    def __init__(self, source: ClockSource | None = None) -> None:
        self.source = source or MonotonicSource()
        self.realtime = Clock(ClockKind.REALTIME, self.source)
        self.host = Clock(ClockKind.HOST, self.source)
        self.virtual = Clock(ClockKind.VIRTUAL, self.source, enabled=False)
        self.virtual_rt = Clock(ClockKind.VIRTUAL_RT, self.source, enabled=False)

    def run_virtual(self, running: bool) -> None:
        """Start or stop guest time."""
        self.virtual.enable(running)
        self.virtual_rt.enable(running)
