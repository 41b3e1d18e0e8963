# SPDX-License-Identifier: GPL-2.0-or-later
"""The clock of everything here that waits: time goes on while a machine is stopped, as its peers' does."""

from __future__ import annotations

from asyncemu.loop import Clock, ClockKind, MonotonicSource


def realtime_clock() -> Clock:
    """REALTIME, by the kernel."""
    return Clock(ClockKind.REALTIME, MonotonicSource())
