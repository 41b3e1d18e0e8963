# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio

from asyncemu.events import EventBus, Occurrence, Reset, Resume, Stop
from asyncemu.loop import AioContext


def test_event_to_wire_has_qmps_names() -> None:
    event = Reset(guest=False, reason="host-qmp-system-reset")

    assert (event.wire_name, event.to_wire()) == ("RESET", {"guest": False, "reason": "host-qmp-system-reset"})


async def test_bus_listeners_are_told_in_the_order_of_emission(context: AioContext) -> None:
    bus, heard = EventBus(context), list[Occurrence]()
    bus.subscribe(heard.append)

    bus.emit(Stop())
    bus.emit(Resume())

    assert [occurrence.event for occurrence in heard] == [Stop(), Resume()]


async def test_bus_emit_from_another_thread_is_heard_at_home(context: AioContext) -> None:
    bus, heard = EventBus(context), asyncio.Event()
    at_home: list[bool] = []

    def listener(occurrence: Occurrence) -> None:
        at_home.append(context.in_home())
        heard.set()

    bus.subscribe(listener)

    await asyncio.to_thread(bus.emit, Stop())
    await heard.wait()

    assert at_home == [True]


async def test_bus_unsubscribed_listener_hears_nothing(context: AioContext) -> None:
    bus, heard = EventBus(context), list[Occurrence]()
    unsubscribe = bus.subscribe(heard.append)

    unsubscribe()
    unsubscribe()
    bus.emit(Stop())

    assert heard == []
