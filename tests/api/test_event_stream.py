# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio

import pytest

from asyncemu.api import EventsMissed, EventStream
from asyncemu.api.event_stream import LIMIT
from asyncemu.events import Event, EventBus, Reset, Resume, Stop
from asyncemu.loop import AioContext


@pytest.fixture
def bus(context: AioContext) -> EventBus:
    return EventBus(context)


async def test_stream_all_events_come_in_order(bus: EventBus) -> None:
    with EventStream[Event](bus, ()) as events:
        bus.emit(Stop())
        bus.emit(Resume())

        assert [await anext(events), await anext(events)] == [Stop(), Resume()]


async def test_stream_of_a_type_has_no_others(bus: EventBus) -> None:
    with EventStream(bus, (Reset,)) as events:
        bus.emit(Stop())
        bus.emit(Reset(guest=True, reason="guest-reset"))

        assert (await anext(events)).guest


async def test_stream_waits_for_an_event(bus: EventBus) -> None:
    with EventStream[Event](bus, ()) as events:
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.wait([waiting], timeout=0)
        bus.emit(Stop())

        assert await waiting == Stop()


async def test_stream_closed_gives_what_waits_and_ends(bus: EventBus) -> None:
    events = EventStream[Event](bus, ())
    bus.emit(Stop())
    events.close()
    bus.emit(Resume())

    assert [event async for event in events] == [Stop()]


async def test_stream_close_ends_a_wait(bus: EventBus) -> None:
    events = EventStream[Event](bus, ())
    waiting = asyncio.ensure_future(anext(events, None))
    await asyncio.wait([waiting], timeout=0)

    events.close()

    assert await waiting is None


async def test_stream_not_taken_in_time_says_how_many(bus: EventBus) -> None:
    with EventStream[Event](bus, ()) as events:
        for _ in range(LIMIT + 2):
            bus.emit(Stop())

        with pytest.raises(EventsMissed, match="2 events were not taken in time; take them as they come"):
            await anext(events)
        assert await anext(events) == Stop()


async def test_stream_from_another_thread_comes_at_home(bus: EventBus) -> None:
    with EventStream[Event](bus, ()) as events:
        await asyncio.to_thread(bus.emit, Stop())

        assert await anext(events) == Stop()
