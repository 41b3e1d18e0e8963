# SPDX-License-Identifier: GPL-2.0-or-later
"""EventStream: a machine's events as an async iterator.

    with vm.events(Reset, Shutdown) as events:
        async for event in events: ...

It has all events from its making on. What is not taken waits, up to LIMIT events; whoever is later than that is told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Final, Generic, TypeVar

from asyncemu.errors import AsyncemuError
from asyncemu.events import Event, EventBus, Occurrence
from asyncemu.loop import AioContext, any_thread, home

EventT = TypeVar("EventT", bound=Event)

#: Events that wait for the program. Arbitrary: a machine makes few, and a program that does not look at a thousand has
#: forgotten about them.
LIMIT: Final = 1024


class EventsMissed(AsyncemuError):
    """More events came than wait for the program; the oldest are gone."""


class EventStream(Generic[EventT]):
    """Events of some types, or of all. Home: the machine's. Ends when it is closed, or the machine is."""

    def __init__(self, bus: EventBus, types: tuple[type[EventT], ...]) -> None:
        self.context: AioContext = bus.context
        self._types: tuple[type[Event], ...] = types or (Event,)
        self._waiting: deque[EventT] = deque()
        self._missed = 0
        self._changed = asyncio.Event()
        self._closed = False
        self._unsubscribe = bus.subscribe(self._heard)

    @home
    def close(self) -> None:
        """No more events come; those that wait can still be taken. May be called twice."""
        self._unsubscribe()
        self._closed = True
        self._changed.set()

    def _heard(self, occurrence: Occurrence) -> None:
        if not isinstance(occurrence.event, self._types):
            return
        if len(self._waiting) == LIMIT:
            self._waiting.popleft()
            self._missed += 1
        self._waiting.append(occurrence.event)  # type: ignore[arg-type]  # isinstance() was just asked
        self._changed.set()

    def __enter__(self) -> EventStream[EventT]:
        return self

    def __exit__(
        self, type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @any_thread
    def __aiter__(self) -> EventStream[EventT]:
        return self

    @home
    async def __anext__(self) -> EventT:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            raise EventsMissed(f"{missed} events were not taken in time; take them as they come")
        return self._waiting.popleft()
