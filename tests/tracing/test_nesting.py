# SPDX-License-Identifier: GPL-2.0-or-later
"""Which span is within which."""

from __future__ import annotations

import pytest

from asyncemu.tracing.nesting import nested
from asyncemu.tracing.recorder import INSTANT, Event


def span(name: str, start: int, end: int) -> Event:
    return ("bh", name, start, end)


#: Events as they are recorded, inner before outer, and their depths in the order of time.
CASES = {
    "nothing": ([], []),
    "one after the other": ([span("a", 0, 1), span("b", 1, 2)], [(0, "a"), (0, "b")]),
    "one in the other": ([span("in", 1, 2), span("out", 0, 3)], [(0, "out"), (1, "in")]),
    "with one begin": ([span("in", 0, 2), span("out", 0, 3)], [(0, "out"), (1, "in")]),
    "with one end": ([span("in", 1, 3), span("out", 0, 3)], [(0, "out"), (1, "in")]),
    "with the same times": ([span("in", 0, 3), span("out", 0, 3)], [(0, "out"), (1, "in")]),
    "three with the same times": (
        [span("c", 0, 1), span("b", 0, 1), span("a", 0, 1)],
        [(0, "a"), (1, "b"), (2, "c")],
    ),
    "two within one": (
        [span("b", 1, 2), span("c", 2, 4), span("a", 0, 4)],
        [(0, "a"), (1, "b"), (1, "c")],
    ),
    "an instant within": ([("bh", "i", 1, INSTANT), span("out", 0, 3)], [(0, "out"), (1, "i")]),
    "an instant at the begin": ([("bh", "i", 0, INSTANT), span("out", 0, 3)], [(0, "out"), (1, "i")]),
    "an instant at the end": ([("bh", "i", 3, INSTANT), span("out", 0, 3)], [(0, "out"), (0, "i")]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_nested_is_by_time_outer_first(case: str) -> None:
    events, expected = CASES[case]

    assert [(depth, event[1]) for depth, event in nested(events)] == expected


def test_nested_span_that_outlives_its_outer_one_is_cut() -> None:
    events = [span("out", 0, 3), span("late", 2, 5)]

    assert list(nested(events)) == [(0, span("out", 0, 3)), (1, span("late", 2, 3))]
