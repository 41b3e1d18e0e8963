# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages on their way to a client."""

from __future__ import annotations

from typing import Any

from asyncemu.monitor.qmp.outbox import MAX_EVENTS, MAX_KEYS, Outbox


def taken(outbox: Outbox) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    while (message := outbox.take()) is not None:
        messages.append(message)
    return messages


def test_take_replies_and_events_in_their_order() -> None:
    outbox = Outbox()
    outbox.put_event(("STOP", ""), {"event": 1})
    outbox.put_reply({"return": 2})
    outbox.put_event(("RESUME", ""), {"event": 3})

    assert taken(outbox) == [{"event": 1}, {"return": 2}, {"event": 3}]


def test_put_event_beyond_the_limit_keeps_the_newest_of_each_key() -> None:
    outbox = Outbox()
    for number in range(MAX_EVENTS):
        outbox.put_event(("STOP", ""), {"event": number})

    for number in range(1000, 1010):
        outbox.put_event(("STOP", ""), {"event": number})
        outbox.put_event(("RESUME", ""), {"event": -number})

    assert taken(outbox)[MAX_EVENTS:] == [{"event": 1009}, {"event": -1009}]


def test_put_event_with_ever_new_keys_stays_bounded() -> None:
    outbox = Outbox()

    for number in range(MAX_EVENTS + 2 * MAX_KEYS):
        outbox.put_event(("NEW", str(number)), {"event": number})

    messages = taken(outbox)
    assert len(messages) == MAX_EVENTS + MAX_KEYS
    assert messages[-1] == {"event": MAX_EVENTS + 2 * MAX_KEYS - 1}


def test_put_event_after_a_jam_is_in_order_again() -> None:
    outbox = Outbox()
    for number in range(MAX_EVENTS + 1):
        outbox.put_event(("STOP", ""), {"event": number})
    taken(outbox)

    for number in range(3):
        outbox.put_event(("STOP", ""), {"event": number})

    assert taken(outbox) == [{"event": 0}, {"event": 1}, {"event": 2}]
