# SPDX-License-Identifier: GPL-2.0-or-later
"""The order of one thread's events in time, and which span is within which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asyncemu.tracing.recorder import INSTANT, Event


def nested(events: Sequence[Event]) -> Iterator[tuple[int, Event]]:
    """The events from first to last, outer spans before those within them, each with the number of spans around it.

    ``events`` are in the order in which they were recorded, inner before outer: where two begin and end at the same
    times (clocks tick), that order tells which is which. A span that ends after the one that it began in, which one
    thread can't make, is cut.
    """
    ends: list[int] = []
    # Sorting is stable: of two with equal times the one recorded later, the outer one, stays first.
    latest_first = events[::-1]
    for event in sorted(latest_first, key=_begin_then_longest):
        category, name, start, end = event
        while ends and ends[-1] <= start:
            ends.pop()
        depth = len(ends)
        if end != INSTANT:
            if ends and end > ends[-1]:
                end = ends[-1]
                event = (category, name, start, end)
            ends.append(end)
        yield depth, event


def _begin_then_longest(event: Event) -> tuple[int, int]:
    return event[2], -event[3]
