# SPDX-License-Identifier: GPL-2.0-or-later
"""EventThrottle: which events go to QMP clients, and when. Sans-IO: time is an argument, ns of any clock.

Of events whose class has a ``rate_limit_ns``, the first goes at once, and those of the same key within that time are
held back: the last one goes when it is over, and the time begins anew. QEMU: monitor_qapi_event_queue_no_reenter().
"""

from __future__ import annotations

from dataclasses import dataclass

from asyncemu.events import Occurrence

Key = tuple[str, str]


def key_of(occurrence: Occurrence) -> Key:
    """Of two events with the same key, the later one makes the earlier one old news."""
    return occurrence.event.wire_name, occurrence.event.rate_limit_key()


@dataclass(slots=True)
class _Window:
    """The time after an event that went, in which others of its key wait."""

    ends: int
    held: Occurrence | None = None


class EventThrottle:
    """Keeps one event a key, for those keys whose time is running."""

    def __init__(self) -> None:
        self._windows: dict[Key, _Window] = {}

    def offer(self, occurrence: Occurrence, now: int) -> Occurrence | None:
        """An event has happened; it is returned if it goes at once."""
        limit = occurrence.event.rate_limit_ns
        if not limit:
            return occurrence
        window = self._windows.get(key_of(occurrence))
        if window is not None:
            window.held = occurrence
            return None
        self._windows[key_of(occurrence)] = _Window(now + limit)
        return occurrence

    def deadline(self) -> int | None:
        """When ``due`` is to be called; None: there is nothing to wait for."""
        return min((window.ends for window in self._windows.values()), default=None)

    def due(self, now: int) -> list[Occurrence]:
        """The events whose time is over, the longest held first."""
        over = sorted((window.ends, key) for key, window in self._windows.items() if window.ends <= now)
        gone: list[Occurrence] = []
        for _, key in over:
            window = self._windows.pop(key)
            if window.held is not None:
                gone.append(window.held)
                self._windows[key] = _Window(now + window.held.event.rate_limit_ns)
        return gone
