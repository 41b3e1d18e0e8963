# SPDX-License-Identifier: GPL-2.0-or-later
"""Arbitrary recordings: what threads could have recorded, made of begins and ends as a thread makes them."""

from __future__ import annotations

from hypothesis import strategies as st

from asyncemu.tracing.recorder import INSTANT, Event, Track

_step = st.tuples(
    st.sampled_from(["begin", "end", "instant"]),
    st.sampled_from(["bh", "coroutine", "guest", ""]),
    st.text(max_size=20),
    # Clocks tick: no time between two events is as likely as some.
    st.one_of(st.just(0), st.integers(0, 1 << 40)),
)


@st.composite
def events(draw: st.DrawFn) -> tuple[Event, ...]:
    """What one thread records, in the order in which it does."""
    now = draw(st.integers(0, 1 << 60))
    recorded: list[Event] = []
    running: list[tuple[str, str, int]] = []
    for action, category, name, passed in draw(st.lists(_step, max_size=30)):
        now += passed
        if action == "begin":
            running.append((category, name, now))
        elif action == "instant":
            recorded.append((category, name, now, INSTANT))
        elif running:
            recorded.append((*running.pop(), now))
    recorded += [(*span, now) for span in reversed(running)]
    return tuple(recorded)


tracks = st.lists(
    st.builds(Track, st.text(max_size=10), st.integers(0, (1 << 31) - 1), events(), st.integers(0, 10**18 - 1)),
    min_size=1,
    max_size=3,
)
