# SPDX-License-Identifier: GPL-2.0-or-later
"""Which events go, and when."""

from __future__ import annotations

from typing import ClassVar

from asyncemu.events import Event, Occurrence
from asyncemu.monitor.qmp.event_throttle import EventThrottle


class Limited(Event):
    """At most one in 100 ns and id."""

    rate_limit_ns: ClassVar[int] = 100

    id: str = ""
    number: int = 0

    def rate_limit_key(self) -> str:
        return self.id


class Free(Event):
    """All go."""


def happened(number: int, id: str = "") -> Occurrence:
    return Occurrence(Limited(id=id, number=number), number)


def test_offer_without_a_limit_goes_at_once() -> None:
    throttle = EventThrottle()
    events = [Occurrence(Free(), number) for number in range(3)]

    gone = [throttle.offer(event, 0) for event in events]

    assert (gone, throttle.deadline()) == (events, None)


def test_offer_the_first_goes_and_the_last_of_the_others_when_its_time_is_over() -> None:
    throttle = EventThrottle()

    at_once = [throttle.offer(happened(number), now) for number, now in ((1, 0), (2, 10), (3, 99))]

    assert at_once == [happened(1), None, None]
    assert throttle.deadline() == 100
    assert throttle.due(99) == []
    assert throttle.due(100) == [happened(3)]


def test_due_begins_a_new_time_after_an_event_that_was_held() -> None:
    throttle = EventThrottle()
    throttle.offer(happened(1), 0)
    throttle.offer(happened(2), 50)
    throttle.due(120)

    at_once = throttle.offer(happened(3), 130)

    assert (at_once, throttle.deadline(), throttle.due(220)) == (None, 220, [happened(3)])


def test_due_forgets_a_time_in_which_nothing_happened() -> None:
    throttle = EventThrottle()
    throttle.offer(happened(1), 0)

    due = throttle.due(100)

    assert (due, throttle.deadline()) == ([], None)
    assert throttle.offer(happened(2), 101) == happened(2)


def test_offer_with_another_key_has_a_time_of_its_own() -> None:
    throttle = EventThrottle()

    gone = [throttle.offer(happened(1, "a"), 0), throttle.offer(happened(2, "b"), 30)]
    throttle.offer(happened(3, "b"), 40)
    throttle.offer(happened(4, "a"), 50)

    assert gone == [happened(1, "a"), happened(2, "b")]
    assert throttle.due(200) == [happened(4, "a"), happened(3, "b")]
